package placement

import (
	"fmt"
	"math/bits"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// Request asks for a place. Equal requests to equal plans get equal answers.
type Request struct {
	Class  string             // "" is tracker.DefaultClass
	Size   int64              // bytes of the blob, -1 if unknown
	Policy tracker.PolicyKind // the zero value is tracker.Balance
	Group  uint16             // the group under tracker.Pinned
	Turn   uint64             // counts the requests under tracker.RoundRobin
	Seed   uint64             // randomness
}

// Choice is the answer: a group, a placement for each index of its scheme
// (generation 1, holes last), and the nodes with their epochs.
type Choice struct {
	Group  tracker.Group
	Shards []storage.Placement
	Nodes  []storage.Grantee
}

// Place chooses a group and nodes. Where no group of the class can place the
// full width, one that can place its quorum is chosen and the rest are holes;
// else tracker.ErrNoPlacement. tracker.ErrNoSuchClass if no group carries it.
// Under tracker.Pinned there is one group, and tracker.ErrWrongClass if that
// carries another class.
func (p *Plan) Place(r *Request) (*Choice, error) {
	class := r.Class
	if class == "" {
		class = tracker.DefaultClass
	}
	if r.Policy == tracker.Pinned {
		return p.pinned(r, class)
	}
	in := p.classes[class]
	if len(in) == 0 {
		return nil, fmt.Errorf("class %q: %w", class, tracker.ErrNoSuchClass)
	}
	rng := random{r.Seed}
	for _, full := range [2]bool{true, false} {
		if g := p.group(in, r, full, &rng); g != nil {
			return p.nodesOf(g, r.Size, &rng), nil
		}
	}
	return nil, fmt.Errorf("class %q, %d bytes: %w", class, r.Size, tracker.ErrNoPlacement)
}

// pinned is Place in one group and no other.
func (p *Plan) pinned(r *Request, class string) (*Choice, error) {
	for i := range p.groups {
		g := &p.groups[i]
		switch {
		case g.ID != r.Group:
			continue
		case g.Class != class:
			return nil, fmt.Errorf("class %q, and group %s is of %q: %w", class, g.Name, g.Class, tracker.ErrWrongClass)
		case !g.fits(r.Size, false):
			return nil, fmt.Errorf("group %s, to which a policy pins, cannot take %d bytes: %w", g.Name, r.Size, tracker.ErrNoPlacement)
		}
		rng := random{r.Seed}
		return p.nodesOf(g, r.Size, &rng), nil
	}
	return nil, fmt.Errorf("group %d, to which a policy pins: %w: %w", r.Group, tracker.ErrNoPlacement, tracker.ErrNoSuchGroup)
}

// group chooses one of the groups that can place the whole width (full), or
// at least the quorum, of a blob; nil if there is none.
func (p *Plan) group(in []int, r *Request, full bool, rng *random) *group {
	var buf [128]int
	fit := buf[:0]
	var total uint64
	for _, i := range in {
		g := &p.groups[i]
		if !g.fits(r.Size, full) {
			continue
		}
		fit = append(fit, i)
		total += g.weight
	}
	switch {
	case len(fit) == 0:
		return nil
	case len(fit) == 1:
		return &p.groups[fit[0]]
	case r.Policy == tracker.RoundRobin:
		return &p.groups[fit[r.Turn%uint64(len(fit))]]
	}
	draw := func() *group {
		at := rng.below(total)
		for _, i := range fit {
			w := p.groups[i].weight
			if at < w {
				return &p.groups[i]
			}
			at -= w
		}
		return &p.groups[fit[len(fit)-1]]
	}
	a, b := draw(), draw()
	if calmer(b.busy, a.busy) {
		return b
	}
	return a
}

// need is the stored size of one shard, 1 byte if the size is unknown.
func need(s erasure.Scheme, size int64) int64 {
	return max(s.ShardSize(max(size, 0)), 1)
}

func (c *candidate) holds(n int64) bool { return c.unknown || c.free >= n }

// fits tells whether the group can take a blob: on active nodes alone in its
// full width, or with holes and suspect nodes at least in its quorum.
func (g *group) fits(size int64, full bool) bool {
	n, want, have := need(g.Scheme, size), g.Scheme.Width(), 0
	if !full {
		want = g.Scheme.Quorum()
	}
	for i := range g.cands {
		if c := &g.cands[i]; c.holds(n) && (!full || !c.suspect) {
			if have++; have >= want {
				return true
			}
		}
	}
	return false
}

// nodesOf chooses the nodes of a group that fits. A suspect node is chosen
// only where the quorum is not reached without it: a hole costs a repair, a
// node that hangs costs every write a second.
func (p *Plan) nodesOf(g *group, size int64, rng *random) *Choice {
	width, quorum, n := g.Scheme.Width(), g.Scheme.Quorum(), need(g.Scheme, size)
	s := p.take(g)
	defer p.scratch.Put(s)
	for i := range g.cands {
		s.out[i] = !g.cands[i].holds(n) || g.cands[i].suspect
	}
	ch := &Choice{Group: g.Group, Shards: make([]storage.Placement, width), Nodes: make([]storage.Grantee, 0, width)}
	for len(ch.Nodes) < width {
		i := s.next(g, rng)
		if i < 0 && len(ch.Nodes) < quorum && s.pardon(g, n) {
			i = s.next(g, rng)
		}
		if i < 0 {
			break
		}
		ch.Nodes = append(ch.Nodes, storage.Grantee{Node: g.cands[i].id, Epoch: g.cands[i].epoch})
		if len(ch.Nodes) >= quorum && s.pardoned {
			break
		}
	}
	for i := len(ch.Nodes) - 1; i > 0; i-- {
		j := int(rng.below(uint64(i + 1)))
		ch.Nodes[i], ch.Nodes[j] = ch.Nodes[j], ch.Nodes[i]
	}
	for i, gr := range ch.Nodes {
		ch.Shards[i] = storage.Placement{Node: gr.Node, Gen: 1}
	}
	return ch
}

// calmer tells whether b is less busy than a by more than noise.
func calmer(b, a uint64) bool { return b+b/4 < a }

// random is splitmix64.
type random struct{ s uint64 }

func (r *random) next() uint64 {
	r.s += 0x9E3779B97F4A7C15
	x := r.s
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// below returns a number in [0, n); n must not be 0.
func (r *random) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.next(), n)
	return hi
}
