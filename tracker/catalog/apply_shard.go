package catalog

import (
	"bytes"
	"encoding/binary"

	"holdfast/storage"
	"holdfast/tracker"
)

// SwitchShard moves one index of a live blob's map from one placement to
// another by compare-and-swap: tracker.ErrConflict if the map has another, or
// the blob is dying or gone; tracker.ErrFenced if the ticket the new shard was
// written under is fenced. The old place becomes garbage. Done already is no
// error. Result: nil.
//
//	blob 16, index u8, old node u32, old generation u32, new node u32, new
//	generation u32, ticket expiry u64
type SwitchShard struct {
	Blob     storage.BlobID
	Index    uint8
	Old, New storage.Placement
	Expiry   int64
}

func (SwitchShard) op() op { return opSwitchShard }

func (c SwitchShard) append(dst []byte) []byte {
	dst = append(append(dst, c.Blob[:]...), c.Index)
	dst = appendPlacement(appendPlacement(dst, c.Old), c.New)
	return le64(dst, uint64(c.Expiry))
}

// AdoptShard fills a hole in a live blob's map with a shard that is there. It
// is refused as SwitchShard is. Result: nil.
//
//	blob 16, index u8, node u32, generation u32, expiry in the shard's header u64
type AdoptShard struct {
	Blob   storage.BlobID
	Index  uint8
	New    storage.Placement
	Expiry int64
}

func (AdoptShard) op() op { return opAdoptShard }

func (c AdoptShard) append(dst []byte) []byte {
	dst = appendPlacement(append(append(dst, c.Blob[:]...), c.Index), c.New)
	return le64(dst, uint64(c.Expiry))
}

func (b *batch) switchShard(c *command) any {
	var s SwitchShard
	d := &c.body
	s.Blob, s.Index = d.raw16(), d.u8()
	if c.op == opSwitchShard {
		s.Old = decodePlacement(d)
	}
	s.New, s.Expiry = decodePlacement(d), int64(d.u64())
	if !d.done() || s.New.Node == 0 || s.New.Gen == 0 {
		return tracker.ErrInvalid
	}
	var r blobRow
	if !b.getBlob(s.Blob, &r) || r.flags&blobDying != 0 {
		return tracker.ErrConflict
	}
	if int(s.Index) >= r.width() {
		return tracker.ErrInvalid
	}
	switch have := r.shard(int(s.Index)); {
	case have == s.New:
		return nil
	case have != s.Old:
		return tracker.ErrConflict
	case s.Expiry <= b.fence:
		return tracker.ErrFenced
	case s.Old.Node != 0 && s.New.Gen <= s.Old.Gen:
		return tracker.ErrInvalid
	}
	if err := b.expired(c); err != nil {
		return err
	}
	r.shards = bytes.Clone(r.shards)
	at := r.shards[8*int(s.Index):]
	binary.LittleEndian.PutUint32(at, uint32(s.New.Node))
	binary.LittleEndian.PutUint32(at[4:], s.New.Gen)
	r.mapGen++
	b.setBlob(s.Blob, &r)
	if s.Old.Node != 0 {
		k := b.garbage(b.next())
		b.row = append(append(append(b.row[:0], 1, garbageShard), s.Blob[:]...), s.Index)
		b.row = appendPlacement(b.row, s.Old)
		b.set(k, b.row)
	}
	return nil
}
