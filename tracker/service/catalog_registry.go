package service

import (
	"context"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

var (
	_ tracker.Catalog = (*Catalog)(nil)
	_ Registry        = (*Catalog)(nil)
	_ Leadership      = (*Catalog)(nil)
)

// Cluster implements Registry.
func (c *Catalog) Cluster(ctx context.Context) (*Cluster, error) {
	return view(ctx, c, func(r kv.Reader) (*Cluster, error) {
		s, err := catalog.ReadState(r)
		if err != nil {
			return nil, err
		}
		out := &Cluster{Cluster: s.Cluster, Incarnation: s.Incarnation, Now: s.Now, Fence: s.Fence, Level: s.Level, Inline: s.Inline}
		if out.Groups, err = catalog.Groups(r); err != nil {
			return nil, err
		}
		if out.Nodes, err = catalog.Nodes(r); err != nil {
			return nil, err
		}
		if out.Policies, err = catalog.Policies(r); err != nil {
			return nil, err
		}
		held, err := catalog.Job(r, heldJob)
		out.Held = len(held) > 0
		return out, err
	})
}

// AddGroup implements Registry.
func (c *Catalog) AddGroup(ctx context.Context, g tracker.Group) (tracker.Group, error) {
	res, err := c.Do(ctx, tracker.Mutation{}, catalog.AddGroup{Group: &g}, false)
	if err != nil {
		return tracker.Group{}, err
	}
	return *res.(*tracker.Group), nil
}

// AddNode implements Registry.
func (c *Catalog) AddNode(ctx context.Context, n tracker.Node) (tracker.Node, error) {
	if n.State != tracker.NodeJoining && n.State != tracker.NodeGone {
		n.State = tracker.NodeActive
	}
	n.Epoch = 1
	res, err := c.Do(ctx, tracker.Mutation{}, catalog.AddNode{Node: &n}, false)
	if err != nil {
		return tracker.Node{}, err
	}
	return *res.(*tracker.Node), nil
}

// SetNode implements Registry.
func (c *Catalog) SetNode(ctx context.Context, id storage.NodeID, epoch uint32, change NodeChange) error {
	nodes, err := view(ctx, c, catalog.Nodes)
	if err != nil {
		return err
	}
	for i := range nodes {
		n := &nodes[i]
		if n.ID != id {
			continue
		}
		if n.Epoch != epoch {
			return tracker.ErrConflict
		}
		n.Epoch++
		if change.State != 0 {
			n.State = change.State
		}
		if change.Role != nil {
			n.Role = *change.Role
		}
		if change.Addr != "" {
			n.Addr = change.Addr
		}
		if change.Domain != nil {
			n.Domain = *change.Domain
		}
		_, err := c.Do(ctx, tracker.Mutation{}, catalog.SetNode{Node: n, Was: epoch}, false)
		return err
	}
	return tracker.ErrNoSuchNode
}

// Policies implements Registry.
func (c *Catalog) Policies(ctx context.Context) ([]tracker.Policy, error) {
	return view(ctx, c, catalog.NamedPolicies)
}

// SetPolicy implements Registry.
func (c *Catalog) SetPolicy(ctx context.Context, p tracker.Policy) error {
	_, err := c.Do(ctx, tracker.Mutation{}, catalog.SetPolicy{Policy: &p}, p.Kind != 0)
	return err
}

// RaiseTime implements Registry.
func (c *Catalog) RaiseTime(ctx context.Context, ms int64) error {
	_, err := c.Do(ctx, tracker.Mutation{}, catalog.RaiseTime{To: ms}, false)
	return err
}

// RaiseFence implements Registry.
func (c *Catalog) RaiseFence(ctx context.Context, ms int64) error {
	_, err := c.Do(ctx, tracker.Mutation{}, catalog.RaiseFence{To: ms}, false)
	return err
}

// RaiseLevel implements Registry.
func (c *Catalog) RaiseLevel(ctx context.Context, level uint64) error {
	_, err := c.Do(ctx, tracker.Mutation{}, catalog.RaiseLevel{To: level}, false)
	return err
}

// heldJob is the job row that is there while the catalog is held.
const heldJob = "held"

// SetHeld implements Registry.
func (c *Catalog) SetHeld(ctx context.Context, held bool) error {
	var state []byte
	if held {
		state = []byte{1}
	}
	_, err := c.Do(ctx, tracker.Mutation{}, catalog.SetJob{ID: heldJob, State: state}, false)
	return err
}

// SetIdentity names the cluster and the catalog's incarnation.
// tracker.ErrConflict if the cluster has another name already.
func (c *Catalog) SetIdentity(ctx context.Context, cluster, incarnation string) error {
	_, err := c.Do(ctx, tracker.Mutation{}, catalog.SetIdentity{Cluster: cluster, Incarnation: incarnation}, false)
	return err
}
