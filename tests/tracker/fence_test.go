package tracker

import (
	"errors"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/worker"
)

// The operation codes that the tests cut at; see tracker/catalog/command.go.
const opSwitchShard = 11

// TestLateCommitIsRefused replays the first story of SAFETY A2: a commit that
// was stamped in time waits in the log's queue while a node asks about its
// blob, is told that it is unknown, and deletes it.
func TestLateCommitIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 2)
	g, data := r.grant(1000)
	r.send(g, 0, data)
	r.send(g, 1, data)
	waiting := true
	r.log.Before = func([]byte) error {
		if !waiting {
			return nil
		}
		waiting = false // what follows runs while the commit waits
		// Before the fence has passed the ticket nothing may be disowned,
		// whatever the clock says.
		r.clk.Advance(ticketLife + time.Second)
		r.w.Reconcile(0)
		r.step("reconcile")
		if f := r.w.Findings(); f.Disowned != 0 {
			t.Errorf("disowned by the clock: %+v", f)
		}
		r.raise(0)
		r.w.Reconcile(0)
		r.step("reconcile")
		if f := r.w.Findings(); f.Disowned != 2 {
			t.Errorf("%+v", f)
		}
		for id := range r.fleet.nodes {
			r.node(id).EndQuarantine(r.clk.Now(), 0)
		}
		return nil
	}
	err := r.commit("late", g, data)
	if !errors.Is(err, tracker.ErrFenced) {
		t.Fatal("a commit whose shards are gone:", err)
	}
	if len(r.rows()) != 0 || len(r.stored()) != 0 {
		t.Error(r.rows(), r.stored())
	}
}

// TestCommitInTimeIsKept is the other side of it: committed a moment before
// the fence passes its ticket, a blob stays for ever.
func TestCommitInTimeIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 2)
	g, data := r.grant(1000)
	r.send(g, 0, data)
	r.send(g, 1, data)
	r.raise(ticketLife - time.Millisecond)
	r.must(r.commit("last", g, data))
	r.raise(time.Hour)
	r.w.Reconcile(0)
	r.step("reconcile")
	r.whole(true)
}

// TestPausedRepairIsRefused replays the second story: a repair worker pauses
// after its copy, the copy is disowned and deleted, the worker wakes and its
// compare-and-swap still matches.
func TestPausedRepairIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 3)
	blob := r.put("key", 1000)
	from := r.row(blob).Shards[0]
	r.setState(from.Node, tracker.NodeDraining)
	paused := false
	r.log.Before = func(cmd []byte) error {
		if paused || cmd[0] != opSwitchShard {
			return nil
		}
		paused = true
		r.raise(ticketLife + time.Second)
		other, err := worker.New(r.cfg, r.svc, worker.NewStore(r.cat, worker.DefaultRetention()), r.fleet, r.clk, testLogger())
		r.must(err)
		other.Begin(2)
		for range 3 {
			if _, err := other.Step(t.Context(), "reconcile"); err != nil {
				t.Error(err)
			}
		}
		if f := other.Findings(); f.Disowned != 1 {
			t.Errorf("the copy was not disowned: %+v", f)
		}
		for id := range r.fleet.nodes {
			r.node(id).EndQuarantine(r.clk.Now(), 0)
		}
		return nil
	}
	r.step("census")
	if _, err := r.w.Step(t.Context(), "repair"); err != nil {
		t.Fatal(err)
	}
	if !paused {
		t.Fatal("no switch was tried")
	}
	if now := r.row(blob).Shards[0]; now != from {
		t.Fatalf("the map was switched from %v to %v", from, now)
	}
	// It is tried again under a new ticket and a new generation.
	r.raise(time.Minute)
	r.settle()
	if now := r.row(blob).Shards[0]; now.Node == from.Node || now.Gen < 3 {
		t.Errorf("moved to %v", now)
	}
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.whole(true)
}

// TestLeftCopyKeepsItsExpiry: an interrupted repair left its copy under an
// old ticket. The next one finds it there and must not refer to it by the
// expiry of its own ticket.
func TestLeftCopyKeepsItsExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 3)
	blob := r.put("key", 1000)
	r.setState(r.row(blob).Shards[0].Node, tracker.NodeDraining)
	r.log.Before = func(cmd []byte) error {
		if cmd[0] == opSwitchShard {
			return tracker.ErrTooLarge // the worker dies here
		}
		return nil
	}
	r.step("census")
	if _, err := r.w.Step(t.Context(), "repair"); err != nil {
		t.Fatal(err)
	}
	if n := len(r.stored()); n != 3 {
		t.Fatal(n)
	}
	r.log.Before = nil
	// The fence passes it, and a node may be told so at any moment.
	r.raise(ticketLife + time.Minute)
	r.restart()
	r.step("census")
	if _, err := r.w.Step(t.Context(), "repair"); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.row(blob).Shards {
		info, err := r.node(p.Node).Stat(t.Context(), storage.ShardID{Blob: blob, Index: indexOf(r.row(blob).Shards, p), Gen: p.Gen})
		if err != nil || p.Gen > 1 && info.Expiry <= r.svc.Fence() {
			t.Errorf("%v refers to a shard of a fenced ticket: %+v %v", p, info, err)
		}
	}
	r.raise(time.Minute)
	r.settle()
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.w.Reconcile(0)
	r.step("reconcile")
	r.whole(true)
}

// TestThereAndBack is SAFETY A4: shard 0 moves from A to B and back to A
// while A's delete of the first still waits.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 3)
	r.cfg.Garbage.Grace = 3 * ticketLife
	r.restart()
	blob := r.put("key", 70_000)
	a := r.row(blob).Shards[0]
	r.setState(a.Node, tracker.NodeDraining)
	r.settle()
	b := r.row(blob).Shards[0]
	if b.Node == a.Node || b.Gen != 2 {
		t.Fatal(a, b)
	}
	r.setState(a.Node, tracker.NodeActive)
	r.setState(b.Node, tracker.NodeDraining)
	r.settle()
	c := r.row(blob).Shards[0]
	if c.Node != a.Node || c.Gen != 3 {
		t.Fatal(a, b, c)
	}
	// Reconcile leaves what the garbage worker is to delete.
	r.raise(ticketLife + time.Hour)
	r.w.Reconcile(0)
	r.step("reconcile")
	if f := r.w.Findings(); f.Disowned != 0 {
		t.Errorf("%+v", f)
	}
	if n := len(r.stored()); n != 4 {
		t.Fatal(n)
	}
	r.raise(3 * ticketLife)
	r.step("garbage")
	if n := len(r.stored()); n != 2 {
		t.Fatal(n)
	}
	r.whole(true)
}

func indexOf(shards []storage.Placement, p storage.Placement) uint8 {
	for i := range shards {
		if shards[i] == p {
			return uint8(i)
		}
	}
	return 255
}
