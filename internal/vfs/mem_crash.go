package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone returns a file system as a power loss at this instant may leave
// this one. All that was synced is there. Of what was not, each block and size
// is there with a probability of percent in 100 (0: only what was synced; 100:
// everything); of the changes of names in a directory the first ones are, as
// many as such a probability gives. They survive in the order they were made
// because journaling file systems keep it and Pebble relies on it: it makes a
// manifest and the marker that names it under one sync. Both names of a rename
// change together. rng may be nil for 0 and 100. The clone is independent and
// holds no locks; the capacity is the same.
func (m *Mem) CrashClone(percent int, rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &cloner{percent: percent, rng: rng, nodes: map[*inode]*inode{}, txs: map[*byte]bool{}}
	out := NewMem()
	out.mu.capacity = m.mu.capacity
	out.mu.root = c.clone(m.mu.root)
	for _, n := range c.nodes {
		for _, p := range n.pages {
			if p != nil {
				out.mu.used++
			}
		}
	}
	return out
}

type cloner struct {
	percent int
	rng     *rand.Rand
	nodes   map[*inode]*inode // hard links stay links
	txs     map[*byte]bool
}

func (c *cloner) keep() bool {
	switch c.percent {
	case 0:
		return false
	case 100:
		return true
	}
	return c.rng.IntN(100) < c.percent
}

func (c *cloner) clone(n *inode) *inode {
	if done := c.nodes[n]; done != nil {
		return done
	}
	out := &inode{dir: n.dir, mod: n.mod}
	c.nodes[n] = out
	if n.dir {
		c.cloneDir(n, out)
	} else {
		c.cloneFile(n, out)
	}
	return out
}

func (c *cloner) cloneDir(n, out *inode) {
	names := maps.Clone(n.syncedNames)
	if names == nil {
		names = map[string]*inode{}
	}
	first := 0
	for range n.ops {
		if c.keep() {
			first++
		}
	}
	for i, op := range n.ops {
		kept, decided := c.txs[op.tx] // in the other directory of a rename
		if !decided {
			kept = i < first
			c.txs[op.tx] = kept
		}
		if !kept {
			continue
		}
		if op.node == nil {
			delete(names, op.name)
		} else {
			names[op.name] = op.node
		}
	}
	out.names = map[string]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order, so that a seed repeats
		child := c.clone(names[name])
		child.link++
		out.names[name] = child
	}
	out.syncedNames = maps.Clone(out.names)
}

func (c *cloner) cloneFile(n, out *inode) {
	// A cut that was not synced is kept as a whole or not at all; growth
	// comes with its blocks or as zeros.
	sized := n.size != n.synced.size && c.keep()
	out.size = n.synced.size
	out.pages = slices.Clone(n.synced.pages)
	if sized {
		out.size = n.size
	}
	cut := n.size < n.synced.size && !sized
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		if !c.keep() {
			continue
		}
		p := n.page(i)
		if p == nil && i*pageSize >= n.size {
			continue
		}
		for int64(len(out.pages)) <= i {
			out.pages = append(out.pages, nil)
		}
		out.pages[i] = p
		if p != nil {
			if !p.frozen {
				p.frozen = true
			}
			if !cut {
				out.size = max(out.size, min(n.size, (i+1)*pageSize))
			}
		}
	}
	if pages := (out.size + pageSize - 1) / pageSize; pages < int64(len(out.pages)) {
		out.pages = out.pages[:pages]
	}
	zeroTail(out)
	out.synced.size = out.size
	out.synced.pages = slices.Clone(out.pages)
}

// zeroTail clears what lies behind the size in the last page, so that growth
// reads as zeros.
func zeroTail(n *inode) {
	i, in := n.size/pageSize, n.size%pageSize
	p := n.page(i)
	if p == nil || in == 0 {
		return
	}
	q := &page{b: p.b, frozen: true}
	clear(q.b[in:])
	n.pages[i] = q
}
