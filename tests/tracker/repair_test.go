package tracker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// TestReplacedNodeIsRefilled empties one node: it is a new one then, and the
// old one is gone.
func TestReplacedNodeIsRefilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme string
		nodes  int
	}{{"rep-2", 3}, {"rep-3", 3}, {"rs-2+2", 4}, {"rs-4+2", 7}} {
		t.Run(c.scheme, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.scheme, c.nodes)
			r.fill(40)
			r.put("big", 3<<20)
			r.put("tiny", 1)
			on := 0
			for at := range r.stored() {
				if at.Node == 2 {
					on++
				}
			}
			r.fleet.mu.Lock()
			delete(r.fleet.nodes, 2)
			r.fleet.mu.Unlock()
			fresh := r.addNode()
			r.setState(2, tracker.NodeGone)
			r.step("census")
			if n := r.w.Below(); n != int64(on) {
				t.Errorf("%d blobs below, %d had a shard on the node", n, on)
			}
			r.settle()
			if !r.w.Settled() {
				t.Error("not settled")
			}
			r.whole(true)
			if st, err := r.node(fresh).Status(t.Context()); err != nil || st.Shards == 0 {
				t.Error("nothing on the new node", err)
			}
			for _, b := range r.rows() {
				for _, p := range b.Shards {
					if p.Node == 2 {
						t.Fatal("the map still names the node that is gone")
					}
				}
			}
		})
	}
}

// TestDrainMovesEverything moves all off a node that serves reads meanwhile.
func TestDrainMovesEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-2+2", 6)
	r.fill(50)
	r.setState(1, tracker.NodeDraining)
	r.step("census")
	if n := r.w.Below(); n != 0 {
		t.Errorf("%d below: a drained node's shards are whole", n)
	}
	r.settle()
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.whole(true)
	if st, _ := r.node(1).Status(t.Context()); st.Shards != 0 {
		t.Errorf("%d shards are left", st.Shards)
	}
	// It is drained once no old ticket can refer to it any more.
	r.step("drain")
	if d := r.w.Drains()[1]; d.Done || d.Left != 0 {
		t.Errorf("%+v", d)
	}
	r.restart() // the wait does not begin anew
	r.raise(ticketLife)
	for range 3 {
		r.step("drain")
		r.settle()
	}
	if d := r.w.Drains()[1]; !d.Done {
		t.Errorf("%+v", d)
	}
}

// TestHoles: a hole is asked about, then waits where enough is spare.
func TestHoles(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-2+3", 7)
	slow := r.put("a", 100_000, 4)
	near := r.put("b", 100_000, 2, 3, 4) // nothing is spare
	r.step("census")
	r.step("repair")
	if r.row(slow).Shards[4].Node != 0 {
		t.Error("a hole was repaired at once although two are spare")
	}
	for i, p := range r.row(near).Shards {
		if i < 4 && p.Node == 0 {
			t.Errorf("shard %d was not repaired at once", i)
		}
	}
	r.raise(time.Minute)
	r.settle()
	r.whole(true)

	// A node that sealed late is asked first, and its shard is taken.
	g, data := r.grant(50_000)
	for i := range 4 {
		r.send(g, i, data)
	}
	r.must(r.commit("late", g, data, 4))
	r.send(g, 4, data)
	r.must(r.svc.ReportDamage(t.Context(), []storage.Damage{{Shard: storage.ShardID{Blob: g.Blob, Index: 4, Gen: 1}, Node: g.Shards[4].Node, Reason: "no answer"}}))
	r.step("census")
	r.step("repair")
	if p := r.row(g.Blob).Shards[4]; p != g.Shards[4] {
		t.Errorf("hole filled by %v, want the late shard of %v", p, g.Shards[4])
	}
	r.settle()
	r.whole(true)
}

// TestReportsAreChecked: readers report rot and loss, rightly and wrongly.
func TestReportsAreChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-4+2", 6)
	blob := r.put("key", 1<<20)
	shards := r.row(blob).Shards
	id := func(i int) storage.ShardID { return storage.ShardID{Blob: blob, Index: uint8(i), Gen: shards[i].Gen} }
	if !r.node(shards[1].Node).Rot(id(1), 70_000, 4) {
		t.Fatal("no rot")
	}
	r.node(shards[5].Node).Lose(id(5))
	stale := id(2)
	stale.Gen = 9
	r.must(r.svc.ReportDamage(t.Context(), []storage.Damage{
		{Shard: id(1), Node: shards[1].Node, Reason: "bad frame"}, {Shard: id(5), Node: shards[5].Node, Reason: "not here"},
		{Shard: stale, Node: shards[2].Node, Reason: "of an older map"}, {Shard: id(0), Node: shards[3].Node, Reason: "of another node"},
		{Shard: storage.ShardID{Blob: storage.MakeBlobID(0, 1, 5, 5), Gen: 1}, Node: 1, Reason: "of no blob"},
	}))
	r.step("census")
	r.step("repair")
	now := r.row(blob).Shards
	for i := range now {
		moved := i == 1 || i == 5
		if now[i].Node != shards[i].Node || now[i].Gen != shards[i].Gen+map[bool]uint32{true: 1}[moved] {
			t.Errorf("shard %d was %v and is %v", i, shards[i], now[i])
		}
	}
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.settle()
	r.whole(true)
}

// TestUnrecoverableDoesNotBlock: two blobs have lost too much; they are
// listed, and the rest is repaired.
func TestUnrecoverableDoesNotBlock(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 3)
	dead := []storage.BlobID{r.put("dead-1", 10), r.put("dead-2", 5000)}
	r.fill(20)
	r.raise(ticketLife + time.Hour)
	isDead := func(id storage.BlobID) bool { return id == dead[0] || id == dead[1] }
	for at := range r.stored() {
		if isDead(at.ID.Blob) || at.ID.Index == 1 {
			r.node(at.Node).Lose(at.ID)
		}
	}
	r.step("reconcile")
	r.settle()
	got := r.w.Unrecoverable(10)
	if len(got) != 2 || !isDead(got[0].Blob) || !isDead(got[1].Blob) || !strings.Contains(got[0].Reason, "1 of 2 shards") {
		t.Errorf("%+v", got)
	}
	if n := r.w.Below(); n != 2 {
		t.Errorf("%d below", n)
	}
	for _, b := range r.rows() {
		for i, p := range b.Shards {
			_, err := r.readShard(p, storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen})
			if (err != nil) != isDead(b.ID) {
				t.Errorf("blob %s shard %d: %v", b.ID, i, err)
			}
		}
	}
	// Once they are deleted nobody speaks of them.
	r.del("dead-1")
	r.del("dead-2")
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.settle()
	if len(r.w.Unrecoverable(10)) != 0 {
		t.Error("deleted blobs are listed")
	}
	r.whole(true)
}

// TestFullNodeIsPassedOver: the first target has no room.
func TestFullNodeIsPassedOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 4)
	blob := r.put("key", 100_000)
	have := r.row(blob).Shards
	for id := range r.fleet.nodes {
		if id != have[0].Node && id != have[1].Node {
			r.node(id).SetLimit(10)
			break
		}
	}
	r.setState(have[0].Node, tracker.NodeGone)
	r.settle()
	r.whole(false)
}

// TestHangingTargetIsLeft: the node that is to take a shard hangs, deaf to
// everything, and is suspected of it: another takes the shard.
func TestHangingTargetIsLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 4)
	blob := r.put("key", 100_000)
	have := r.row(blob).Shards
	released, hung := make(chan struct{}), make(chan storage.NodeID, 1)
	t.Cleanup(func() { close(released) })
	var first sync.Once
	for id := range r.fleet.nodes {
		r.node(id).Fail(func(op string, _ storage.ShardID) error {
			hangs := false
			if op == "create" {
				first.Do(func() { hangs = true })
			}
			if hangs {
				hung <- id
				<-released
			}
			return nil
		})
	}
	r.setState(have[0].Node, tracker.NodeGone)
	r.step("census")
	stepped := make(chan error, 1)
	go func() {
		_, err := r.w.Step(t.Context(), "repair")
		stepped <- err
	}()
	sick := <-hung
	r.setState(sick, tracker.NodeSuspect)
	late := time.After(time.Minute)
	for done := false; !done; {
		select {
		case err := <-stepped:
			r.must(err)
			done = true
		case <-time.After(time.Millisecond):
			r.clk.Advance(time.Second)
		case <-late:
			t.Fatal("repair waits for a node that hangs")
		}
	}
	for i, p := range r.row(blob).Shards {
		if p.Node == sick || p.Node == have[0].Node {
			t.Errorf("shard %d is on node %d", i, p.Node)
		}
	}
}

// errCut is what a cut call answers.
var errCut = errors.New("power is cut")

// TestCutAnywhere kills the worker before or after its n-th effect, for every
// n, and has a new one go on: nothing is lost, all is repaired, and no shard
// is left that nothing refers to.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			cut := false
			t.Run(fmt.Sprintf("after=%v/%d", after, n), func(t *testing.T) { cut = cutAt(t, n, after) })
			if !cut || t.Failed() {
				break
			}
		}
	}
}

func cutAt(t *testing.T, n int, after bool) (cut bool) {
	r := newRig(t, "rs-2+2", 5)
	r.put("a", 200<<10)
	r.put("b", 900)
	lost := r.put("c", 900)
	var mu sync.Mutex
	count := 0
	dead := false
	effect := func() error { // counts effects, and stops all at the n-th
		mu.Lock()
		defer mu.Unlock()
		if dead {
			return errCut
		}
		if count++; count == n {
			dead = true
			if !after {
				return errCut
			}
		}
		return nil
	}
	hook := func(op string, id storage.ShardID) error {
		if op == "create" || op == "seal" || op == "delete" {
			return effect()
		}
		mu.Lock()
		defer mu.Unlock()
		if dead {
			return errCut
		}
		return nil
	}
	for _, node := range r.fleet.nodes {
		node.Fail(hook)
	}
	r.log.Before = func([]byte) error { return effect() }
	work := func() {
		ctx := t.Context()
		for _, name := range []string{"census", "repair", "garbage", "reconcile", "garbage", "census", "repair"} {
			for range 50 {
				wait, err := r.w.Step(ctx, name)
				if err != nil || wait > time.Second {
					break
				}
			}
		}
	}
	p := r.row(lost).Shards[3]
	r.node(p.Node).Lose(storage.ShardID{Blob: lost, Index: 3, Gen: p.Gen})
	r.log.Before = nil
	r.setState(1, tracker.NodeDraining)
	r.del("b")
	r.raise(11 * time.Minute)
	r.log.Before = func([]byte) error { return effect() }
	work()
	if t.Failed() {
		return false
	}
	cut = dead
	// The process is gone; another begins.
	r.log.Before = nil
	for _, node := range r.fleet.nodes {
		node.Fail(nil)
	}
	r.term++
	r.log.Lead(r.term)
	r.restart()
	r.step("reconcile")
	r.settle()
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.raise(ticketLife)
	r.w.Reconcile(0)
	r.step("reconcile")
	r.settle()
	r.raise(11 * time.Minute)
	r.step("garbage")
	r.whole(true)
	return cut
}

// TestReadOnlyNodeGetsNothing sets a node ro, loses a shard on it and another
// node: repair makes all whole and puts nothing on it, and what it holds stays.
func TestReadOnlyNodeGetsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-2+2", 6)
	r.fill(40)
	on := func() (out map[storage.ShardID]bool) {
		out = map[storage.ShardID]bool{}
		for at := range r.stored() {
			if at.Node == 1 {
				out[at.ID] = true
			}
		}
		return out
	}
	before := on()
	if _, err := r.svc.SetNodeRole(t.Context(), 1, tracker.RoleReadOnly, false); err != nil {
		t.Fatal(err)
	}
	var lost storage.ShardID
	for lost = range before {
		break
	}
	r.must(r.node(1).Delete(t.Context(), []storage.ShardID{lost}))
	r.must(r.svc.ReportDamage(t.Context(), []storage.Damage{{Shard: lost, Node: 1, Reason: "lost"}}))
	r.fleet.mu.Lock()
	delete(r.fleet.nodes, 2)
	r.fleet.mu.Unlock()
	r.setState(2, tracker.NodeGone)
	r.step("census")
	r.settle()
	r.whole(true)
	after := on()
	delete(before, lost)
	for id := range after {
		if !before[id] {
			t.Errorf("%s was put on the node", id)
		}
	}
	for id := range before {
		if !after[id] {
			t.Errorf("%s has left the node", id)
		}
	}
}
