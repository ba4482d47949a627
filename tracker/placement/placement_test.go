package placement

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

const gib = 1 << 30

// cluster builds groups of nodes; each node's domain is made by dom.
func cluster(groups, nodes int, s erasure.Scheme, dom func(i int) tracker.Domain) *tracker.Map {
	m := &tracker.Map{Version: 1}
	for g := range groups {
		m.Groups = append(m.Groups, tracker.Group{ID: uint16(g + 1), Name: fmt.Sprint("g", g), Class: tracker.DefaultClass, Scheme: s})
		for n := range nodes {
			m.Nodes = append(m.Nodes, tracker.Node{ID: storage.NodeID(g*nodes + n + 1), Group: uint16(g + 1), State: tracker.NodeActive,
				Epoch: 7, Domain: dom(n), Load: tracker.Load{Total: 100 * gib, Free: 50 * gib, LatencyMicros: 900, At: 1}})
		}
	}
	return m
}

func flat(int) tracker.Domain { return tracker.Domain{} }

func seeds(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func distinct(t *testing.T, ch *Choice) {
	t.Helper()
	seen := map[storage.NodeID]bool{}
	for i, pl := range ch.Shards {
		if pl == (storage.Placement{}) {
			continue
		}
		if seen[pl.Node] || pl.Gen != 1 || i >= len(ch.Nodes) || ch.Nodes[i].Node != pl.Node || ch.Nodes[i].Epoch == 0 {
			t.Fatalf("bad choice %+v", ch)
		}
		seen[pl.Node] = true
	}
}

// TestFill fills 100 groups of 10 nodes of unequal disks and looks at the
// skew of how full they are.
func TestFill(t *testing.T) {
	t.Parallel()
	rng := seeds(t)
	m := cluster(100, 10, erasure.Scheme{Data: 4, Parity: 2}, flat)
	for i := range m.Nodes {
		m.Nodes[i].Load.Total = int64(100+100*(i%4)) * gib
		m.Nodes[i].Load.Free = m.Nodes[i].Load.Total
	}
	index := map[storage.NodeID]*tracker.Node{}
	for i := range m.Nodes {
		index[m.Nodes[i].ID] = &m.Nodes[i]
	}
	const blob, shard = gib * 7 / 10, gib * 7 / 40
	for range 240 {
		p := Prepare(m)
		for range 400 {
			ch, err := p.Place(&Request{Size: blob, Seed: rng.Uint64()})
			if err != nil {
				t.Fatal(err)
			}
			distinct(t, ch)
			for _, g := range ch.Nodes {
				index[g.Node].Load.Free -= shard
			}
		}
	}
	low, high := 1.0, 0.0
	for i := range m.Nodes {
		l := &m.Nodes[i].Load
		f := float64(l.Total-l.Free) / float64(l.Total)
		low, high = min(low, f), max(high, f)
	}
	t.Logf("fill %.3f to %.3f", low, high)
	if high-low > 0.15 {
		t.Errorf("skew %.3f to %.3f", low, high)
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	rng := seeds(t)
	rs42 := erasure.Scheme{Data: 4, Parity: 2}
	for _, c := range []struct {
		name                   string
		scheme                 erasure.Scheme
		nodes                  int
		dom                    func(i int) tracker.Domain
		perZone, perRack, host int // most shards in one
	}{
		{"flat", rs42, 6, flat, 6, 6, 6},
		{"three hosts", rs42, 12, func(i int) tracker.Domain { return tracker.Domain{Host: fmt.Sprint(i % 3)} }, 6, 6, 2},
		{"uneven hosts", rs42, 12, func(i int) tracker.Domain { return tracker.Domain{Host: fmt.Sprint(min(i, 3))} }, 6, 6, 3},
		{"three zones", rs42, 12, func(i int) tracker.Domain {
			return tracker.Domain{Zone: fmt.Sprint(i % 3), Rack: fmt.Sprint(i % 6), Host: fmt.Sprint(i)}
		}, 2, 1, 1},
		{"big host in a small zone", rs42, 15, func(i int) tracker.Domain {
			if i < 10 {
				return tracker.Domain{Zone: "a", Host: "big"}
			}
			return tracker.Domain{Zone: "b", Host: fmt.Sprint(i)}
		}, 4, 4, 2},
		{"rep-3 over racks", erasure.Replicated(3), 9, func(i int) tracker.Domain {
			return tracker.Domain{Rack: fmt.Sprint(i / 3)}
		}, 3, 1, 1},
	} {
		m := cluster(1, c.nodes, c.scheme, c.dom)
		p := Prepare(m)
		for range 200 {
			ch, err := p.Place(&Request{Size: -1, Seed: rng.Uint64()})
			if err != nil {
				t.Fatal(c.name, err)
			}
			distinct(t, ch)
			if len(ch.Nodes) != c.scheme.Width() {
				t.Fatalf("%s: %d nodes", c.name, len(ch.Nodes))
			}
			used := map[string]int{}
			for _, g := range ch.Nodes {
				d := m.Node(g.Node).Domain
				used["zone"+d.Zone]++
				used["rack"+d.Zone+"/"+d.Rack]++
				used["host"+d.Zone+"/"+d.Rack+"/"+d.Host]++
			}
			for k, v := range used {
				if most := map[string]int{"zone": c.perZone, "rack": c.perRack, "host": c.host}[k[:4]]; v > most {
					t.Fatalf("%s: %d shards in %s, most %d", c.name, v, k, most)
				}
			}
		}
	}
}

func TestHoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme      string
		nodes, live int
		suspect     int // of the live ones
		want        int // shards placed, 0 for none
	}{
		{"rep-3", 3, 2, 0, 2}, {"rep-3", 3, 1, 0, 0}, {"rep-2", 3, 2, 0, 2}, {"rep-2", 2, 1, 0, 0}, {"rep-1", 1, 1, 0, 1},
		{"rs-4+2", 6, 5, 0, 5}, {"rs-4+2", 6, 4, 0, 0}, {"rs-4+2", 7, 6, 0, 6}, {"rs-2+2", 4, 3, 0, 3}, {"rs-2+2", 4, 2, 0, 0},
		{"rs-4+2", 6, 6, 1, 5}, {"rs-4+2", 6, 6, 2, 5}, {"rs-4+2", 6, 5, 1, 5}, {"rs-4+2", 6, 4, 1, 0}, {"rep-1", 1, 1, 1, 1},
	} {
		s, err := erasure.ParseScheme(c.scheme)
		if err != nil {
			t.Fatal(err)
		}
		m := cluster(1, c.nodes, s, flat)
		for i := range m.Nodes {
			if i >= c.live {
				m.Nodes[i].State = tracker.NodeDown
			} else if i < c.suspect {
				m.Nodes[i].State = tracker.NodeSuspect
			}
		}
		ch, err := Prepare(m).Place(&Request{Size: 1 << 20, Seed: 5})
		if c.want == 0 {
			if !errors.Is(err, tracker.ErrNoPlacement) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || len(ch.Nodes) != c.want || len(ch.Shards) != s.Width() {
			t.Fatalf("%+v: %+v %v", c, ch, err)
		}
		distinct(t, ch)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	m := cluster(1, 6, erasure.Scheme{Data: 4, Parity: 2}, flat)
	m.Nodes[0].ReadOnly, m.Nodes[1].Load.Free = true, 1<<20
	p := Prepare(m)
	if _, err := p.Place(&Request{Class: "GLACIER_IR"}); !errors.Is(err, tracker.ErrNoSuchClass) {
		t.Error(err)
	}
	if ch, err := p.Place(&Request{Size: 1 << 10}); err != nil || len(ch.Nodes) != 5 {
		t.Error(ch, err)
	}
	if _, err := p.Place(&Request{Size: 1 << 30}); !errors.Is(err, tracker.ErrNoPlacement) {
		t.Error(err)
	}
	if _, err := p.Place(&Request{Policy: tracker.Pinned, Group: 9}); !errors.Is(err, tracker.ErrNoPlacement) {
		t.Error(err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	m := cluster(3, 3, erasure.Replicated(3), flat)
	m.Nodes[4].State = tracker.NodeDown // group 2 cannot place its width
	p := Prepare(m)
	seen := map[uint16]int{}
	for i := range 10 {
		ch, err := p.Place(&Request{Policy: tracker.RoundRobin, Turn: uint64(i), Seed: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		seen[ch.Group.ID]++
	}
	if seen[1] != 5 || seen[3] != 5 {
		t.Error(seen)
	}
	if ch, err := p.Place(&Request{Policy: tracker.Pinned, Group: 2}); err != nil || ch.Group.ID != 2 || len(ch.Nodes) != 2 {
		t.Error(ch, err)
	}
}

func TestBusyNodesGetLess(t *testing.T) {
	t.Parallel()
	rng := seeds(t)
	m := cluster(1, 10, erasure.Replicated(2), flat)
	m.Nodes[3].Load.InFlight = gib
	p := Prepare(m)
	got := map[storage.NodeID]int{}
	for range 5000 {
		ch, _ := p.Place(&Request{Seed: rng.Uint64()})
		for _, g := range ch.Nodes {
			got[g.Node]++
		}
	}
	if got[4]*3 > got[1] {
		t.Errorf("busy node %d, idle one %d", got[4], got[1])
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	rng := seeds(t)
	m := cluster(1, 8, erasure.Scheme{Data: 4, Parity: 2}, func(i int) tracker.Domain { return tracker.Domain{Host: fmt.Sprint(i / 2)} })
	p := Prepare(m)
	shards := []storage.Placement{{Node: 1, Gen: 1}, {Node: 2, Gen: 1}, {Node: 3, Gen: 1}, {Node: 4, Gen: 1}, {Node: 5, Gen: 1}, {}}
	for range 100 {
		g, err := p.Replace(&Replacement{Group: 1, Size: 1, Shards: shards, Index: 5, Seed: rng.Uint64()})
		if err != nil || g.Node != 7 && g.Node != 8 || g.Epoch != 7 {
			t.Fatal(g, err)
		}
	}
	g, err := p.Replace(&Replacement{Group: 1, Size: 1, Shards: shards, Index: 5, Avoid: []storage.NodeID{7, 8}})
	if err != nil || g.Node != 6 {
		t.Fatal(g, err)
	}
	if _, err = p.Replace(&Replacement{Group: 1, Shards: shards, Index: 5, Avoid: []storage.NodeID{6, 7, 8}}); !errors.Is(err, tracker.ErrNoPlacement) {
		t.Fatal(err)
	}
}

func TestRank(t *testing.T) {
	t.Parallel()
	s := erasure.Scheme{Data: 2, Parity: 2}
	m := cluster(1, 5, s, flat)
	shards := []storage.Placement{{Node: 1, Gen: 1}, {Node: 2, Gen: 1}, {Node: 3, Gen: 1}, {Node: 4, Gen: 1}}
	check := func(want string) {
		t.Helper()
		if got := fmt.Sprint(Prepare(m).Rank(nil, s, shards, 3)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	check("[0 1 2 3]")
	m.Nodes[0].Load.InFlight = gib
	check("[1 0 2 3]")
	m.Nodes[1].State = tracker.NodeSuspect
	check("[0 2 3 1]")
	m.Nodes[0].State = tracker.NodeDown
	check("[2 3 1 0]")
	m.Nodes[2].State = tracker.NodeGone
	shards[3] = storage.Placement{}
	check("[1 0]")

	r := cluster(1, 3, erasure.Replicated(3), flat)
	p, first := Prepare(r), map[uint8]bool{}
	for i := range 3 {
		first[p.Rank(nil, erasure.Replicated(3), shards[:3], uint64(i))[0]] = true
	}
	if len(first) != 3 {
		t.Errorf("copies are not turned: %v", first)
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, c := range []struct{ groups, nodes int }{{1, 1}, {1, 8}, {100, 10}, {10, 100}} {
		s := erasure.Scheme{Data: 4, Parity: 2}
		if c.nodes == 1 {
			s = erasure.Replicated(1)
		}
		p := Prepare(cluster(c.groups, c.nodes, s, func(i int) tracker.Domain { return tracker.Domain{Host: fmt.Sprint(i / 2)} }))
		b.Run(fmt.Sprintf("%dx%d", c.groups, c.nodes), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := p.Place(&Request{Size: 4096, Seed: uint64(i)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
