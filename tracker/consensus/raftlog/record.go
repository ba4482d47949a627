package raftlog

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/zeebo/xxh3"
)

// An entry of the log is the row 'e' index (big-endian) of
//
//	offset size
//	0      1    version, 1
//	1      1    raft.LogType
//	2      8    term
//	10     8    bytes of all records up to this one, of this store's making
//	18     8    time of the leader's append, ns since 1970
//	26     n    data
//	26+n   8    XXH3-64 of the bytes before, seeded by the index
//
// All numbers in it are little-endian. The running total of bytes gives the
// size of any run of entries by two reads.
const (
	recordVersion = 1
	recordHead    = 26
	recordTail    = 8
	// rowOverhead is what a row costs beside its data, about.
	rowOverhead = recordHead + recordTail + 9
)

func recordSize(l *raft.Log) int { return recordHead + len(l.Data) + recordTail }

// putRecord encodes l into b, which has the record's size.
func putRecord(b []byte, l *raft.Log, total uint64) {
	b[0], b[1] = recordVersion, byte(l.Type)
	binary.LittleEndian.PutUint64(b[2:], l.Term)
	binary.LittleEndian.PutUint64(b[10:], total)
	binary.LittleEndian.PutUint64(b[18:], uint64(l.AppendedAt.UnixNano()))
	copy(b[recordHead:], l.Data)
	end := len(b) - recordTail
	binary.LittleEndian.PutUint64(b[end:], xxh3.HashSeed(b[:end], l.Index))
}

// getRecord decodes b, whose data l keeps.
func getRecord(b []byte, index uint64, l *raft.Log) (total uint64, err error) {
	end := len(b) - recordTail
	if end < recordHead || binary.LittleEndian.Uint64(b[end:]) != xxh3.HashSeed(b[:end], index) {
		return 0, fmt.Errorf("entry %d: %w", index, ErrCorrupt)
	}
	if b[0] != recordVersion {
		return 0, fmt.Errorf("entry %d has version %d: %w", index, b[0], ErrCorrupt)
	}
	*l = raft.Log{
		Index:      index,
		Type:       raft.LogType(b[1]),
		Term:       binary.LittleEndian.Uint64(b[2:]),
		Data:       b[recordHead:end:end],
		AppendedAt: time.Unix(0, int64(binary.LittleEndian.Uint64(b[18:]))),
	}
	return binary.LittleEndian.Uint64(b[10:]), nil
}

// Identity says whose log a directory holds. It is written with the first
// entry or snapshot, so a directory with an identity can be started.
type Identity struct {
	Cluster  string
	Voter    string
	Server   string // the voter's name in Raft: another one for each new start from nothing
	Recovery uint64 // number of the last time the group was forced to go on without a majority, 0 for none
	State    string // name of the state store's directory
	Vote     bool   // it may have been a voter: false until a seeded one is made one
}

// Snapshot is the promise that the state store holds all entries up to Index
// durably. Conf is the encoded configuration that was committed at ConfIndex.
type Snapshot struct {
	Index, Term, ConfIndex uint64
	Conf                   []byte
}

// Rows 'i' and 'n' hold an Identity and a Snapshot: a version byte, the
// fields (numbers of 8 bytes, texts with their length in 4 bytes before
// them), and the XXH3-64 of all that.
const metaVersion = 1

func seal(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b)) }

type fields struct {
	b   []byte
	bad bool
}

func unseal(b []byte) *fields {
	end := len(b) - 8
	if end < 1 || b[0] != metaVersion || binary.LittleEndian.Uint64(b[end:]) != xxh3.Hash(b[:end]) {
		return &fields{bad: true}
	}
	return &fields{b: b[1:end]}
}

func (f *fields) number() uint64 {
	if len(f.b) < 8 {
		f.bad = true
		return 0
	}
	n := binary.LittleEndian.Uint64(f.b)
	f.b = f.b[8:]
	return n
}

func (f *fields) text() string {
	if len(f.b) < 4 || uint64(len(f.b)-4) < uint64(binary.LittleEndian.Uint32(f.b)) {
		f.bad = true
		return ""
	}
	n := 4 + int(binary.LittleEndian.Uint32(f.b))
	s := string(f.b[4:n])
	f.b = f.b[n:]
	return s
}

func (f *fields) err(what string) error {
	if f.bad || len(f.b) != 0 {
		return fmt.Errorf("%s: %w", what, ErrCorrupt)
	}
	return nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func (id *Identity) encode() []byte {
	b := []byte{metaVersion}
	for _, s := range []string{id.Cluster, id.Voter, id.Server, id.State} {
		b = appendText(b, s)
	}
	vote := uint64(0)
	if id.Vote {
		vote = 1
	}
	b = binary.LittleEndian.AppendUint64(b, id.Recovery)
	return seal(binary.LittleEndian.AppendUint64(b, vote))
}

func decodeIdentity(b []byte) (*Identity, error) {
	f := unseal(b)
	id := &Identity{Cluster: f.text(), Voter: f.text(), Server: f.text(), State: f.text(), Recovery: f.number(), Vote: f.number() != 0}
	return id, f.err("identity")
}

func (s *Snapshot) encode() []byte {
	b := []byte{metaVersion}
	for _, n := range []uint64{s.Index, s.Term, s.ConfIndex} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return seal(appendText(b, string(s.Conf)))
}

func decodeSnapshot(b []byte) (*Snapshot, error) {
	f := unseal(b)
	s := &Snapshot{Index: f.number(), Term: f.number(), ConfIndex: f.number(), Conf: []byte(f.text())}
	return s, f.err("snapshot")
}
