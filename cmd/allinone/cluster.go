package allinone

import (
	"context"

	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

var errCluster = fault.New(fault.NotImplemented, "allinone.cluster", "this is for a cluster; a server of one process has one group, and its directories are replaced or forgotten with holdfast admin disk replace")

// Repair implements gateway.Operator.
func (s *Server) Repair(ctx context.Context) (*tracker.Repair, error) { return s.workers.Repair(ctx) }

// CreateGroup implements gateway.Operator.
func (s *Server) CreateGroup(context.Context, tracker.Group) (tracker.Group, error) {
	return tracker.Group{}, errCluster
}

// RemoveTracker implements gateway.Operator.
func (s *Server) RemoveTracker(context.Context, string) error { return errCluster }

// ForgetNode implements gateway.Operator.
func (s *Server) ForgetNode(context.Context, storage.NodeID) error { return errCluster }

// SetNodeRole implements gateway.Operator.
func (s *Server) SetNodeRole(ctx context.Context, id storage.NodeID, r tracker.NodeRole, force bool) (tracker.Node, error) {
	if err := s.mayChange(); err != nil {
		return tracker.Node{}, err
	}
	return s.svc.SetNodeRole(ctx, id, r, force)
}

// Policies implements gateway.Operator.
func (s *Server) Policies(ctx context.Context) ([]tracker.Policy, error) { return s.svc.Policies(ctx) }

// SetPolicy implements gateway.Operator.
func (s *Server) SetPolicy(ctx context.Context, r *tracker.SetPolicy) (tracker.Policy, error) {
	if err := s.mayChange(); err != nil {
		return tracker.Policy{}, err
	}
	return s.svc.SetPolicy(ctx, r)
}

// Inspect implements gateway.Operator.
func (s *Server) Inspect(ctx context.Context, bucket, key, version string) (*gateway.Inspection, error) {
	i := admin.Inspector{Catalog: s.svc, Scheduler: s.svc, Nodes: s.nodes}
	return i.Inspect(ctx, bucket, key, version)
}
