package consensus

import (
	"context"
	"sync"
)

// holds asks the other replicas to keep the log that this one will need, from
// when its checkpoint is made until it is a voter.
type holds struct {
	mu     sync.Mutex
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

// holder is the name under which this replica holds, made anew at each start.
func (h *holds) holder() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.name == "" {
		h.name = randomName()
	}
	return h.name
}

// start begins to hold what m needs at all members.
func (h *holds) start(r *Replica, m *Manifest, source string) {
	r.endHolds()
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	h.cancel, h.done = cancel, done
	r.wg.Go(func() {
		defer close(done)
		r.hold(ctx, m, source)
	})
}

// endHolds gives up what is held, if anything is.
func (r *Replica) endHolds() {
	r.holds.mu.Lock()
	cancel, done := r.holds.cancel, r.holds.done
	r.holds.cancel = nil
	r.holds.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// hold holds until ctx ends, and releases.
func (r *Replica) hold(ctx context.Context, m *Manifest, source string) {
	holder := r.holds.holder()
	asked := map[string]bool{source: true}
	for again := true; again; again = sleep(ctx, r.cfg.Clock, HoldTime/4) {
		q := &HoldRequest{Cluster: r.cfg.ClusterID, Holder: holder, Index: m.Index}
		for _, s := range r.everybody() {
			asked[s.Addr] = true
		}
		for addr := range asked {
			q := *q
			if addr == source && r.voter.Load() == nil {
				q.Checkpoint = m.Checkpoint
			}
			r.callHold(ctx, addr, &q)
		}
	}
	for addr := range asked {
		if r.ctx.Err() != nil {
			return // the holds run out
		}
		call, cancel := context.WithTimeout(r.ctx, askTime)
		_, _ = r.cfg.Peer(addr).Release(call, &ReleaseRequest{Cluster: r.cfg.ClusterID, Holder: holder})
		cancel()
	}
}

func (r *Replica) callHold(ctx context.Context, addr string, q *HoldRequest) {
	call, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if _, err := r.cfg.Peer(addr).Hold(call, q); err != nil && ctx.Err() == nil {
		r.cfg.Logger.Debug().Err(err).Str("addr", addr).Msg("log for the seeding is not kept there")
	}
}
