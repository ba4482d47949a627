package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/placement"
)

// scope is what a policy is for; zero fields are everything.
type scope struct {
	bucket tracker.BucketID
	class  string
}

// policy is a policy that is set, and whose turn it is under round-robin. A
// new leader begins the turns anew.
type policy struct {
	tracker.Policy
	turns sync.Map // by class of the request: *atomic.Uint64
}

// turn counts the requests of a class.
func (p *policy) turn(class string) uint64 {
	n, ok := p.turns.Load(class)
	if !ok {
		n, _ = p.turns.LoadOrStore(class, new(atomic.Uint64))
	}
	return n.(*atomic.Uint64).Add(1) - 1
}

// policiesOf makes the policies of rows ready; those that stay as they were go
// on with their turns.
func policiesOf(rows []tracker.Policy, old map[scope]*policy) map[scope]*policy {
	out := make(map[scope]*policy, len(rows))
	for _, row := range rows {
		at := scope{row.BucketID, row.Class}
		if p := old[at]; p != nil && p.Policy == row {
			out[at] = p
		} else {
			out[at] = &policy{Policy: row}
		}
	}
	return out
}

// policyFor is the narrowest policy for a request, nil where none is set.
func (st *state) policyFor(bucket tracker.BucketID, class string) *policy {
	for _, at := range [...]scope{{bucket, class}, {bucket: bucket}, {class: class}, {}} {
		if p := st.policies[at]; p != nil {
			return p
		}
	}
	return nil
}

// choose asks the plan for a place by the policy that counts.
func (s *Service) choose(st *state, r *tracker.PlaceRequest) (*placement.Choice, error) {
	class := r.Class
	if class == "" {
		class = tracker.DefaultClass
	}
	q := &placement.Request{Class: class, Size: r.Size, Seed: s.seed.Add(0x9E3779B97F4A7C15)}
	p := st.policyFor(r.Bucket, class)
	if p == nil {
		return st.plan.Place(q)
	}
	q.Policy, q.Group = p.Kind, p.GroupID
	if p.Kind == tracker.RoundRobin {
		q.Turn = p.turn(class)
	}
	return st.plan.Place(q)
}

// PutObject implements tracker.Objects. A copy by reference leaves its data
// where it is, and is refused where a policy pins it to another group.
func (s *Service) PutObject(ctx context.Context, r *tracker.PutObject) (*tracker.PutResult, error) {
	if st := s.state.Load(); r.Source != nil && st != nil {
		if err := s.pinnedElsewhere(ctx, st, r); err != nil {
			return nil, err
		}
	}
	return s.Catalog.PutObject(ctx, r)
}

// sharedExtents is how many extents of a copy's source are looked at: about as
// many as the catalog lets one copy share.
const sharedExtents = 1000

func (s *Service) pinnedElsewhere(ctx context.Context, st *state, r *tracker.PutObject) error {
	class := r.Class
	if class == "" {
		class = tracker.DefaultClass
	}
	p := st.policyFor(r.Bucket, class)
	if p == nil || p.Kind != tracker.Pinned {
		return nil
	}
	extents, err := s.Catalog.Extents(ctx, *r.Source, 0, sharedExtents)
	if err != nil {
		return err
	}
	for _, e := range extents {
		if e.Blob.ID.Group() != p.GroupID {
			return tracker.ErrPinnedElsewhere
		}
	}
	return nil
}

// Policies implements tracker.Administration.
func (s *Service) Policies(ctx context.Context) ([]tracker.Policy, error) {
	if _, err := s.current(ctx); err != nil {
		return nil, err
	}
	return s.rows.Policies(ctx)
}

// SetPolicy implements tracker.Administration.
func (s *Service) SetPolicy(ctx context.Context, r *tracker.SetPolicy) (tracker.Policy, error) {
	st, err := s.current(ctx)
	if err != nil {
		return tracker.Policy{}, err
	}
	p := tracker.Policy{Bucket: r.Bucket, Class: r.Class, Kind: r.Kind, Group: r.Group}
	if p.Kind > tracker.Pinned || (p.Kind == tracker.Pinned) != (p.Group != "") {
		return p, fmt.Errorf("policy %s with group %q: a pin names its group, and no other policy does: %w", p.Kind, p.Group, tracker.ErrInvalid)
	}
	if r.Bucket != "" {
		b, err := s.Catalog.Bucket(ctx, r.Bucket)
		if err != nil {
			return p, err
		}
		p.BucketID = b.ID
	}
	if p.Group != "" {
		if p.GroupID = groupNamed(st.m, p.Group); p.GroupID == 0 {
			return p, fmt.Errorf("group %q: %w", p.Group, tracker.ErrNoSuchGroup)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := s.rows.SetPolicy(ctx, p); {
	case errors.Is(err, catalog.ErrLevel):
		return p, fmt.Errorf("policies need every tracker to run this release, and the one that leads to have seen that; see holdfast admin tracker list: %w", err)
	case err != nil:
		return p, fmt.Errorf("policy for %s: %w", p.Scope(), err)
	}
	s.logger.Info().Str("scope", p.Scope()).Stringer("policy", p.Kind).Str("group", p.Group).Msg("placement policy changed")
	_, err = s.reload(ctx)
	return p, err
}

func groupNamed(m *tracker.Map, name string) uint16 {
	for i := range m.Groups {
		if m.Groups[i].Name == name {
			return m.Groups[i].ID
		}
	}
	return 0
}

// SetNodeRole implements tracker.Administration.
func (s *Service) SetNodeRole(ctx context.Context, id storage.NodeID, role tracker.NodeRole, force bool) (tracker.Node, error) {
	if _, err := s.current(ctx); err != nil {
		return tracker.Node{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.Load().m
	n := m.Node(id)
	switch {
	case n == nil:
		return tracker.Node{}, fmt.Errorf("node %d: %w", id, tracker.ErrNoSuchNode)
	case n.State == tracker.NodeGone:
		return *n, fmt.Errorf("node %d is gone for ever: %w", id, tracker.ErrConflict)
	case role > tracker.RoleReadOnly:
		return *n, fmt.Errorf("node %d to role %d: %w", id, role, tracker.ErrInvalid)
	case n.Role == role:
		return *n, nil
	case role == tracker.RoleReadOnly && !force:
		if err := sparable(m, n); err != nil {
			return *n, err
		}
	}
	if err := s.rows.SetNode(ctx, id, n.Epoch, NodeChange{Role: &role}); err != nil {
		return *n, fmt.Errorf("node %d to %s: %w", id, role, err)
	}
	s.logger.Info().Uint32("node", uint32(id)).Stringer("from", n.Role).Stringer("to", role).Msg("node changed its role")
	st, err := s.reload(ctx)
	if err != nil {
		return *n, err
	}
	return *st.m.Node(id), nil
}

// sparable refuses to set a node read-only where its group would have fewer
// nodes that take writes than its scheme is wide.
func sparable(m *tracker.Map, n *tracker.Node) error {
	left, g := writers(m, n)
	if left >= g.Scheme.Width() {
		return nil
	}
	what := fmt.Sprintf("new blobs would lack shards, and be less safe than %s promises", g.Scheme)
	if left < g.Scheme.Quorum() {
		what = fmt.Sprintf("writes to it would fail, since %s needs %d", g.Scheme, g.Scheme.Quorum())
	}
	return fmt.Errorf("node %d set read-only would leave %d nodes of group %s that take writes, of %d: %s; add a node first, or repeat with --force: %w",
		n.ID, left, g.Name, g.Scheme.Width(), what, tracker.ErrTooFewNodes)
}

// writers counts the nodes of a node's group that take writes, itself aside.
func writers(m *tracker.Map, n *tracker.Node) (left int, g tracker.Group) {
	for i := range m.Groups {
		if m.Groups[i].ID == n.Group {
			g = m.Groups[i]
		}
	}
	for i := range m.Nodes {
		o := &m.Nodes[i]
		if o.Group == n.Group && o.ID != n.ID && !o.ReadOnly && (o.State == tracker.NodeActive || o.State == tracker.NodeSuspect) {
			left++
		}
	}
	return left, g
}
