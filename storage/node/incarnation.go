package node

import (
	"context"
	"fmt"

	"holdfast/storage"
)

// Follow tells the node which incarnation the catalog has by now. With
// another than the node knows it keeps serving and writing, and drops nothing
// until SetIncarnation.
func (n *Node) Follow(inc string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg.Incarnation = inc
	n.mu.frozen = n.mu.identity.Incarnation != inc
}

// Frozen reports whether the node drops nothing, since the catalog has
// another incarnation than it knows.
func (n *Node) Frozen() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.frozen
}

// CheckIncarnation refuses to drop anything for a catalog of another
// incarnation than the node knows, with storage.ErrIncarnation. A node that
// knows none yet, and one that was told none, are not compared.
func (n *Node) CheckIncarnation(of string) error {
	knows, _ := n.incarnation()
	if of == "" || knows == "" || of == knows {
		return nil
	}
	return fmt.Errorf("node %d knows %q, the catalog is %q: %w", n.cfg.Node, knows, of, storage.ErrIncarnation)
}

// incarnation returns which one the node knows, and whether it faces another.
func (n *Node) incarnation() (knows string, frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.identity.Incarnation, n.mu.frozen
}

// Adopt implements storage.Shards.
func (n *Node) Adopt(ctx context.Context, inc string) error {
	n.Follow(inc)
	if err := n.SetIncarnation(inc); err != nil {
		return err
	}
	return n.ConfirmDisown(ctx)
}
