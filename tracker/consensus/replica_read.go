package consensus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// Read implements Log. The view is the live store: two reads through it may
// see a commit between them. Snapshot gives one state.
func (r *Replica) Read(ctx context.Context) (kv.Reader, func(), error) {
	h, err := r.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	return h.Store, h.release, nil
}

// Snapshot is Read for one unchanging state, for listings of several reads.
func (r *Replica) Snapshot(ctx context.Context) (kv.Reader, func(), error) {
	h, err := r.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	snap := h.Snapshot()
	return snap, func() {
		_ = snap.Close()
		h.release()
	}, nil
}

func (r *Replica) read(ctx context.Context) (*handle, error) {
	v, err := r.running()
	if err != nil {
		return nil, err
	}
	if err := r.prove(ctx, v); err != nil {
		return nil, err
	}
	if h := v.fsm.state.Load(); h.acquire() {
		return h, nil
	}
	return nil, tracker.ErrUnavailable
}

// prove returns once nobody else can have led at some instant since it was called.
func (r *Replica) prove(ctx context.Context, v *voter) error {
	var patience <-chan time.Time
	for {
		term := v.serving.Load()
		if term == 0 {
			return tracker.ErrNotLeader
		}
		if r.cfg.trustStale {
			return nil
		}
		if r.cfg.Strict {
			return r.proveByLog(ctx, v)
		}
		if r.lease.valid(term) && v.raft.CurrentTerm() == term {
			r.pinger.note()
			return nil
		}
		ch := r.lease.wait()
		if r.lease.valid(term) && v.raft.CurrentTerm() == term { // it became so meanwhile
			continue
		}
		if !r.lease.possible(term) {
			return r.proveByLog(ctx, v)
		}
		if patience == nil {
			patience = r.cfg.Clock.After(r.cfg.HeartbeatTimeout)
		}
		r.pinger.urge()
		select {
		case <-ch:
		case <-patience: // the voters do not follow
			return tracker.ErrNotLeader
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proveByLog commits an entry of its own.
func (r *Replica) proveByLog(ctx context.Context, v *voter) error {
	_, err := v.batch.propose(ctx, nil)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, errRetry), errors.Is(err, tracker.ErrUncertain):
		return tracker.ErrNotLeader // nothing was changed, so nothing is uncertain
	}
	return err
}

// pingEvery is how often promises are renewed while reads arrive.
const pingEvery = 75 * time.Millisecond

// pinger wakes the renewal of the lease.
type pinger struct {
	kick chan struct{}
	used atomic.Bool // a read was served since the last round
	idle atomic.Bool

	mu struct {
		sync.Mutex
		flying map[string]bool // servers whose answer is awaited
	}
}

// note takes note of a read that was served.
func (p *pinger) note() {
	if !p.used.Load() {
		p.used.Store(true)
	}
	if p.idle.Load() {
		p.urge()
	}
}

// urge has a round of pings sent now.
func (p *pinger) urge() {
	p.used.Store(true)
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// take reports whether a server may be pinged: not while its answer to an
// earlier ping is awaited.
func (p *pinger) take(server string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.flying[server] {
		return false
	}
	if p.mu.flying == nil {
		p.mu.flying = make(map[string]bool)
	}
	p.mu.flying[server] = true
	return true
}

func (p *pinger) give(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.flying, server)
}

// renew sends rounds of pings while reads arrive.
func (r *Replica) renew() {
	for {
		r.pinger.idle.Store(true)
		select {
		case <-r.pinger.kick:
		case <-r.ctx.Done():
			return
		}
		r.pinger.idle.Store(false)
		for again := true; again; again = r.pinger.used.Load() {
			r.pinger.used.Store(false)
			r.pingAll()
			select {
			case <-r.cfg.Clock.After(pingEvery):
			case <-r.pinger.kick:
			case <-r.ctx.Done():
				return
			}
		}
	}
}

func (r *Replica) pingAll() {
	term, voters := r.lease.asked()
	v := r.voter.Load()
	if v == nil || term == 0 {
		return
	}
	for _, s := range voters {
		if r.pinger.take(s.Server) {
			r.wg.Go(func() {
				defer r.pinger.give(s.Server)
				r.ping(v, term, s)
			})
		}
	}
}

// ping asks one voter for its promise.
func (r *Replica) ping(v *voter, term uint64, s ServerInfo) {
	hb := r.cfg.HeartbeatTimeout
	ctx, cancel := context.WithTimeout(r.ctx, hb)
	defer cancel()
	sent := r.cfg.Clock.Now()
	a, err := r.cfg.Peer(r.others.addr(s)).Ping(ctx, &PingRequest{
		Cluster: r.cfg.ClusterID, Recovery: v.recovery, Server: s.Server, Leader: v.server, Term: term, Heartbeat: int64(hb),
	})
	if err != nil {
		v.log.Debug().Err(err).Str("peer", s.ID).Msg("no promise for the lease of reads")
		return
	}
	r.lease.promised(term, s.Server, sent.Add(hb-max(0, time.Duration(a.Age))-leaseMargin))
}

// Ping implements Peer.
func (r *Replica) Ping(_ context.Context, q *PingRequest) (*PingAnswer, error) {
	v, err := r.served(q.Cluster)
	if err != nil {
		return nil, err
	}
	hb := r.cfg.HeartbeatTimeout
	switch {
	case q.Server != v.server || q.Recovery != v.recovery:
		return nil, conflict("another server is here")
	case q.Heartbeat != int64(hb):
		return nil, conflict("the heartbeat timeout here is %v, and must be equal on all trackers", hb)
	case v.suspended.Load() || !r.pledge.voting.TryLock():
		return nil, tracker.ErrUnavailable
	}
	defer r.pledge.voting.Unlock()
	follows := func() bool {
		_, leader := v.raft.LeaderWithID()
		return string(leader) == q.Leader && v.raft.State() == raft.Follower && v.raft.CurrentTerm() == q.Term
	}
	now := r.cfg.Clock.Now()
	age := max(0, time.Since(v.raft.LastContact()))
	if age >= hb || !follows() {
		return nil, conflict("this replica does not follow that leader")
	}
	r.pledge.make(q.Term, q.Leader, now.Add(hb-age))
	if !follows() {
		return nil, conflict("this replica does not follow that leader any more")
	}
	return &PingAnswer{Age: int64(age)}, nil
}
