package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// health is what is known of a node beside its row.
type health struct {
	heard    time.Time // last heartbeat, or when this process began to wait for one
	load     tracker.Load
	readOnly bool
	failing  string   // why the node takes neither reads nor writes for sure
	frozen   bool     // it deletes nothing until a person has confirmed
	note     string   // what it says of itself, told once
	fresh    bool     // heard since the map was last published
	boot     [16]byte // of the process that serves the node, zero where it was asked and did not say
}

// RegisterGroup implements tracker.Administration.
func (s *Service) RegisterGroup(ctx context.Context, g tracker.Group) (tracker.Group, error) {
	if _, err := s.current(ctx); err != nil {
		return tracker.Group{}, err
	}
	if g.Class == "" {
		g.Class = "STANDARD"
	}
	if !printable(g.Name) || !printable(g.Class) {
		return tracker.Group{}, fmt.Errorf("group %.70q of class %.70q: both are 1 to 63 printable characters without spaces: %w", g.Name, g.Class, tracker.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.state.Load().held(); err != nil {
		return tracker.Group{}, fmt.Errorf("register group %q: %w", g.Name, err)
	}
	out, err := s.rows.AddGroup(ctx, g)
	if err != nil {
		return tracker.Group{}, fmt.Errorf("register group %q: %w", g.Name, err)
	}
	_, err = s.reload(ctx)
	return out, err
}

// printable tells whether people and S3's x-amz-storage-class can say a name
// of a group or of a class. A group is there for ever.
func printable(name string) bool {
	other := func(r rune) bool { return r <= ' ' || r > '~' }
	return name != "" && len(name) <= 63 && !strings.ContainsFunc(name, other)
}

// RegisterNode implements tracker.Administration. A node that comes with an
// id is one that was registered before: its address and domain are brought up
// to date, and tracker.ErrNoSuchNode is answered if it is unknown or gone.
func (s *Service) RegisterNode(ctx context.Context, n tracker.Node) (tracker.Node, error) {
	if _, err := s.current(ctx); err != nil {
		return tracker.Node{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.Load().m
	if n.ID != 0 {
		return s.readdress(ctx, m, n)
	}
	if err := s.state.Load().held(); err != nil {
		return tracker.Node{}, fmt.Errorf("register node at %q: %w", n.Addr, err)
	}
	if err := s.notAStrangers(m); err != nil {
		return tracker.Node{}, fmt.Errorf("register node at %q: %w", n.Addr, err)
	}
	if !hasGroup(m, n.Group) {
		return tracker.Node{}, fmt.Errorf("register node at %q: no group %d: %w", n.Addr, n.Group, tracker.ErrNoSuchNode)
	}
	out, err := s.rows.AddNode(ctx, n)
	if err != nil {
		return tracker.Node{}, fmt.Errorf("register node at %q: %w", n.Addr, err)
	}
	_, err = s.reload(ctx)
	return out, err
}

// readdress brings a known node's row up to date. s.mu is held.
func (s *Service) readdress(ctx context.Context, m *tracker.Map, n tracker.Node) (tracker.Node, error) {
	old := m.Node(n.ID)
	if old == nil || old.State == tracker.NodeGone {
		return tracker.Node{}, fmt.Errorf("register node %d: %w", n.ID, tracker.ErrNoSuchNode)
	}
	if (n.Addr == "" || n.Addr == old.Addr) && (n.Domain == tracker.Domain{} || n.Domain == old.Domain) {
		return *old, nil
	}
	c := NodeChange{Addr: n.Addr}
	if n.Domain != (tracker.Domain{}) {
		c.Domain = &n.Domain
	}
	if err := s.rows.SetNode(ctx, n.ID, old.Epoch, c); err != nil {
		return tracker.Node{}, fmt.Errorf("register node %d: %w", n.ID, err)
	}
	st, err := s.reload(ctx)
	if err != nil {
		return tracker.Node{}, err
	}
	return *st.m.Node(n.ID), nil
}

func hasGroup(m *tracker.Map, id uint16) bool {
	for i := range m.Groups {
		if m.Groups[i].ID == id {
			return true
		}
	}
	return false
}

// SetNodeState implements tracker.Administration. A drain that would leave
// the group fewer writable nodes than its scheme is wide is refused with
// tracker.ErrNoPlacement; a node that is gone stays gone.
func (s *Service) SetNodeState(ctx context.Context, id storage.NodeID, state tracker.NodeState) error {
	if _, err := s.current(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setState(ctx, id, state)
}

// setState changes a node's state. s.mu is held.
func (s *Service) setState(ctx context.Context, id storage.NodeID, state tracker.NodeState) error {
	m := s.state.Load().m
	n := m.Node(id)
	switch {
	case n == nil:
		return fmt.Errorf("node %d: %w", id, tracker.ErrNoSuchNode)
	case n.State == state:
		return nil
	case n.State == tracker.NodeGone:
		return fmt.Errorf("node %d is gone for ever: %w", id, tracker.ErrConflict)
	case state == tracker.NodeDraining:
		if err := drainable(m, n); err != nil {
			return err
		}
	}
	if err := s.rows.SetNode(ctx, id, n.Epoch, NodeChange{State: state}); err != nil {
		return fmt.Errorf("node %d to %s: %w", id, state, err)
	}
	s.logger.Info().Uint32("node", uint32(id)).Stringer("from", n.State).Stringer("to", state).Msg("node changed its state")
	_, err := s.reload(ctx)
	return err
}

// drainable refuses a drain that leaves too few nodes (SAFETY B9).
func drainable(m *tracker.Map, n *tracker.Node) error {
	if left, g := writers(m, n); left < g.Scheme.Width() {
		return fmt.Errorf("drain of node %d would leave %d nodes for a scheme of %d; add a node first: %w", n.ID, left, g.Scheme.Width(), tracker.ErrNoPlacement)
	}
	return nil
}

// Beat implements tracker.Administration. It touches memory only, but for a
// process that has another address than its nodes' rows say.
func (s *Service) Beat(ctx context.Context, b *tracker.Beat) (*tracker.BeatAnswer, error) {
	st, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	if b.Cluster != "" && st.m.Cluster == "" {
		return nil, fmt.Errorf("the catalog was just begun and has no name yet: %w", tracker.ErrUnavailable)
	}
	if b.Cluster != "" && b.Cluster != st.m.Cluster {
		return nil, fmt.Errorf("storage process at %s is of cluster %s, this is %s: %w", b.Addr, b.Cluster, st.m.Cluster, tracker.ErrForeign)
	}
	out := &tracker.BeatAnswer{Cluster: st.m.Cluster, Incarnation: st.rows.Incarnation, Now: s.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, hb := range b.Nodes {
		n, err := s.beatOf(ctx, b, hb)
		if err != nil {
			return nil, err
		}
		out.Nodes = append(out.Nodes, n)
	}
	out.MapVersion = s.state.Load().m.Version
	return out, nil
}

// beatOf takes one node's part of a heartbeat. s.mu is held.
func (s *Service) beatOf(ctx context.Context, b *tracker.Beat, hb storage.Status) (tracker.BeatNode, error) {
	m := s.state.Load().m
	n := m.Node(hb.Node)
	out := tracker.BeatNode{ID: hb.Node}
	switch {
	case n == nil:
		out.Refused = "the catalog does not know this node: it is another than the node's, or older; see holdfast admin status"
		return out, s.strange(ctx, b, &hb)
	case n.State == tracker.NodeGone:
		out.State, out.Refused = n.State, "this node was replaced or forgotten; empty its directory to use it again"
		return out, nil
	}
	now := s.clk.Now()
	if h := s.mu.health[hb.Node]; h != nil && h.boot != b.Boot && h.boot != ([16]byte{}) && now.Sub(h.heard) < s.cfg.SuspectAfter && n.Addr != b.Addr {
		out.State, out.Refused = n.State, "another process serves this node at "+n.Addr+"; is the directory a copy?"
		return out, nil
	}
	row, err := s.readdress(ctx, m, tracker.Node{ID: hb.Node, Addr: b.Addr, Domain: b.Domain})
	if err != nil {
		return out, err
	}
	s.heard(hb)
	s.mu.health[hb.Node].boot = b.Boot
	out.Epoch, out.State = row.Epoch, row.State
	return out, nil
}

// heard notes a heartbeat. s.mu is held.
func (s *Service) heard(hb storage.Status) {
	h := s.mu.health[hb.Node]
	if h == nil {
		h = &health{}
		s.mu.health[hb.Node] = h
	}
	now := s.clk.Now()
	h.load = tracker.Load{Total: hb.Total, Free: hb.Free, Used: hb.Used, InFlight: hb.InFlight,
		LatencyMicros: hb.LatencyMicros, Errors: hb.Bad + hb.ReadErrors, At: now.UnixMilli(), Err: hb.Err,
		Sent: hb.SentBytes, Received: hb.ReceivedBytes}
	h.heard, h.readOnly, h.failing, h.frozen, h.fresh = now, hb.ReadOnly, "", hb.Frozen, true
	if hb.Err != "" && !hb.ReadOnly {
		h.failing = hb.Err
	}
	if hb.Err != h.note {
		h.note = hb.Err
		s.logger.Warn().Uint32("node", uint32(hb.Node)).Str("says", hb.Err).Bool("read_only", hb.ReadOnly).Msg("node tells of a change of its health")
	}
}

// poll asks every node that is reachable for its status, all at once, and
// counts an answer as a heartbeat.
func (s *Service) poll(ctx context.Context) {
	st := s.state.Load()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Beat)
	defer cancel()
	var wg sync.WaitGroup
	for i := range st.m.Nodes {
		n := &st.m.Nodes[i]
		if n.State == tracker.NodeGone {
			continue
		}
		api, err := s.nodes.Shards(n.ID)
		if err != nil {
			if s.cfg.Certain && errors.Is(err, storage.ErrOffline) {
				s.absent(n.ID)
			}
			continue
		}
		wg.Go(func() {
			hb, err := api.Status(ctx)
			if err != nil || hb.Node != n.ID {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heard(hb)
		})
	}
	wg.Wait()
}

// absent notes that a node is certainly not there.
func (s *Service) absent(id storage.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.mu.health[id]; h != nil {
		h.heard = time.Time{}
	}
}

// watchHealth moves nodes between active, suspect and down by what was heard
// of them, and publishes new loads. Each change of state is a command.
func (s *Service) watchHealth(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state.Load()
	now := s.clk.Now()
	var first error
	fresh := false
	for i := range st.m.Nodes {
		n := &st.m.Nodes[i]
		h := s.mu.health[n.ID]
		if h == nil {
			continue
		}
		fresh = fresh || h.fresh
		h.fresh = false
		want := s.judge(n.State, h, now)
		if want == n.State {
			continue
		}
		if err := s.setState(ctx, n.ID, want); err != nil && first == nil {
			first = err
		}
	}
	if fresh && first == nil {
		s.publish(st.term, s.state.Load().rows)
	}
	return first
}

// judge says what state a node should be in. Joining, draining and gone are
// a person's word and stay, but for a joining node that is heard of.
func (s *Service) judge(state tracker.NodeState, h *health, now time.Time) tracker.NodeState {
	silent := now.Sub(h.heard)
	heardOf := h.load.At != 0
	switch state {
	case tracker.NodeJoining:
		if heardOf && h.failing == "" && silent < s.cfg.SuspectAfter {
			return tracker.NodeActive
		}
		return state
	case tracker.NodeDraining, tracker.NodeGone:
		return state
	}
	switch {
	case silent >= s.cfg.DownAfter:
		return tracker.NodeDown
	case state == tracker.NodeDown && (!heardOf || silent >= s.cfg.SuspectAfter):
		return tracker.NodeDown
	case silent >= s.cfg.SuspectAfter, h.failing != "":
		return tracker.NodeSuspect
	case state == tracker.NodeSuspect && !heardOf:
		return tracker.NodeSuspect
	}
	return tracker.NodeActive
}
