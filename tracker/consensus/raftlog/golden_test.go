package raftlog

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"holdfast/internal/golden"
	"holdfast/tracker/kv"
)

var (
	goldenIdentity = Identity{Cluster: "5f3e", Voter: "v1", Server: "v1.00112233445566ff", Recovery: 2, State: "state-3", Vote: true}
	goldenSnapshot = Snapshot{Index: 2, Term: 5, ConfIndex: 1, Conf: []byte("configuration")}
)

func goldenLogs() []*raft.Log {
	at := time.Unix(1_800_000_000, 123_456_789)
	return []*raft.Log{
		{Index: 2, Term: 1, Type: raft.LogCommand, Data: []byte("\x01\x03one"), AppendedAt: at},
		{Index: 3, Term: 0x0102030405060708, Type: raft.LogNoop, AppendedAt: at.Add(1)},
		{Index: 4, Term: 0x0102030405060708, Type: raft.LogConfiguration, Data: []byte("conf"), AppendedAt: at.Add(2)},
	}
}

// TestGolden holds the rows of a log with every kind in it: a voter that was
// stopped under an old release starts from them under a new one.
func TestGolden(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem(), Options{})
	// The first entry is made with no time of append.
	id := goldenIdentity
	err := errors.Join(s.Bootstrap(&id, []byte("first")), s.StageCommitIndex(3), s.StoreLogs(goldenLogs()), s.SetSnapshot(&goldenSnapshot),
		s.SetUint64(stableTerm, 7), s.SetUint64(stableVoteTerm, 6), s.Set(stableVoteCand, []byte("v2.ffee")))
	if err != nil {
		t.Fatal(err)
	}
	rows := dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	readGolden(t, golden.Check(t, "testdata/rows.golden", rows))
}

// dump returns the rows of a log.
func dump(t *testing.T, s *Store) (rows []golden.Line) {
	t.Helper()
	it, err := s.DB().Iter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		rows = append(rows, golden.Line{Name: hex.EncodeToString(it.Key()), Bytes: slices.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// readGolden opens a log that holds the rows and nothing else.
func readGolden(t *testing.T, rows []golden.Line) {
	t.Helper()
	fs := vfs.NewMem()
	db, err := kv.Open(fs, "log", kv.Options{WAL: true})
	if err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch(1024)
	for _, r := range rows {
		k, err := hex.DecodeString(r.Name)
		if err := errors.Join(err, b.Set(k, r.Bytes)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Commit(true), db.Close()); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, fs, Options{Options: kv.Options{MustExist: true}})
	defer s.Close()
	first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("first")}
	check(t, s, append([]*raft.Log{first}, goldenLogs()...))
	for _, want := range goldenLogs() {
		var l raft.Log
		if err := s.GetLog(want.Index, &l); err != nil || !l.AppendedAt.Equal(want.AppendedAt) {
			t.Errorf("entry %d was appended at %v, want %v (%v)", want.Index, l.AppendedAt, want.AppendedAt, err)
		}
	}
	if s.Committed() != 3 {
		t.Errorf("committed up to %d, want 3", s.Committed())
	}
	id, err1 := s.Identity()
	snap, err2 := s.Snapshot()
	term, err3 := s.GetUint64(stableTerm)
	vote, err4 := s.GetUint64(stableVoteTerm)
	cand, err5 := s.Get(stableVoteCand)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&goldenIdentity, id) + cmp.Diff(&goldenSnapshot, snap); d != "" {
		t.Error(d)
	}
	if term != 7 || vote != 6 || string(cand) != "v2.ffee" {
		t.Errorf("term %d, vote in %d for %q", term, vote, cand)
	}
}

// TestGoldenMeta holds what the history above has one form of only.
func TestGoldenMeta(t *testing.T) {
	t.Parallel()
	ids := []Identity{{}, goldenIdentity}
	snaps := []Snapshot{{Conf: []byte{}}, goldenSnapshot}
	lines := []golden.Line{{Name: "identity-empty", Bytes: ids[0].encode()}, {Name: "identity", Bytes: ids[1].encode()},
		{Name: "snapshot-empty", Bytes: snaps[0].encode()}, {Name: "snapshot", Bytes: snaps[1].encode()}}
	old := golden.Check(t, "testdata/meta.golden", lines)
	for i := range ids {
		id, err1 := decodeIdentity(old[i].Bytes)
		snap, err2 := decodeSnapshot(old[2+i].Bytes)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&ids[i], id) + cmp.Diff(&snaps[i], snap); d != "" {
			t.Error(d)
		}
	}
}
