package remote

import (
	"context"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// adminPatience bounds an administration call that walks over everything.
const adminPatience = 30 * time.Minute

// RegisterGroup implements tracker.Administration. An answer that was lost is
// no matter: the group of that name is returned.
func (c *Client) RegisterGroup(ctx context.Context, g tracker.Group) (tracker.Group, error) {
	out, err := read[tracker.Group, tracker.Group](ctx, c, adminService, "RegisterGroup", &g)
	if err != nil || out == nil {
		return tracker.Group{}, err
	}
	return *out, nil
}

// RegisterNode implements tracker.Administration. Where an answer was lost a
// node may have been made that nobody serves; it stays joining and takes no data.
func (c *Client) RegisterNode(ctx context.Context, n tracker.Node) (tracker.Node, error) {
	out, err := read[tracker.Node, tracker.Node](ctx, c, adminService, "RegisterNode", &n)
	if err != nil || out == nil {
		return tracker.Node{}, err
	}
	return *out, nil
}

// SetNodeState implements tracker.Administration.
func (c *Client) SetNodeState(ctx context.Context, id storage.NodeID, s tracker.NodeState) error {
	_, err := read[stateRequest, none](ctx, c, adminService, "SetNodeState", &stateRequest{id, s})
	return err
}

// SetNodeRole implements tracker.Administration.
func (c *Client) SetNodeRole(ctx context.Context, id storage.NodeID, r tracker.NodeRole, force bool) (tracker.Node, error) {
	out, err := read[roleRequest, tracker.Node](ctx, c, adminService, "SetNodeRole", &roleRequest{id, r, force})
	if err != nil || out == nil {
		return tracker.Node{}, err
	}
	return *out, nil
}

// Policies implements tracker.Administration.
func (c *Client) Policies(ctx context.Context) ([]tracker.Policy, error) {
	a, err := read[none, policiesAnswer](ctx, c, adminService, "Policies", &none{})
	if err != nil || a == nil {
		return nil, err
	}
	return a.Policies, nil
}

// SetPolicy implements tracker.Administration. An answer that was lost is no
// matter: the same policy is set again.
func (c *Client) SetPolicy(ctx context.Context, r *tracker.SetPolicy) (tracker.Policy, error) {
	out, err := read[tracker.SetPolicy, tracker.Policy](ctx, c, adminService, "SetPolicy", r)
	if err != nil || out == nil {
		return tracker.Policy{}, err
	}
	return *out, nil
}

// Beat implements tracker.Administration.
func (c *Client) Beat(ctx context.Context, b *tracker.Beat) (*tracker.BeatAnswer, error) {
	return read[tracker.Beat, tracker.BeatAnswer](ctx, c, adminService, "Beat", b)
}

// Status implements tracker.Administration.
func (c *Client) Status(ctx context.Context) (*tracker.Status, error) {
	return read[none, tracker.Status](ctx, c, adminService, "Status", &none{})
}

// Repair implements tracker.Administration.
func (c *Client) Repair(ctx context.Context) (*tracker.Repair, error) {
	return read[none, tracker.Repair](ctx, c, adminService, "Repair", &none{})
}

// Fsck implements tracker.Administration. It takes as long as the walk does.
func (c *Client) Fsck(ctx context.Context, adopt bool) (*tracker.Fsck, error) {
	return long[fsckRequest, tracker.Fsck](ctx, c, "Fsck", &fsckRequest{adopt})
}

// RemoveTracker implements tracker.Administration.
func (c *Client) RemoveTracker(ctx context.Context, id string) error {
	_, err := long[nameRequest, none](ctx, c, "RemoveTracker", &nameRequest{id})
	return err
}

// AcceptClock implements tracker.Administration.
func (c *Client) AcceptClock(ctx context.Context) error {
	_, err := read[none, none](ctx, c, adminService, "AcceptClock", &none{})
	return err
}

// long asks for what takes its time: whom to ask is settled by a short call,
// so that one attempt may take as long as it needs.
func long[Req, Resp any](ctx context.Context, c *Client, method string, req *Req) (*Resp, error) {
	if _, err := c.Repair(ctx); err != nil {
		return nil, err
	}
	p, err := c.peer()
	if err != nil {
		return nil, err
	}
	return attempt[Req, Resp](ctx, p, adminService, method, adminPatience, req)
}
