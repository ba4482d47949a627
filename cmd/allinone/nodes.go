package allinone

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"holdfast/storage"
	"holdfast/storage/node"
)

// nodeSet is the nodes of this process by id. It implements storage.Nodes.
type nodeSet struct {
	mu struct {
		sync.RWMutex
		nodes map[storage.NodeID]*node.Node
	}
}

func newNodeSet() *nodeSet {
	s := &nodeSet{}
	s.mu.nodes = map[storage.NodeID]*node.Node{}
	return s
}

// Shards implements storage.Nodes.
func (s *nodeSet) Shards(id storage.NodeID) (storage.Shards, error) {
	if n := s.get(id); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("node %d: %w", id, storage.ErrOffline)
}

func (s *nodeSet) get(id storage.NodeID) *node.Node {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.nodes[id]
}

func (s *nodeSet) put(n *node.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.nodes[n.Node()] = n
}

// swap puts fresh in the place of old, if that is still there.
func (s *nodeSet) swap(old, fresh *node.Node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.nodes[old.Node()] != old {
		return false
	}
	s.mu.nodes[old.Node()] = fresh
	return true
}

// remove takes a node out of the set and returns it, nil if it is not there.
func (s *nodeSet) remove(id storage.NodeID) *node.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.mu.nodes[id]
	delete(s.mu.nodes, id)
	return n
}

// all returns the nodes in order of their ids.
func (s *nodeSet) all() []*node.Node {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*node.Node
	for _, id := range slices.Sorted(maps.Keys(s.mu.nodes)) {
		out = append(out, s.mu.nodes[id])
	}
	return out
}

// statuses returns what the nodes say of themselves.
func (s *nodeSet) statuses(ctx context.Context) (out []storage.Status) {
	for _, n := range s.all() {
		if st, err := n.Status(ctx); err == nil {
			out = append(out, st)
		}
	}
	return out
}
