package consensus

import (
	"testing"

	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
)

func TestCover(t *testing.T) {
	entries := func(from, to uint64) (out []*raft.Log) {
		for i := from; i <= to; i++ {
			out = append(out, &raft.Log{Index: i, Term: 3})
		}
		return out
	}
	for _, tc := range []struct {
		name        string
		first, snap uint64 // of the log; the snapshot is of term 2
		prev, term  uint64
		from, to    uint64 // entries sent
		changed     bool
		left        uint64 // first entry handed on, 0 for none
		commit      uint64 // of 1,000
	}{
		{"in the log", 628, 627, 628, 3, 629, 640, false, 629, 1000},
		{"follows on the snapshot", 628, 627, 627, 2, 628, 640, true, 628, 640},
		{"follows on another past", 628, 627, 627, 1, 628, 640, false, 628, 1000},
		{"overlaps the snapshot", 628, 627, 620, 2, 621, 640, true, 628, 640},
		{"within the snapshot", 628, 627, 600, 2, 601, 610, true, 0, 627},
		{"within the snapshot, log kept", 600, 627, 610, 2, 611, 640, false, 611, 1000},
		{"behind a gap", 630, 627, 628, 2, 629, 640, false, 629, 1000},
		{"empty log", 0, 627, 627, 2, 628, 640, false, 628, 1000},
		{"heartbeat", 628, 627, 0, 0, 1, 0, false, 0, 1000},
	} {
		tr := &transport{
			begins: func() uint64 { return tc.first },
			snap:   func() *raftlog.Snapshot { return &raftlog.Snapshot{Index: tc.snap, Term: 2} },
		}
		req := &raft.AppendEntriesRequest{PrevLogEntry: tc.prev, PrevLogTerm: tc.term, Entries: entries(tc.from, tc.to), LeaderCommitIndex: 1000}
		got := tr.cover(req)
		left := uint64(0)
		if len(got.Entries) > 0 {
			left = got.Entries[0].Index
		}
		if changed := got != req; changed != tc.changed || left != tc.left || got.LeaderCommitIndex != tc.commit || changed && got.PrevLogEntry != 0 {
			t.Errorf("%s: changed %v, entries from %d, committed %d, behind %d", tc.name, changed, left, got.LeaderCommitIndex, got.PrevLogEntry)
		}
	}
}
