package service

import (
	"context"

	"holdfast/storage"
	"holdfast/tracker"
)

// Registry is the cluster's own part of the catalog: nodes, groups, catalog
// time, the fence and the feature level. Every write is one command of the log: durable on a
// majority when it returns nil.
type Registry interface {
	// Cluster reads all of it, linearizably. The answer is the caller's.
	Cluster(ctx context.Context) (*Cluster, error)
	// AddGroup makes a group with a new id, or returns the one of that name.
	AddGroup(ctx context.Context, g tracker.Group) (tracker.Group, error)
	// AddNode gives a new node its id, which no node ever had, in state
	// joining or gone, else active, and at epoch 1.
	AddNode(ctx context.Context, n tracker.Node) (tracker.Node, error)
	// SetNode changes a node that is at the given epoch and raises it.
	// tracker.ErrConflict at another epoch, tracker.ErrNoSuchNode.
	SetNode(ctx context.Context, id storage.NodeID, epoch uint32, c NodeChange) error
	// Policies reads the placement policies with their names, as Cluster does.
	Policies(ctx context.Context) ([]tracker.Policy, error)
	// SetPolicy sets a policy, by the ids in it; Kind 0 takes it away.
	SetPolicy(ctx context.Context, p tracker.Policy) error
	// RaiseTime raises catalog time to ms; a lower one is no error.
	RaiseTime(ctx context.Context, ms int64) error
	// RaiseFence raises the fence to ms, at most to catalog time.
	RaiseFence(ctx context.Context, ms int64) error
	// RaiseLevel raises the feature level; a lower one is no error.
	RaiseLevel(ctx context.Context, level uint64) error
	// SetHeld notes that clients are answered nothing, or are again.
	SetHeld(ctx context.Context, held bool) error
}

// Cluster is the cluster's rows. Nodes carry no load.
type Cluster struct {
	Cluster     string // cluster id
	Incarnation string
	Held        bool   // see tracker.Status
	Now, Fence  int64  // catalog time and fence in ms
	Level       uint64 // feature level
	Inline      int64  // bytes of objects that are kept in the catalog
	Groups      []tracker.Group
	Nodes       []tracker.Node
	Policies    []tracker.Policy // without names
}

// NodeChange is a change of a node's row; zero fields stay as they are.
type NodeChange struct {
	State  tracker.NodeState
	Role   *tracker.NodeRole
	Addr   string
	Domain *tracker.Domain
}
