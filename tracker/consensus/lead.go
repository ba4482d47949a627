package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

const (
	// leaderPatience bounds how long a call waits for a leader.
	leaderPatience = 5 * time.Second
	// openPatience bounds how long opening waits for the first: votes are
	// synced, and the disks of a machine that just started may be slow.
	openPatience = time.Minute
)

// leader returns the voter that serves. It waits while one can be elected:
// tracker.ErrNotLeader after that, tracker.ErrUnavailable at once where there
// is no majority.
func (l *Local) leader(ctx context.Context) (*voter, error) {
	if v := l.lead.Load(); v != nil {
		return v, nil
	}
	return l.await(ctx, l.cfg.patience)
}

// await is leader with a patience of the caller's.
func (l *Local) await(ctx context.Context, patience time.Duration) (*voter, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		changed, closed := l.mu.changed, l.mu.closed
		l.mu.Unlock()
		if v := l.lead.Load(); v != nil {
			return v, nil
		}
		if closed {
			return nil, fmt.Errorf("%w: closed", tracker.ErrUnavailable)
		}
		if l.hopeless.Load() {
			return nil, fmt.Errorf("%w: no majority of the catalog's copies", tracker.ErrUnavailable)
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, tracker.ErrNotLeader
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// follow turns what Raft says of a voter's leadership into who serves.
func (l *Local) follow(v *voter) {
	for {
		select {
		case leads := <-v.notify:
			if leads {
				l.gained(v)
			} else {
				l.lost(v)
			}
		case <-v.dead:
			return
		}
	}
}

// gained lets v serve, which leads.
func (l *Local) gained(v *voter) {
	v.gain.Lock()
	defer v.gain.Unlock()
	l.serve(v)
}

// serve lets v serve once it has applied all that was committed before it.
func (l *Local) serve(v *voter) {
	term := v.raft.CurrentTerm()
	if l.lead.Load() == v && v.serving.Load() == term {
		return
	}
	conf := v.raft.GetConfiguration().Configuration()
	if err := v.wait(v.raft.Barrier(0)); err != nil {
		return
	}
	if l.admin.TryLock() { // nobody changes the membership: conf is committed
		l.setQuorum(conf)
		l.admin.Unlock()
	}
	if v.raft.State() != raft.Leader || v.raft.CurrentTerm() != term || v.suspended.Load() {
		return
	}
	v.serving.Store(term)
	l.lead.Store(v)
	if v.isDead() || v.suspended.Load() {
		l.lead.CompareAndSwap(v, nil)
		return
	}
	l.hopeless.Store(false)
	l.stats.elections.Add(1)
	v.log.Info().Uint64("term", term).Msg("copy of the catalog leads")
	l.changed()
}

func (l *Local) lost(v *voter) {
	v.serving.Store(0)
	l.lead.CompareAndSwap(v, nil)
	l.kick()
}

// elector has a leader elected as soon as there is none, instead of after
// Raft's heartbeat timeout: every voter is here, so it is known which one is
// most advanced, and Raft elects at once whom it is told to (TimeoutNow).
// Reads stay safe, because they compare terms and trust no lease (see Read).
func (l *Local) elector() {
	for {
		select {
		case <-l.nudge:
		case <-l.ctx.Done():
			return
		}
		for patience := 100 * time.Millisecond; l.lead.Load() == nil && l.ctx.Err() == nil; patience = min(2*patience, time.Second) {
			if !l.hasQuorum() {
				l.quorumLost()
				l.changed()
				break
			}
			l.mu.Lock()
			changed := l.mu.changed
			l.mu.Unlock()
			l.elect()
			select {
			case <-changed:
			case <-time.After(patience):
			case <-l.ctx.Done():
			}
		}
	}
}

// elect asks the most advanced voter to lead, if none does.
func (l *Local) elect() {
	v, leads := l.candidate()
	switch {
	case v == nil:
	case leads:
		if term := v.serving.Load(); term != 0 && l.isCurrent(v, term) {
			l.lead.Store(v)
			l.changed()
		} else if term == 0 && v.gain.TryLock() {
			// It was told to serve no more when the majority was lost, which has
			// come back before Raft noticed: nobody will say again that it leads.
			l.serve(v)
			v.gain.Unlock()
		}
	default:
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
		if err := l.control.TimeoutNow(raft.ServerID(v.server), v.trans.LocalAddr(), req, &raft.TimeoutNowResponse{}); err != nil {
			v.log.Debug().Err(err).Msg("cannot ask a copy to lead")
		}
	}
}

// candidate returns the voter that leads already, or else should; nil if too
// few can answer now.
func (l *Local) candidate() (best *voter, leads bool) {
	q := l.quorum.Load()
	n := 0
	for _, v := range q.known {
		if !v.runs() {
			continue
		}
		n++
		if v.raft.State() == raft.Leader {
			return v, true
		}
		if best == nil || best.leaving.Load() || best.behind(v) && !v.leaving.Load() {
			best = v
		}
	}
	if n < q.need {
		return nil, false
	}
	return best, false
}

func (v *voter) runs() bool {
	return v.raft != nil && !v.isDead() && v.cause() == nil && !v.suspended.Load()
}

// LeaderEpoch implements Log.
func (l *Local) LeaderEpoch() (uint64, bool) {
	v := l.lead.Load()
	if v == nil {
		return 0, false
	}
	term := v.serving.Load()
	return term, term != 0 && l.isCurrent(v, term)
}
