package tracker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// TestRandom does random things to a cluster, with the workers stepping at
// random beside them, and then lets it come to rest: every acknowledged object
// must be whole and nothing else may be left. A blob is never hurt beyond what
// its scheme survives.
func TestRandom(t *testing.T) {
	t.Parallel()
	rounds := 250
	if testing.Short() {
		rounds = 80
	}
	for _, c := range []struct {
		scheme string
		nodes  int
	}{{"rep-3", 5}, {"rs-2+2", 6}, {"rs-4+2", 9}} {
		t.Run(c.scheme, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.scheme, c.nodes)
			w := &wild{rig: r, down: map[storage.NodeID]bool{}}
			for range rounds {
				w.once()
				if t.Failed() {
					return
				}
			}
			w.rest()
		})
	}
}

// wild does random things to a rig.
type wild struct {
	*rig
	n    int
	down map[storage.NodeID]bool
}

func (w *wild) once() {
	w.Helper()
	workers := []string{"census", "repair", "repair", "garbage", "reconcile", "drain", "trim"}
	switch k := w.rng.IntN(20); {
	case k < 5:
		w.write()
	case k < 7:
		for key := range w.data {
			w.del(key)
			break
		}
	case k < 8:
		w.hurt()
	case k < 9:
		w.orphan()
	case k < 10:
		w.toggle()
	case k < 11:
		w.raise(time.Duration(w.rng.Int64N(int64(40 * time.Minute))))
	case k < 12 && w.rng.IntN(4) == 0:
		w.restart()
	default:
		name := workers[w.rng.IntN(len(workers))]
		for range 1 + w.rng.IntN(8) {
			_, _ = w.w.Step(w.Context(), name) // a node may not answer
		}
	}
}

// spare is how many good shards a blob may lose, its down nodes' left out.
func (w *wild) spare(id storage.BlobID, shards []storage.Placement, data int) int {
	good := -data
	for i, p := range shards {
		if p.Node == 0 || w.down[p.Node] {
			continue
		}
		sid := storage.ShardID{Blob: id, Index: uint8(i), Gen: p.Gen}
		want, _ := w.frames(w.group.Scheme, sid, w.blobs[id])
		if got, err := w.readShard(p, sid); err == nil && slices.Equal(got, want) {
			good++
		}
	}
	return good
}

// write puts an object, with a hole at times where that is allowed.
func (w *wild) write() {
	w.Helper()
	g, data := w.grant(1 + w.rng.IntN(100<<10))
	var holes []int
	room := len(g.Ticket.Nodes) - w.group.Scheme.Quorum()
	for i, p := range g.Shards {
		switch {
		case p.Node == 0:
			continue
		case w.down[p.Node], room > 0 && w.rng.IntN(8) == 0:
			if room--; room < 0 {
				return // the quorum is not reached: an orphan
			}
			holes = append(holes, i)
		default:
			w.send(g, i, data)
		}
	}
	w.n++
	if err := w.commit(fmt.Sprintf("key-%05d", w.n), g, data, holes...); err != nil {
		w.Fatal(err)
	}
	for _, h := range holes { // some come late
		if p := g.Shards[h]; !w.down[p.Node] && w.rng.IntN(2) == 0 {
			w.send(g, h, data)
		}
	}
}

// hurt loses or rots one shard of a blob that can bear it.
func (w *wild) hurt() {
	rows := w.rows()
	if len(rows) == 0 {
		return
	}
	b := rows[w.rng.IntN(len(rows))]
	if b.Dying || w.spare(b.ID, b.Shards, int(b.Scheme.Data)) < 1 {
		return
	}
	i := w.rng.IntN(len(b.Shards))
	p := b.Shards[i]
	if p.Node == 0 || w.node(p.Node) == nil {
		return
	}
	id := storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}
	if w.rng.IntN(2) == 0 {
		w.node(p.Node).Lose(id)
	} else if w.node(p.Node).Rot(id, 0, 1) { // nobody scrubs here, so it is told
		w.must(w.svc.ReportDamage(w.Context(), []storage.Damage{{Shard: id, Node: p.Node, Reason: "rot"}}))
	}
}

func (w *wild) orphan() {
	g, data := w.grant(50)
	for i, p := range g.Shards {
		if p.Node != 0 && !w.down[p.Node] && w.rng.IntN(2) == 0 {
			w.send(g, i, data)
		}
	}
}

// toggle takes a node down or drains it, where enough others are left, or
// brings it back.
func (w *wild) toggle() {
	w.Helper()
	m, err := w.svc.Map(w.Context())
	w.must(err)
	ok := 0
	for i := range m.Nodes {
		if m.Nodes[i].State == tracker.NodeActive {
			ok++
		}
	}
	n := m.Nodes[w.rng.IntN(len(m.Nodes))]
	switch {
	case n.State == tracker.NodeDraining:
		w.setState(n.ID, tracker.NodeActive)
	case n.State == tracker.NodeDown:
		w.node(n.ID).SetOffline(false)
		delete(w.down, n.ID)
		w.setState(n.ID, tracker.NodeActive)
	case n.State != tracker.NodeActive || ok <= w.group.Scheme.Width():
	case w.rng.IntN(3) == 0:
		w.setState(n.ID, tracker.NodeDraining)
	case len(w.down) == 0:
		w.node(n.ID).SetOffline(true)
		w.down[n.ID] = true
		w.setState(n.ID, tracker.NodeDown)
	}
}

// scrub reports every shard whose bytes do not hold, as the nodes' scrubbers
// do: what the workers were told of before may be lost with a leader.
func (w *wild) scrub() {
	w.Helper()
	for _, b := range w.rows() {
		for i, p := range b.Shards {
			id := storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}
			want, _ := w.frames(b.Scheme, id, w.blobs[b.ID])
			if got, err := w.readShard(p, id); err == nil && !slices.Equal(got, want) {
				w.must(w.svc.ReportDamage(w.Context(), []storage.Damage{{Shard: id, Node: p.Node, Reason: "scrub"}}))
			}
		}
	}
}

// rest brings all nodes back and runs every worker until nothing is left.
func (w *wild) rest() {
	w.Helper()
	for id := range w.down {
		w.node(id).SetOffline(false)
		w.setState(id, tracker.NodeActive)
	}
	w.down = map[storage.NodeID]bool{}
	for range 4 {
		w.raise(ticketLife)
		w.w.Reconcile(0)
		w.step("reconcile")
		w.scrub()
		w.raise(6 * time.Minute)
		w.settle()
		w.raise(11 * time.Minute)
		w.step("garbage")
		w.step("trim")
	}
	if !w.w.Settled() {
		w.Errorf("not settled: %+v", w.w.Info())
	}
	w.whole(true)
}
