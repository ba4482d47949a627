package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"holdfast/internal/golden"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
)

// rowsOnly returns a node that has an index and nothing else.
func rowsOnly(t *testing.T) *Node {
	t.Helper()
	x, err := index.Open(index.Options{FS: vfs.NewMem(), Dir: "/", Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Node{index: x}
}

// TestRowsGolden holds the node's own rows in the index: a guard that was
// tripped stays so under every later release.
func TestRowsGolden(t *testing.T) {
	t.Parallel()
	minutes := []disowned{{29_000_000, 5, 1 << 20}, {29_000_059, 9_999, 1 << 33}}
	last := storage.ShardID{Blob: storage.MakeBlobID(1, 2, 3, 4), Index: 5, Gen: 0x01020304}
	started, ended := time.UnixMilli(1_800_000_000_123), time.UnixMilli(1_800_000_456_789)
	n := rowsOnly(t)
	var lines []golden.Line
	row := func(line, name string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := n.index.Meta(name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, golden.Line{Name: line, Bytes: b})
	}
	row("disown", guardRow, n.setGuard(minutes, false))
	row("disown-tripped", guardRow, n.setGuard(minutes, true))
	n.scrub.mu.started = started
	row("scrub-begun", scrubRow, n.saveScrub(storage.ShardID{}, false))
	n.scrub.mu.ended = ended
	row("scrub", scrubRow, n.saveScrub(last, false))

	old := golden.Check(t, "testdata/rows.golden", lines)
	for i, tripped := range []bool{false, true} {
		n := rowsOnly(t)
		if err := n.index.SetMeta(guardRow, old[i].Bytes); err != nil {
			t.Fatal(err)
		}
		if err := n.loadGuard(t.Context()); err != nil || n.guard.mu.tripped != tripped ||
			!cmp.Equal(n.guard.mu.minutes, minutes, cmp.AllowUnexported(disowned{})) {
			t.Errorf("%s: %+v %v %v", old[i].Name, n.guard.mu.minutes, n.guard.mu.tripped, err)
		}
	}
	for i, want := range []struct {
		last  storage.ShardID
		ended time.Time
	}{{}, {last, ended}} {
		n := rowsOnly(t)
		if err := n.index.SetMeta(scrubRow, old[2+i].Bytes); err != nil {
			t.Fatal(err)
		}
		m := &n.scrub.mu
		if err := n.loadScrub(t.Context()); err != nil || m.last != want.last || !m.started.Equal(started) || !m.ended.Equal(want.ended) {
			t.Errorf("%s: %v %v %v %v", old[2+i].Name, m.last, m.started, m.ended, err)
		}
	}
}
