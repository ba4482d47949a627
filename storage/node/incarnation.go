package node

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
