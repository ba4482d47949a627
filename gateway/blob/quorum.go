package blob

import (
	"context"
	"time"

	"holdfast/storage"
)

// abortWait bounds how long a failed write waits for its senders to clean up.
const abortWait = time.Second

// await waits until every sender that is not given up has reached a goal, and
// gives up those that fall behind, by SAFETY B7: a node that has made no
// progress for Stall since a quorum reached the goal, any for Idle, and, at
// the end of the stream, those that are not sealed a straggler's time after
// the quorum. It returns an error once the quorum cannot be reached.
func (u *upload) await(ctx context.Context, reached func(*sender) bool, end bool) error {
	var quorumAt time.Time
	for {
		next, ready, err := u.judge(reached, end, &quorumAt)
		if err != nil || ready {
			return u.orLost(ctx, err)
		}
		select {
		case <-u.wake:
		case <-u.w.clock.After(next):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (u *upload) orLost(ctx context.Context, err error) error {
	if err != nil {
		return u.lost(ctx)
	}
	return nil
}

// judge looks at the senders once. next is when to look again at the latest.
func (u *upload) judge(reached func(*sender) bool, end bool, quorumAt *time.Time) (next time.Duration, ready bool, err error) {
	now := u.w.clock.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	quorum, there, live := u.grant.Scheme.Quorum(), 0, 0
	for i := range u.senders {
		if s := &u.senders[i]; s.state <= sealed {
			live++
			if reached(s) {
				there++
			}
		}
	}
	if there >= quorum && quorumAt.IsZero() {
		*quorumAt = now
	}
	next = u.w.cfg.Idle
	for i := range u.senders {
		s := &u.senders[i]
		if s.state != running || reached(s) {
			continue
		}
		left := u.limit(s, end, *quorumAt).Sub(now)
		if left > 0 {
			next = min(next, left)
			continue
		}
		live--
		s.state, s.err = dropped, ErrStalled
		s.cancel()
		if end {
			// What it took so far counts, or a slow group would never be waited for.
			u.w.groups.get(u.grant.Blob.Group()).observe(now.Sub(s.at))
		}
	}
	if live < quorum {
		return 0, false, ErrQuorum
	}
	return next, there == live, nil
}

// limit is when a sender that has not reached the goal is given up.
func (u *upload) limit(s *sender, end bool, quorumAt time.Time) time.Time {
	limit := s.at.Add(u.w.cfg.Idle)
	if quorumAt.IsZero() {
		return limit
	}
	stall := quorumAt
	if s.at.After(stall) {
		stall = s.at
	}
	stall = stall.Add(u.w.cfg.Stall)
	if end {
		straggler := 3 * time.Duration(u.w.groups.get(u.grant.Blob.Group()).p99.Load())
		stall = quorumAt.Add(min(max(straggler, u.w.cfg.Straggler), u.w.cfg.StragglerMax))
	}
	if stall.Before(limit) {
		return stall
	}
	return limit
}

// abort cancels every sender and waits, not for long, until they have
// discarded what they wrote.
func (u *upload) abort() {
	u.mu.Lock()
	for i := range u.senders {
		u.senders[i].cancel()
	}
	u.mu.Unlock()
	late := u.w.clock.After(abortWait)
	for {
		u.mu.Lock()
		left := 0
		for i := range u.senders {
			if !u.senders[i].exited {
				left++
			}
		}
		u.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-u.wake:
		case <-late:
			return
		}
	}
}

// planRenewal sets when the ticket is to be renewed: when a third of its life
// is left, by this gateway's clock. A life that is over at once, by a clock
// that goes wrong, is renewed soon, not all the time.
func (u *upload) planRenewal() {
	now := u.w.clock.Now()
	life := time.UnixMilli(u.ticket.Expiry).Sub(now)
	u.renewAt = now.Add(max(life*2/3, time.Second))
}

// renewTicket renews the ticket if it is time. Best effort: without a new one
// the commit is judged by the old.
func (u *upload) renewTicket(ctx context.Context) {
	if u.w.renew == nil || u.w.clock.Now().Before(u.renewAt) {
		return
	}
	u.mu.Lock()
	old := u.ticket
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	t, err := u.w.renew(ctx, &old)
	u.mu.Lock()
	if err == nil && t.Blob == old.Blob && t.Op == storage.OpWrite && t.Expiry > old.Expiry {
		u.ticket = *t
	}
	u.mu.Unlock()
	u.planRenewal()
}
