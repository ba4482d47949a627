package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/erasure/frame"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/storage/volume"
)

// ErrRow is returned for a row that this program cannot read.
var ErrRow = fault.New(fault.Corrupt, "storage.index", "index row is not readable; the index can be rebuilt from the volumes")

// Loc is where a record begins.
type Loc struct {
	Volume uint32
	Offset int64 // bytes, a multiple of volume.Slot
}

// Before orders locations as they were written.
func (l Loc) Before(m Loc) bool {
	return l.Volume < m.Volume || l.Volume == m.Volume && l.Offset < m.Offset
}

// Entry is where and what a sealed shard is.
type Entry struct {
	ID          storage.ShardID
	Kind        volume.Kind // Packed or Filed
	Loc         Loc         // of its record
	Seal        storage.Seal
	Expiry      int64  // of its ticket, catalog time in ms
	Quarantined int64  // catalog time in ms, 0 if it is not
	File        uint64 // of a Filed shard
}

// Info returns what the contract says of the shard.
func (e *Entry) Info() storage.ShardInfo {
	return storage.ShardInfo{ID: e.ID, Seal: e.Seal, Expiry: e.Expiry, Quarantined: e.Quarantined}
}

// Span is the length of the shard's record in its volume.
func (e *Entry) Span() int64 {
	if e.Kind == volume.Filed {
		return volume.FiledSpan
	}
	return volume.RecordSpan(e.Seal.Length)
}

// Rows. Keys are big-endian, values little-endian with a version byte.
//
//	key                                 value
//	01 name                             'pos': version 1, volume (8), offset (8);
//	                                    'tot': version 1, shards (8), bytes (8), quarantined (8); others are the caller's
//	10 blob (16) index (1) gen (4)      a shard, see below
//	20 ms (8) blob index gen            quarantined since; no value
//	30 volume (4)                       version 1, live bytes (8), live records (8)
//	40 volume (4) offset (8)            space to free: version 1, span (8), blob index gen (21)
//	41 file (8)                         file to remove: version 1, blob index gen (21)
//
// A shard's value:
//
//	offset  length  field
//	0       1       version, 1
//	1       1       kind, as volume.Kind; bit 7 set if quarantined
//	2       4       volume
//	6       4       offset in units of 32 bytes
//	10      8       length: stored bytes, checksums included
//	18      8       sum of the seal
//	26      8       expiry of the ticket, ms
//	34      8       file (filed only)
//	then    8       quarantined since, ms (quarantined only)
const (
	rowMeta       = 0x01
	rowShard      = 0x10
	rowQuarantine = 0x20
	rowVolume     = 0x30
	rowFree       = 0x40
	rowFreeFile   = 0x41

	rowVersion     = 1
	idSize         = 21
	shardKeySize   = 1 + idSize
	entrySize      = 34
	bitQuarantined = 0x80
)

var (
	keyPos    = []byte{rowMeta, 'p', 'o', 's'}
	keyTotals = []byte{rowMeta, 't', 'o', 't'}
)

func putID(b []byte, id storage.ShardID) {
	copy(b, id.Blob[:])
	b[16] = id.Index
	binary.BigEndian.PutUint32(b[17:], id.Gen)
}

func getID(b []byte) storage.ShardID {
	return storage.ShardID{Blob: storage.BlobID(b[:16]), Index: b[16], Gen: binary.BigEndian.Uint32(b[17:])}
}

func putShardKey(k *[shardKeySize]byte, id storage.ShardID) {
	k[0] = rowShard
	putID(k[1:], id)
}

func shardOfKey(k []byte) storage.ShardID { return getID(k[1:]) }

func rangeBounds(r storage.IDRange) (lo, hi []byte) {
	lo = append([]byte{rowShard}, r.From[:]...)
	if r.To == (storage.BlobID{}) {
		return lo, []byte{rowShard + 1}
	}
	return lo, append([]byte{rowShard}, r.To[:]...)
}

func (e *Entry) encode(b []byte) []byte {
	kind := byte(e.Kind)
	if e.Quarantined != 0 {
		kind |= bitQuarantined
	}
	le := binary.LittleEndian
	b = append(b, rowVersion, kind)
	b = le.AppendUint32(b, e.Loc.Volume)
	b = le.AppendUint32(b, uint32(e.Loc.Offset/volume.Slot))
	b = le.AppendUint64(b, uint64(e.Seal.Length))
	b = le.AppendUint64(b, e.Seal.Sum)
	b = le.AppendUint64(b, uint64(e.Expiry))
	if e.Kind == volume.Filed {
		b = le.AppendUint64(b, e.File)
	}
	if e.Quarantined != 0 {
		b = le.AppendUint64(b, uint64(e.Quarantined))
	}
	return b
}

func decodeEntry(id storage.ShardID, v []byte) (Entry, error) {
	le := binary.LittleEndian
	if len(v) < entrySize || v[0] != rowVersion {
		return Entry{}, fmt.Errorf("shard %s: %w", id, ErrRow)
	}
	e := Entry{
		ID:     id,
		Kind:   volume.Kind(v[1] &^ bitQuarantined),
		Loc:    Loc{le.Uint32(v[2:]), int64(le.Uint32(v[6:])) * volume.Slot},
		Seal:   storage.Seal{Length: int64(le.Uint64(v[10:])), Sum: le.Uint64(v[18:])},
		Expiry: int64(le.Uint64(v[26:])),
	}
	var ok bool
	e.Seal.Frames, ok = frame.Count(e.Seal.Length)
	rest := v[entrySize:]
	if e.Kind == volume.Filed && len(rest) >= 8 {
		e.File, rest = le.Uint64(rest), rest[8:]
	} else {
		ok = ok && e.Kind == volume.Packed
	}
	if v[1]&bitQuarantined != 0 {
		if ok = ok && len(rest) >= 8; ok {
			e.Quarantined, rest = int64(le.Uint64(rest)), rest[8:]
		}
	}
	if !ok || len(rest) != 0 {
		return Entry{}, fmt.Errorf("shard %s: %w", id, ErrRow)
	}
	return e, nil
}

func quarantineKey(ms int64, id storage.ShardID) []byte {
	k := binary.BigEndian.AppendUint64([]byte{rowQuarantine}, uint64(ms))
	k = append(k, make([]byte, idSize)...)
	putID(k[9:], id)
	return k
}

func volumeKey(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{rowVolume}, n) }

func counters(vs ...int64) []byte {
	b := []byte{rowVersion}
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func getCounters(b []byte, vs ...*int64) error {
	if len(b) != 1+8*len(vs) || b[0] != rowVersion {
		return ErrRow
	}
	for i, v := range vs {
		*v = int64(binary.LittleEndian.Uint64(b[1+8*i:]))
	}
	return nil
}

// load reads the counters.
func (x *Index) load() error {
	x.mu.volumes = map[uint32]VolumeStat{}
	err := x.iterate([]byte{rowVolume}, []byte{rowVolume + 1}, func(k, v []byte) (bool, error) {
		var s VolumeStat
		if len(k) != 5 {
			return false, ErrRow
		}
		err := getCounters(v, &s.Live, &s.Records)
		x.mu.volumes[binary.BigEndian.Uint32(k[1:])] = s
		return true, err
	})
	if err != nil {
		return err
	}
	t, vol := &x.mu.totals, int64(0)
	return errors.Join(
		x.meta(keyTotals, func(v []byte) error { return getCounters(v, &t.Shards, &t.Bytes, &t.Quarantined) }),
		x.meta(keyPos, func(v []byte) error {
			err := getCounters(v, &vol, &x.mu.pos.Offset)
			x.mu.pos.Volume = uint32(vol)
			return err
		}),
	)
}
