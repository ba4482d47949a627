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
	var quorumAt, alarmAt time.Time
	var alarm <-chan time.Time
	for {
		now := u.w.clock.Now()
		next, ready, lost := u.judge(reached, end, now, &quorumAt)
		switch {
		case lost:
			return u.lost(ctx)
		case ready:
			return nil
		}
		if alarm == nil || next.Before(alarmAt) {
			alarmAt, alarm = next, u.w.clock.After(next.Sub(now))
		}
		select {
		case <-u.wake:
		case <-alarm:
			alarm = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge looks at the senders once: whether all that are not given up have
// reached the goal, or too few are left; else when to look again at the latest.
func (u *upload) judge(reached func(*sender) bool, end bool, now time.Time, quorumAt *time.Time) (next time.Time, ready, lost bool) {
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
	next = now.Add(u.w.cfg.Idle)
	for i := range u.senders {
		s := &u.senders[i]
		if s.state != running || reached(s) {
			continue
		}
		if limit := u.limit(s, end, *quorumAt); limit.After(now) {
			if limit.Before(next) {
				next = limit
			}
			continue
		}
		live--
		s.state, s.err = dropped, ErrStalled
		if s.cancel != nil {
			s.cancel()
		}
	}
	return next, there == live, live < quorum
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
	u.cancel()
	late := u.w.clock.After(abortWait)
	for {
		u.mu.Lock()
		left := u.count(func(s *sender) bool { return !s.exited })
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
