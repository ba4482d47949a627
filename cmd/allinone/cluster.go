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

// Inspect implements gateway.Operator.
func (s *Server) Inspect(ctx context.Context, bucket, key, version string) (*gateway.Inspection, error) {
	i := admin.Inspector{Catalog: s.svc, Scheduler: s.svc, Nodes: s.nodes}
	return i.Inspect(ctx, bucket, key, version)
}
