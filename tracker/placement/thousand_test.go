package placement

import (
	"testing"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// fleet places blobs on a simulated cluster whose nodes report their space and
// what they are writing with a heartbeat every so many placements.
type fleet struct {
	t     *testing.T
	m     *tracker.Map
	index map[storage.NodeID]int
	free  []int64 // as it is; the map has it as of the last heartbeat
	given []int   // shards placed in the present window
	seed  uint64
	shard int64
}

func newFleet(t *testing.T, m *tracker.Map, shard int64) *fleet {
	f := &fleet{t: t, m: m, index: map[storage.NodeID]int{}, shard: shard}
	for i := range m.Nodes {
		f.index[m.Nodes[i].ID] = i
		f.free = append(f.free, m.Nodes[i].Load.Free)
	}
	f.given = make([]int, len(f.free))
	return f
}

// place places n blobs between two heartbeats.
func (f *fleet) place(n int) {
	p := Prepare(f.m)
	width := int64(f.m.Groups[0].Scheme.Data)
	for range n {
		f.seed += 0x9E3779B97F4A7C15
		ch, err := p.Place(&Request{Size: f.shard * width, Seed: f.seed})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, g := range ch.Nodes {
			i := f.index[g.Node]
			f.free[i] -= f.shard
			f.given[i]++
		}
	}
	for i := range f.m.Nodes {
		f.m.Nodes[i].Load.Free = f.free[i]
	}
}

func (f *fleet) fill(i int) float64 {
	l := &f.m.Nodes[i].Load
	return float64(l.Total-f.free[i]) / float64(l.Total)
}

// spread is the greatest difference of fill between two nodes.
func (f *fleet) spread() float64 {
	low, high := 1.0, 0.0
	for i := range f.free {
		low, high = min(low, f.fill(i)), max(high, f.fill(i))
	}
	return high - low
}

// busiest is the most shards that a node was given in the window, over the
// mean, and begins the next.
func (f *fleet) busiest() float64 {
	sum, most := 0, 0
	for i, n := range f.given {
		sum, most = sum+n, max(most, n)
		f.given[i] = 0
	}
	return float64(most) * float64(len(f.given)) / float64(sum)
}

// TestThousandNodes fills 100 groups of 10 nodes to a half: they are equally
// full to 5 points and equally busy to a third, and a node that joins empty
// fills up without all writes going to it.
func TestThousandNodes(t *testing.T) {
	t.Parallel()
	for _, scheme := range []erasure.Scheme{{Data: 1, Parity: 2}, {Data: 4, Parity: 2}} {
		m := cluster(100, 10, scheme, flat)
		for i := range m.Nodes {
			m.Nodes[i].Load.Free = m.Nodes[i].Load.Total
		}
		const beats = 200
		perBeat := 1200 * 1000 / scheme.Width() / beats // 1,200 shards a node in all
		f := newFleet(t, m, 100*gib/2/1200)
		worst := 0.0
		for b := range beats {
			f.place(perBeat)
			if b%50 == 49 { // a window of 300 shards a node
				worst = max(worst, f.busiest())
			}
		}
		t.Logf("%s: fill differs by %.1f points at %.0f %%, the busiest node has %.2f times the mean", scheme, 100*f.spread(), 100*f.fill(0), worst)
		if f.spread() > 0.05 {
			t.Errorf("%s: fill differs by %.3f", scheme, f.spread())
		}
		if worst > 1.3 {
			t.Errorf("%s: a node has %.2f times the mean load", scheme, worst)
		}
		f.join(scheme, perBeat)
	}
}

// join adds an empty node to the first group.
func (f *fleet) join(scheme erasure.Scheme, perBeat int) {
	f.t.Helper()
	n := f.m.Nodes[0]
	n.ID = 9999
	n.Load.Free = n.Load.Total
	f.m.Nodes = append(f.m.Nodes, n)
	i := len(f.free)
	f.index[n.ID] = i
	f.free, f.given = append(f.free, n.Load.Total), append(f.given, 0)
	f.busiest()
	for range 50 {
		f.place(perBeat)
	}
	group := 0
	for k := range 10 {
		group += f.given[k]
	}
	mean := float64(group) / 10
	share := float64(f.given[i]) / mean
	f.t.Logf("%s: a node that joined gets %.1f times what the others of its group do", scheme, share)
	if share < 1.1 {
		f.t.Errorf("%s: a node that joined empty does not fill up: %.2f times the others", scheme, share)
	}
	if share > 4 {
		f.t.Errorf("%s: a node that joined gets %.1f times what the others do", scheme, share)
	}
}
