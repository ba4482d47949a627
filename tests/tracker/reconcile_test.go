package tracker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/storage"
	"holdfast/tracker"
)

func testLogger() zerolog.Logger { return zerolog.Nop() }

// TestReconcileFindsLostShards removes shards as a disk would.
func TestReconcileFindsLostShards(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-4+2", 8)
	r.fill(60)
	r.raise(ticketLife + time.Hour)
	lost := 0
	for at := range r.stored() {
		if at.Node <= 2 && r.rng.IntN(2) == 0 {
			r.node(at.Node).Lose(at.ID)
			lost++
		}
	}
	r.step("reconcile")
	if f := r.w.Findings(); f.Missing != uint64(lost) || f.Disowned != 0 || f.Unequal == 0 {
		t.Errorf("%d lost, found %+v", lost, f)
	}
	if r.w.Below() == 0 {
		t.Error("below is 0 while shards are gone")
	}
	r.step("repair")
	r.settle()
	r.whole(true)
	before := r.w.Findings()
	r.w.Reconcile(0)
	r.step("reconcile")
	if f := r.w.Findings(); f.Unequal != before.Unequal || f.Passes != before.Passes+1 {
		t.Errorf("a second pass: %+v after %+v", f, before)
	}
}

// TestReconcileFindsOrphans writes blobs that are never committed.
func TestReconcileFindsOrphans(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-3", 4)
	r.fill(30)
	for range 10 {
		g, data := r.grant(100)
		r.send(g, 0, data)
		r.send(g, 2, data)
	}
	r.w.Reconcile(0)
	r.step("reconcile")
	if f := r.w.Findings(); f.Disowned != 0 {
		t.Fatalf("young orphans were disowned: %+v", f)
	}
	// As tickets expire, the new ids are compared without a whole pass.
	passes := r.w.Findings().Passes
	for range 20 {
		r.raise(10 * time.Minute)
		r.step("reconcile")
	}
	if f := r.w.Findings(); f.Disowned != 20 || f.Passes != passes {
		t.Fatalf("%+v", f)
	}
	r.whole(true)
	for id := range r.fleet.nodes {
		r.node(id).EndQuarantine(r.clk.Now(), 0)
	}
	if n := len(r.stored()); n != 90 {
		t.Error(n)
	}
}

// TestLateOrphansAreFoundSoon leaves shards that nothing refers to in ways in
// which the walk over new ids could pass them by. None of them waits for the
// whole pass, which comes round within a week.
func TestLateOrphansAreFoundSoon(t *testing.T) {
	t.Parallel()
	// days walks in short steps, no longer than tickets live twice.
	soon := func(r *rig) {
		r.Helper()
		passes := r.w.Findings().Passes
		for range int(2*ticketLife/(10*time.Minute)) + 2 {
			r.raise(10 * time.Minute)
			r.step("reconcile")
		}
		if f := r.w.Findings(); f.Passes != passes {
			t.Fatalf("a whole pass took part: %+v", f)
		}
		r.whole(true)
	}
	begin := func(t *testing.T) *rig {
		r := newRig(t, "rep-2", 3)
		r.step("reconcile")
		return r
	}
	t.Run("renewed ticket", func(t *testing.T) {
		r := begin(t)
		g, data := r.grant(100)
		r.clk.Advance(ticketLife / 2)
		renewed, err := r.svc.Renew(t.Context(), &g.Ticket)
		r.must(err)
		g.Ticket = *renewed
		r.send(g, 0, data)
		soon(r)
	})
	t.Run("hole of a blob that is dying", func(t *testing.T) {
		r := begin(t)
		g, data := r.grant(100)
		r.send(g, 0, data)
		r.must(r.commit("a", g, data, 1))
		r.send(g, 1, data)
		r.raise(ticketLife - time.Minute)
		r.step("reconcile")
		r.del("a")
		r.raise(11 * time.Minute)
		r.step("reconcile")
		r.step("garbage")
		soon(r)
	})
	t.Run("sealed after its ticket expired", func(t *testing.T) {
		r := begin(t)
		g, data := r.grant(100)
		r.raise(ticketLife + time.Minute)
		r.step("reconcile")
		r.send(g, 0, data)
		soon(r)
	})
	t.Run("repair of a blob that was deleted", func(t *testing.T) {
		r := begin(t)
		id := r.put("a", 100, 1)
		r.raise(2 * ticketLife)
		r.step("reconcile")
		r.fleet.wrap = func(s storage.Shards) storage.Shards { return rebuilding{s, func() { r.del("a") }} }
		r.restart()
		r.settle()
		r.fleet.wrap = nil
		if b := r.row(id); !b.Dying {
			t.Fatal("no repair was cut off")
		}
		r.raise(11 * time.Minute)
		r.step("garbage")
		if len(r.stored()) != 1 {
			t.Fatalf("%d shards are left, not the one that was rebuilt", len(r.stored()))
		}
		soon(r)
	})
}

// rebuilding is a node that calls a function after each shard it made.
type rebuilding struct {
	storage.Shards
	made func()
}

func (n rebuilding) Rebuild(ctx context.Context, r *storage.Rebuild) (storage.Seal, error) {
	s, err := n.Shards.Rebuild(ctx, r)
	if err == nil {
		n.made()
	}
	return s, err
}

func TestReconcileAdoptsAndRevives(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-2+2", 4)
	// A writer left a hole, and the slow node seals its shard afterwards.
	g, data := r.grant(200 << 10)
	for i := range 3 {
		r.send(g, i, data)
	}
	r.must(r.commit("slow", g, data, 3))
	r.send(g, 3, data)
	r.fill(5)
	r.w.Reconcile(0)
	r.step("reconcile")
	if f := r.w.Findings(); f.Adopted != 1 {
		t.Errorf("%+v", f)
	}
	r.settle()
	r.whole(true)
	// A shard was disowned by mistake, and is referenced.
	p := r.row(g.Blob).Shards[1]
	id := storage.ShardID{Blob: g.Blob, Index: 1, Gen: p.Gen}
	r.must(r.node(p.Node).Disown(t.Context(), []storage.ShardID{id}, r.clk.Now()))
	r.w.Reconcile(0)
	r.step("reconcile")
	info, err := r.node(p.Node).Stat(t.Context(), id)
	if err != nil || info.Quarantined != 0 || r.w.Findings().Revived != 1 {
		t.Error(info, err, r.w.Findings())
	}
}

// limited is a node that may be told to disown so much and no more.
type limited struct {
	storage.Shards
	left *int
	err  error
}

func (l limited) Disown(ctx context.Context, ids []storage.ShardID, now time.Time) error {
	if *l.left -= len(ids); *l.left < 0 {
		return fmt.Errorf("node %d: %w", l.Node(), l.err)
	}
	return l.Shards.Disown(ctx, ids, now)
}

// TestMassDisownStops gives the nodes a catalog that knows nothing.
func TestMassDisownStops(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"mass": storage.ErrMassDisown, "incarnation": storage.ErrIncarnation} {
		r := newRig(t, "rep-2", 2)
		left := 0
		r.fleet.wrap = func(s storage.Shards) storage.Shards { return limited{s, &left, err} }
		for range 30 {
			g, data := r.grant(100)
			r.send(g, 0, data)
			r.send(g, 1, data)
		}
		r.raise(ticketLife + time.Hour)
		r.step("reconcile") // no error: the other work goes on
		if f := r.w.Findings(); f.Disowned != 0 || f.Passes != 1 {
			t.Errorf("%s: %+v", name, f)
		}
		held := ""
		for _, w := range r.w.Info() {
			if w.Name == "reconcile" {
				held = w.Note
			}
		}
		if !strings.Contains(held, "node 1") || !strings.Contains(held, "node 2") {
			t.Errorf("%s: not told: %s", name, held)
		}
		// A person confirmed.
		left = 1000
		r.w.Reconcile(0)
		r.step("reconcile")
		if f := r.w.Findings(); f.Disowned != 60 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// TestReturnedNodeIsComparedAtOnce: it lost a volume while it was away.
func TestReturnedNodeIsComparedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-3", 3)
	r.fill(40)
	r.step("reconcile")
	r.setState(3, tracker.NodeDown)
	r.step("reconcile")
	r.step("census")
	if n := r.w.Below(); n != 40 {
		t.Errorf("%d below while a node of three is down", n)
	}
	for at := range r.stored() {
		if at.Node == 3 {
			r.node(3).Lose(at.ID)
		}
	}
	r.setState(3, tracker.NodeActive)
	r.step("reconcile")
	if f := r.w.Findings(); f.Missing != 40 {
		t.Errorf("%+v", f)
	}
	r.settle()
	r.whole(true)
}

// TestReconcileGoesOnWhereItWas: the place of a whole pass survives a leader.
func TestReconcileGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-1", 1)
	r.cfg.Reconcile.Save = 0
	r.restart()
	r.fill(100)
	for range 4 {
		_, err := r.w.Step(t.Context(), "reconcile")
		r.must(err)
	}
	first := r.w.Findings().Ranges
	r.restart()
	r.step("reconcile")
	if n := first + r.w.Findings().Ranges; n != 7 || r.w.Findings().Passes != 1 {
		t.Errorf("%d ranges of 16 for 100 blobs: %+v", n, r.w.Findings())
	}
	r.step("reconcile")
	if p := r.w.Findings().Passes; p != 1 {
		t.Error("a second pass began at once:", p)
	}
}
