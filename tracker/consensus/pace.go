package consensus

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/clock"
)

// pace bounds bytes per second over all that share it.
type pace struct {
	clock clock.Clock
	rate  int64 // 0: no bound
	mu    sync.Mutex
	next  time.Time
}

// wait returns when n bytes may go.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := p.clock.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = at.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	if d := at.Sub(now); d > 0 && !sleep(ctx, p.clock, d) {
		return ctx.Err()
	}
	return ctx.Err()
}
