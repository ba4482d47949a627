package cluster

import (
	"cmp"
	"context"
	"fmt"
	"regexp"

	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// operator does administration by the trackers.
type operator struct{ g *Gateway }

var errOneServer = fault.New(fault.NotImplemented, "admin.one-server",
	"this is for a server of one process; in a cluster empty the directory and start its storage process, after: holdfast admin node forget ID")

// Status implements gateway.Operator.
func (o *operator) Status(ctx context.Context) (*tracker.Status, error) {
	return o.g.trackers.Status(ctx)
}

// ReplaceDisk implements gateway.Operator.
func (o *operator) ReplaceDisk(context.Context, string) error { return errOneServer }

// ForgetDisk implements gateway.Operator.
func (o *operator) ForgetDisk(context.Context, string) error { return errOneServer }

// GoOnAlone implements gateway.Operator.
func (o *operator) GoOnAlone(context.Context) error { return errOneServer }

// Fsck implements gateway.Operator.
func (o *operator) Fsck(ctx context.Context, adopt bool) (*gateway.Fsck, error) {
	return o.g.trackers.Fsck(ctx, adopt)
}

// AcceptClock implements gateway.Operator.
func (o *operator) AcceptClock(ctx context.Context) error { return o.g.trackers.AcceptClock(ctx) }

// Repair implements gateway.Operator.
func (o *operator) Repair(ctx context.Context) (*tracker.Repair, error) {
	return o.g.trackers.Repair(ctx)
}

var errGroup = fault.New(fault.Invalid, "admin.group", "a group's name is 1 to 63 letters, digits and hyphens")

// CreateGroup implements gateway.Operator.
func (o *operator) CreateGroup(ctx context.Context, g tracker.Group) (tracker.Group, error) {
	if !groupName.MatchString(g.Name) {
		return g, errGroup
	}
	scheme, class := g.Scheme, cmp.Or(g.Class, tracker.DefaultClass)
	g, err := o.g.trackers.RegisterGroup(ctx, g)
	if has := cmp.Or(g.Class, tracker.DefaultClass); err == nil && (g.Scheme != scheme || has != class) {
		err = fmt.Errorf("group %s is there with the scheme %s and class %s: %w", g.Name, g.Scheme, has, tracker.ErrConflict)
	}
	return g, err
}

var groupName = regexp.MustCompile(`^[A-Za-z0-9-]{1,63}$`)

// RemoveTracker implements gateway.Operator.
func (o *operator) RemoveTracker(ctx context.Context, id string) error {
	return o.g.trackers.RemoveTracker(ctx, id)
}

var errServing = fault.New(fault.Precondition, "admin.node-serves", "the node serves; stop its process, or restart it without that directory, and forget the node once it is suspect or down, some 10 s later")

// ForgetNode implements gateway.Operator.
func (o *operator) ForgetNode(ctx context.Context, id storage.NodeID) error {
	m, err := o.g.trackers.Refresh(ctx)
	if err != nil {
		return err
	}
	n := m.Node(id)
	switch {
	case n == nil:
		return fmt.Errorf("node %d: %w", id, tracker.ErrNoSuchNode)
	case n.State == tracker.NodeActive:
		return fmt.Errorf("node %d at %s: %w", id, n.Addr, errServing)
	}
	return o.g.trackers.SetNodeState(ctx, id, tracker.NodeGone)
}

// SetNodeRole implements gateway.Operator.
func (o *operator) SetNodeRole(ctx context.Context, id storage.NodeID, r tracker.NodeRole, force bool) (tracker.Node, error) {
	return o.g.trackers.SetNodeRole(ctx, id, r, force)
}

// Policies implements gateway.Operator.
func (o *operator) Policies(ctx context.Context) ([]tracker.Policy, error) {
	return o.g.trackers.Policies(ctx)
}

// SetPolicy implements gateway.Operator.
func (o *operator) SetPolicy(ctx context.Context, r *tracker.SetPolicy) (tracker.Policy, error) {
	return o.g.trackers.SetPolicy(ctx, r)
}

// Inspect implements gateway.Operator.
func (o *operator) Inspect(ctx context.Context, bucket, key, version string) (*gateway.Inspection, error) {
	i := admin.Inspector{Catalog: o.g.trackers, Scheduler: o.g.trackers, Nodes: o.g.nodes}
	return i.Inspect(ctx, bucket, key, version)
}
