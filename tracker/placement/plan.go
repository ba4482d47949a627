// Package placement decides where new shards go and which copies a read
// should ask first. Every decision is a pure function of the cluster map, the
// load in it and the request with its seed: no clock, no I/O, no goroutine,
// no state but a pool of scratch memory. It must never know the catalog.
package placement

import (
	"sync"

	"holdfast/storage"
	"holdfast/tracker"
)

// Plan is a cluster map prepared for decisions. It is built once per change
// of map or load, is immutable and safe for concurrent use.
type Plan struct {
	groups  []group
	classes map[string][]int // indexes into groups
	nodes   map[storage.NodeID]member
	scratch sync.Pool
}

// group is a storage group and those of its nodes that may take writes.
type group struct {
	tracker.Group
	cands  []candidate
	active int    // candidates that are not suspect
	free   uint64 // MiB of the active ones, normalised by the scheme
	empty  uint64 // free 256ths of their disks
	weight uint64 // chance to be drawn among the groups of its class, see weigh
	busy   uint64 // mean of the active ones
	counts [3]int // number of zones, racks and hosts
}

// member is what is known of any node, a candidate or not.
type member struct {
	group  int32 // index into groups, -1 if the group is unknown
	domain [3]uint16
	state  tracker.NodeState
	epoch  uint32
	busy   uint64
}

// candidate is a node that may take writes.
type candidate struct {
	id      storage.NodeID
	epoch   uint32
	suspect bool
	unknown bool // never heard of: its free space is a guess
	domain  [3]uint16
	weight  uint64 // chance to be drawn, see finish
	empty   uint64 // free 256ths of the disk
	free    int64
	busy    uint64
}

// Prepare builds the plan of a map. m must not change afterwards.
func Prepare(m *tracker.Map) *Plan {
	p := &Plan{classes: map[string][]int{}, nodes: make(map[storage.NodeID]member, len(m.Nodes))}
	byID := make(map[uint16]int, len(m.Groups))
	for i, g := range m.Groups {
		if g.Class == "" {
			g.Class = tracker.DefaultClass
		}
		byID[g.ID] = i
		p.groups = append(p.groups, group{Group: g})
		p.classes[g.Class] = append(p.classes[g.Class], i)
	}
	names := make([][3]map[[3]string]uint16, len(p.groups))
	for i := range m.Nodes {
		n := &m.Nodes[i]
		mem := member{group: -1, state: n.State, epoch: n.Epoch, busy: busy(&n.Load)}
		if gi, ok := byID[n.Group]; ok {
			mem.group = int32(gi)
			mem.domain = number(&names[gi], n.Domain)
			if takesWrites(n) {
				p.groups[gi].add(n, &mem)
			}
		}
		p.nodes[n.ID] = mem
	}
	for i := range p.groups {
		for l := range 3 {
			p.groups[i].counts[l] = len(names[i][l])
		}
		p.groups[i].finish()
	}
	for _, in := range p.classes {
		p.weigh(in)
	}
	p.scratch.New = func() any { return new(scratch) }
	return p
}

// number gives each zone, rack and host of a group a small number. Racks are
// told apart within their zone and hosts within their rack; unknown parts
// count as one domain, which errs on the careful side.
func number(names *[3]map[[3]string]uint16, d tracker.Domain) (out [3]uint16) {
	for l, key := range [3][3]string{{d.Zone}, {d.Zone, d.Rack}, {d.Zone, d.Rack, d.Host}} {
		if names[l] == nil {
			names[l] = map[[3]string]uint16{}
		}
		v, ok := names[l][key]
		if !ok {
			v = uint16(len(names[l]))
			names[l][key] = v
		}
		out[l] = v
	}
	return out
}

// takesWrites tells whether a node may be given new shards at all.
func takesWrites(n *tracker.Node) bool {
	if n.ReadOnly || n.State != tracker.NodeActive && n.State != tracker.NodeSuspect {
		return false
	}
	return n.Load.At == 0 || n.Load.Free > 0
}

func (g *group) add(n *tracker.Node, m *member) {
	c := candidate{id: n.ID, epoch: n.Epoch, suspect: n.State == tracker.NodeSuspect, unknown: n.Load.At == 0,
		domain: m.domain, free: n.Load.Free, weight: uint64(max(n.Load.Free>>20, 1)), busy: m.busy}
	c.empty = 256
	if t := n.Load.Total >> 8; t > 0 {
		c.empty = uint64(min(max(n.Load.Free/t, 1), 256))
	}
	g.cands = append(g.cands, c)
}

// finish gives nodes that were never heard of the mean free space of the
// others, sums the group up, and makes each node's weight: its free MiB times
// the eighth power of how empty it is beside the emptiest. Free space alone
// would fill small disks first, since a blob takes many nodes of few and a
// node at most once.
func (g *group) finish() {
	var sum, known, load, empty uint64
	emptiest := uint64(1)
	for i := range g.cands {
		if c := &g.cands[i]; !c.unknown {
			sum, known, emptiest = sum+c.weight, known+1, max(emptiest, c.empty)
		}
	}
	mean := uint64(1)
	if known > 0 {
		mean = max(sum/known, 1)
	}
	for i := range g.cands {
		c := &g.cands[i]
		if c.unknown {
			c.weight = mean
		}
		if !c.suspect {
			g.active++
			g.free += c.weight
			load += c.busy
			empty += c.empty
		}
		if r := c.empty * 256 / emptiest; !c.unknown {
			for range 3 {
				r = r * r >> 8
			}
			c.weight *= max(r, 1)
		} else {
			c.weight <<= 8
		}
	}
	g.level()
	if g.active > 0 {
		g.empty = empty / uint64(g.active)
		g.free = max(g.free*uint64(g.Scheme.Data)/uint64(max(g.Scheme.Width(), 1)), 1)
		g.busy = load / uint64(g.active)
	}
}

// weigh makes the weights of the groups of a class as finish makes those of
// nodes, with a gentler power: a group takes a blob whole.
func (p *Plan) weigh(in []int) {
	emptiest := uint64(1)
	for _, i := range in {
		emptiest = max(emptiest, p.groups[i].empty)
	}
	for _, i := range in {
		g := &p.groups[i]
		r := g.empty * 256 / emptiest
		for range 2 {
			r = r * r >> 8
		}
		g.weight = max(g.free, 1) * max(r, 1)
	}
}

// mostShare is how much more than the others' mean a node may be drawn: one
// that joins empty fills up, and does not take all writes meanwhile.
const mostShare = 3

// level bounds each weight by mostShare times the mean of the others.
func (g *group) level() {
	var sum uint64
	for i := range g.cands {
		sum += g.cands[i].weight
	}
	if n := uint64(len(g.cands)); n > 1 {
		for i := range g.cands {
			c := &g.cands[i]
			c.weight = max(min(c.weight, mostShare*(sum-c.weight)/(n-1)), 1)
		}
	}
}

// busy is the time in microseconds that a write is expected to wait for a
// node: its recent sync and, at 100 MB/s, the bytes already on their way.
func busy(l *tracker.Load) uint64 {
	lat := uint64(max(l.LatencyMicros, 0))
	if lat == 0 {
		lat = 1000
	}
	return lat + uint64(max(l.InFlight, 0))/100
}
