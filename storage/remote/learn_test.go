package remote

import (
	"errors"
	"testing"

	"holdfast/storage"
)

// TestUnknownNodeIsLearned: a node that is younger than the addresses here is
// found with newer ones; one that nobody knows is not asked for all the time.
func TestUnknownNodeIsLearned(t *testing.T) {
	learned := 0
	var n *Nodes
	n = NewNodes(Config{Learn: func() {
		learned++
		n.Update(map[storage.NodeID]string{1: "127.0.0.1:1", 2: "127.0.0.1:2"})
	}})
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	n.Update(map[storage.NodeID]string{1: "127.0.0.1:1"})
	for _, id := range []storage.NodeID{1, 2, 2, 1} {
		if s, err := n.Shards(id); err != nil || s.Node() != id {
			t.Errorf("node %d: %v, %v", id, s, err)
		}
	}
	if learned != 1 {
		t.Errorf("learned %d times, want once", learned)
	}
	for range 100 {
		if _, err := n.Shards(3); !errors.Is(err, storage.ErrOffline) {
			t.Errorf("a node that nobody knows: %v", err)
		}
	}
	if learned > 10 {
		t.Errorf("learned %d times for a node that nobody knows", learned)
	}
}
