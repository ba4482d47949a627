package placement

import (
	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// Rank appends to dst the indexes of a blob's shards in the order in which a
// read should ask for them: nodes that answer before suspect ones before
// those that are down; among equals data shards before parity (the usual read
// decodes nothing), and the less busy node first. Copies of a rep-N blob are
// all data, and equals among them are turned by seed. Holes, unknown nodes
// and nodes that are gone are left out.
func (p *Plan) Rank(dst []uint8, s erasure.Scheme, shards []storage.Placement, seed uint64) []uint8 {
	var keys [erasure.MaxWidth]uint64
	start := len(dst)
	turn := 0
	if s.Data == 1 && len(shards) > 0 {
		turn = int(seed % uint64(len(shards)))
	}
	for n := range min(len(shards), erasure.MaxWidth) {
		i := (n + turn) % len(shards)
		key, ok := p.rank(s, shards[i].Node, i)
		if !ok {
			continue
		}
		at := len(dst)
		dst = append(dst, uint8(i))
		keys[at-start] = key
		for ; at > start && keys[at-start-1] > key; at-- {
			keys[at-start], dst[at] = keys[at-start-1], dst[at-1]
			keys[at-start-1], dst[at-1] = key, uint8(i)
		}
	}
	return dst
}

// rank is a shard's sort key: state, data before parity, and how busy its
// node is in powers of two, since finer differences are noise.
func (p *Plan) rank(s erasure.Scheme, id storage.NodeID, index int) (uint64, bool) {
	m, ok := p.nodes[id]
	if !ok || id == 0 || m.state == tracker.NodeGone {
		return 0, false
	}
	var key uint64
	switch m.state {
	case tracker.NodeActive, tracker.NodeDraining:
	case tracker.NodeDown:
		key = 2
	default:
		key = 1
	}
	key <<= 1
	if s.Data > 1 && index >= int(s.Data) {
		key |= 1
	}
	key <<= 8
	for b := m.busy >> 10; b > 0; b >>= 1 {
		key++
	}
	return key, true
}
