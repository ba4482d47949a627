package placement

import (
	"fmt"
	"slices"

	"holdfast/storage"
	"holdfast/tracker"
)

// scratch is the state of one choice of nodes.
type scratch struct {
	out      []bool     // candidates that are chosen already or not allowed
	used     [3][]uint8 // shards per zone, rack and host
	parity   uint8
	pardoned bool
}

// take returns clean scratch for a group.
func (p *Plan) take(g *group) *scratch {
	s := p.scratch.Get().(*scratch)
	s.out = zeroed(s.out, len(g.cands))
	for l := range s.used {
		s.used[l] = zeroed(s.used[l], g.counts[l])
	}
	s.parity, s.pardoned = g.Scheme.Parity, false
	return s
}

func zeroed[T any](b []T, n int) []T {
	b = slices.Grow(b[:0], n)[:n]
	clear(b)
	return b
}

// pardon lets the suspect candidates with room be chosen too, once.
func (s *scratch) pardon(g *group, need int64) bool {
	if s.pardoned {
		return false
	}
	s.pardoned = true
	for i := range g.cands {
		if c := &g.cands[i]; c.suspect && c.holds(need) {
			s.out[i] = false
		}
	}
	return true
}

// count notes a shard in a domain.
func (s *scratch) count(d [3]uint16) {
	for l, v := range d {
		s.used[l][v]++
	}
}

// crowd says how crowded a domain is with shards of this blob: first at how
// many levels one more would exceed the parity (its loss would lose the
// blob), then the counts from the outermost level in.
func (s *scratch) crowd(d [3]uint16) uint32 {
	var key, over uint32
	for l, v := range d {
		n := s.used[l][v]
		key = key<<8 | uint32(n)
		if n >= s.parity {
			over++
		}
	}
	return over<<24 | key
}

// next chooses a candidate in the least crowded domains: two draws weighted
// by free space, of which the less busy wins. It returns -1 if none is left.
func (s *scratch) next(g *group, rng *random) int {
	least, total := ^uint32(0), uint64(0)
	for i := range g.cands {
		if s.out[i] {
			continue
		}
		switch k := s.crowd(g.cands[i].domain); {
		case k < least:
			least, total = k, g.cands[i].weight
		case k == least:
			total += g.cands[i].weight
		}
	}
	if total == 0 {
		return -1
	}
	a, b := s.draw(g, least, rng.below(total)), s.draw(g, least, rng.below(total))
	if calmer(g.cands[b].busy, g.cands[a].busy) {
		a = b
	}
	s.out[a] = true
	s.count(g.cands[a].domain)
	return a
}

// draw returns the candidate at a weight among those that are least crowded.
func (s *scratch) draw(g *group, least uint32, at uint64) int {
	last := -1
	for i := range g.cands {
		if s.out[i] || s.crowd(g.cands[i].domain) != least {
			continue
		}
		if last = i; at < g.cands[i].weight {
			break
		}
		at -= g.cands[i].weight
	}
	return last
}

// Replacement asks for a node that takes over one index of a blob.
type Replacement struct {
	Group  uint16
	Size   int64 // bytes of the blob
	Shards []storage.Placement
	Index  int
	Avoid  []storage.NodeID // nodes that failed at this already
	Seed   uint64
}

// Replace chooses an active node that holds no shard of the blob (that of
// Index aside, whose node is not chosen either), in domains as different from
// the other shards' as there are. tracker.ErrNoPlacement if there is none.
func (p *Plan) Replace(r *Replacement) (storage.Grantee, error) {
	for i := range p.groups {
		if p.groups[i].ID == r.Group {
			return p.replace(&p.groups[i], r)
		}
	}
	return storage.Grantee{}, fmt.Errorf("group %d: %w", r.Group, tracker.ErrNoPlacement)
}

func (p *Plan) replace(g *group, r *Replacement) (storage.Grantee, error) {
	s := p.take(g)
	defer p.scratch.Put(s)
	n := need(g.Scheme, r.Size)
	for i := range g.cands {
		c := &g.cands[i]
		s.out[i] = c.suspect || !c.holds(n) || slices.Contains(r.Avoid, c.id) ||
			slices.ContainsFunc(r.Shards, func(pl storage.Placement) bool { return pl.Node == c.id })
	}
	for i, pl := range r.Shards {
		if m, ok := p.nodes[pl.Node]; ok && i != r.Index && m.group >= 0 && &p.groups[m.group] == g {
			s.count(m.domain)
		}
	}
	rng := random{r.Seed}
	i := s.next(g, &rng)
	if i < 0 {
		return storage.Grantee{}, fmt.Errorf("group %d: no node for a shard: %w", r.Group, tracker.ErrNoPlacement)
	}
	return storage.Grantee{Node: g.cands[i].id, Epoch: g.cands[i].epoch}, nil
}
