package worker

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/clock"
)

// Throttle bounds bytes per second over all who share it.
type Throttle struct {
	clk clock.Clock
	mu  struct {
		sync.Mutex
		rate int64     // bytes per second, 0 for no bound
		free time.Time // when the bytes granted so far are paid for
	}
}

// NewThrottle returns a throttle of rate bytes a second, 0 for no bound.
func NewThrottle(clk clock.Clock, rate int64) *Throttle {
	t := &Throttle{clk: clk}
	t.mu.rate = rate
	return t
}

// Set changes the rate for whoever asks next.
func (t *Throttle) Set(rate int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.rate = max(rate, 0)
	t.mu.free = time.Time{}
}

// Rate is the bound in bytes per second, 0 for none.
func (t *Throttle) Rate() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.rate
}

// Wait waits until n more bytes may go, or for the end of ctx.
func (t *Throttle) Wait(ctx context.Context, n int64) error {
	t.mu.Lock()
	if t.mu.rate <= 0 {
		t.mu.Unlock()
		return ctx.Err()
	}
	now := t.clk.Now()
	if t.mu.free.Before(now) {
		t.mu.free = now
	}
	wait := t.mu.free.Sub(now)
	t.mu.free = t.mu.free.Add(time.Duration(float64(n) / float64(t.mu.rate) * float64(time.Second)))
	t.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.clk.After(wait):
		return nil
	}
}
