package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

// maxBehind is how many entries a server may lack that is given a vote.
const maxBehind = 1024

// administer enters a change of the membership at the leader. leave must be
// called, or handed on to whoever waits for the change.
func (r *Replica) administer(ctx context.Context, cluster string) (v *voter, leave func(), err error) {
	if v, err = r.served(cluster); err != nil {
		return nil, nil, err
	}
	select {
	case r.admin <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if v.serving.Load() == 0 {
		<-r.admin
		return nil, nil, tracker.ErrNotLeader
	}
	return v, func() { <-r.admin }, nil
}

// Join implements Peer.
func (r *Replica) Join(ctx context.Context, q *JoinRequest) (*JoinAnswer, error) {
	v, leave, err := r.administer(ctx, q.Cluster)
	if err != nil {
		return nil, err
	}
	defer leave()
	if q.Recovery != v.recovery {
		if outranks(q.Recovery, v.recovery) {
			v.fail(ErrLeftOut)
			return nil, tracker.ErrUnavailable
		}
		if apart(q.Recovery, v.recovery) {
			return nil, conflict("tracker %s is of another recovery of the group", q.ID)
		}
		return nil, ErrLeftOut
	}
	if q.ID == "" || q.Addr == "" || voterOf(raft.ServerID(q.Server)) != q.ID {
		return nil, fmt.Errorf("%w: server %q of tracker %q at %q", tracker.ErrInvalid, q.Server, q.ID, q.Addr)
	}
	if err := r.join(ctx, v, q); err != nil {
		return nil, err
	}
	return &JoinAnswer{Voter: r.confHas(v, q.Server, true), Index: v.raft.CommitIndex()}, nil
}

func (r *Replica) confHas(v *voter, server string, vote bool) bool {
	return slices.ContainsFunc(serversOf(v.raft.GetConfiguration().Configuration()),
		func(s ServerInfo) bool { return s.Server == server && (s.Voter || !vote) })
}

func (r *Replica) join(ctx context.Context, v *voter, q *JoinRequest) error {
	id, addr := raft.ServerID(q.Server), raft.ServerAddress(q.Addr)
	var self *ServerInfo
	voters := 0
	for _, s := range serversOf(v.raft.GetConfiguration().Configuration()) {
		switch {
		case s.Server == q.Server:
			self = &s
		case s.ID == q.ID:
			if err := r.dismissOld(ctx, v, s); err != nil {
				return err
			}
		case s.Addr == q.Addr:
			return conflict("%s is the address of tracker %s", s.Addr, s.ID)
		case s.Voter:
			voters++
		}
	}
	switch {
	case self == nil && voters >= MaxVoters:
		return conflict("the group has %d voters, and more would make it slower, not safer", voters)
	case self == nil:
		v.log.Info().Str("peer", q.ID).Str("addr", q.Addr).Msg("another copy of the catalog joins")
		return r.change(ctx, v, func() raft.IndexFuture { return v.raft.AddNonvoter(id, addr, 0, 0) })
	case self.Voter && self.Addr == q.Addr:
		return nil
	case self.Voter:
		return r.change(ctx, v, func() raft.IndexFuture { return v.raft.AddVoter(id, addr, 0, 0) })
	case q.Vote:
		if at := v.raft.CommitIndex(); at > q.Applied+maxBehind {
			return conflict("the replica is at entry %d, and the group at %d", q.Applied, at)
		}
		v.log.Info().Str("peer", q.ID).Msg("another copy of the catalog gets its vote")
		return r.change(ctx, v, func() raft.IndexFuture { return v.raft.AddVoter(id, addr, 0, 0) })
	case self.Addr != q.Addr:
		return r.change(ctx, v, func() raft.IndexFuture { return v.raft.AddNonvoter(id, addr, 0, 0) })
	}
	return nil
}

// dismissOld removes the server that stood under an ID before, unless it
// still runs somewhere.
func (r *Replica) dismissOld(ctx context.Context, v *voter, old ServerInfo) error {
	if old.Server == v.server {
		return conflict("tracker %s leads this group", old.ID)
	}
	if st, addr, err := r.askState(old); err == nil && st.Server == old.Server {
		return conflict("a tracker with the ID %s runs at %s", old.ID, addr)
	}
	v.log.Warn().Str("peer", old.ID).Msg("a copy of the catalog is replaced")
	return r.change(ctx, v, func() raft.IndexFuture { return v.raft.RemoveServer(raft.ServerID(old.Server), 0, 0) })
}

// Remove implements Peer.
func (r *Replica) Remove(ctx context.Context, q *RemoveRequest) (*Done, error) {
	v, leave, err := r.administer(ctx, q.Cluster)
	if err != nil {
		return nil, err
	}
	defer leave()
	var gone, stay []ServerInfo
	for _, s := range serversOf(v.raft.GetConfiguration().Configuration()) {
		if s.ID == q.ID {
			gone = append(gone, s)
		} else if s.Voter {
			stay = append(stay, s)
		}
	}
	switch {
	case len(gone) == 0:
		return nil, fmt.Errorf("%w: %s", tracker.ErrNoSuchTracker, q.ID)
	case len(stay) == 0:
		return nil, conflict("%s is the last voter", q.ID)
	}
	if err := r.enough(v, stay); err != nil {
		return nil, err
	}
	for _, s := range gone {
		if s.Server == v.server {
			return r.removeSelf(ctx, v, q)
		}
		if err := r.change(ctx, v, func() raft.IndexFuture { return v.raft.RemoveServer(raft.ServerID(s.Server), 0, 0) }); err != nil {
			return nil, err
		}
		v.log.Warn().Str("peer", s.ID).Msg("a copy of the catalog was removed from the group")
	}
	return &Done{}, nil
}

// removeSelf hands over and asks the next leader to remove this one.
func (r *Replica) removeSelf(ctx context.Context, v *voter, q *RemoveRequest) (*Done, error) {
	r.handOver(v)
	for {
		id, addr, ok := r.Leader()
		switch {
		case ok && id == v.ID:
			return nil, fmt.Errorf("%w: no other voter took the lead, so this one cannot leave", tracker.ErrUnavailable)
		case ok:
			if a, err := r.cfg.Peer(addr).Remove(ctx, q); !errors.Is(err, tracker.ErrNotLeader) {
				return a, err
			}
			// It has not yet applied all that it leads.
		}
		if !sleep(ctx, r.cfg.Clock, 5*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// enough checks that a majority of voters answers: else nothing could be
// committed after the change, the change itself neither.
func (r *Replica) enough(v *voter, voters []ServerInfo) error {
	answers := make(chan bool, len(voters))
	for _, s := range voters {
		if s.Server == v.server {
			answers <- true
			continue
		}
		r.wg.Go(func() {
			st, _, err := r.askState(s)
			answers <- err == nil && st.Server == s.Server && !st.Suspended
		})
	}
	n := 0
	for range voters {
		if <-answers {
			n++
		}
	}
	if n < len(voters)/2+1 {
		return fmt.Errorf("%w: only %d of the %d voters that would stay answer", tracker.ErrUnavailable, n, len(voters))
	}
	return nil
}

// change makes one change of the membership. The lease has no configuration
// from before it until its outcome is known, so reads ask the log. If ctx ends
// first, the outcome is waited for all the same before another can begin.
func (r *Replica) change(ctx context.Context, v *voter, request func() raft.IndexFuture) error {
	select {
	case r.changing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	term := v.serving.Load()
	if term == 0 {
		<-r.changing
		return tracker.ErrNotLeader
	}
	r.lease.setConf(term, nil)
	done := make(chan error, 1)
	go func() {
		err := settled(v, func() raft.Future { return request() })
		// Whatever stands in the log is committed by this, or this replica
		// does not lead any more.
		if settled(v, func() raft.Future { return v.raft.Barrier(0) }) == nil {
			r.countVoters(v, r.lease.current())
		}
		<-r.changing
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: change of the membership: %w", tracker.ErrUncertain, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settled makes a request of Raft and waits until it is known what became of
// it, however long, or the voter is stopped.
func settled(v *voter, request func() raft.Future) error {
	ch := make(chan error, 1)
	go func() { ch <- request().Error() }()
	select {
	case err := <-ch:
		return err
	case <-v.dead:
		return errStopped
	}
}
