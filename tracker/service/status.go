package service

import (
	"context"
	"fmt"

	"holdfast/tracker"
)

// Operations is what the composition root adds to the service, for what it
// does not do itself. Nil functions answer tracker.ErrUnavailable.
type Operations struct {
	// Progress is the workers' backlogs by name and the number of blobs under
	// their target, -1 while they are being counted.
	Progress      func() (queues map[string]tracker.Queue, below int64)
	Voters        func() (leader string, voters []tracker.Voter)
	Repair        func(ctx context.Context) (*tracker.Repair, error)
	Fsck          func(ctx context.Context, adopt bool) (*tracker.Fsck, error)
	RemoveTracker func(ctx context.Context, id string) error
}

// SetOperations completes the service.
func (s *Service) SetOperations(o Operations) { s.operations.Store(&o) }

func (s *Service) ops() *Operations {
	if o := s.operations.Load(); o != nil {
		return o
	}
	return &Operations{}
}

// Status implements tracker.Administration.
func (s *Service) Status(ctx context.Context) (*tracker.Status, error) {
	st, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.rows.Cluster(ctx)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	out := &tracker.Status{Map: st.m, Fence: c.Fence, Incarnation: c.Incarnation, Held: c.Held, Queues: map[string]tracker.Queue{}, BlobsBelow: -1}
	o := s.ops()
	if o.Progress != nil {
		out.Queues, out.BlobsBelow = o.Progress()
	}
	if o.Voters != nil {
		out.Leader, out.Voters = o.Voters()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.mu.health {
		out.Frozen = out.Frozen || h.frozen
	}
	out.Strangers = s.strangers()
	return out, nil
}

// Repair implements tracker.Administration.
func (s *Service) Repair(ctx context.Context) (*tracker.Repair, error) {
	if _, err := s.current(ctx); err != nil {
		return nil, err
	}
	if f := s.ops().Repair; f != nil {
		return f(ctx)
	}
	return nil, tracker.ErrUnavailable
}

// Fsck implements tracker.Administration.
func (s *Service) Fsck(ctx context.Context, adopt bool) (*tracker.Fsck, error) {
	if _, err := s.current(ctx); err != nil {
		return nil, err
	}
	f := s.ops().Fsck
	if f == nil {
		return nil, tracker.ErrUnavailable
	}
	out, err := f(ctx, adopt)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Strangers = s.strangers()
	if adopt {
		err = s.giveUpStrangers(ctx)
	}
	return out, err
}

// RemoveTracker implements tracker.Administration.
func (s *Service) RemoveTracker(ctx context.Context, id string) error {
	if _, err := s.current(ctx); err != nil {
		return err
	}
	if f := s.ops().RemoveTracker; f != nil {
		return f(ctx, id)
	}
	return tracker.ErrUnavailable
}
