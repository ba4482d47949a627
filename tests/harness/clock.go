package harness

import (
	"sync"
	"time"
)

// Clock is the machine's clock with time added: it goes by itself, and jumps
// when a test wants hours to have passed. It implements clock.Clock.
type Clock struct {
	mu struct {
		sync.Mutex
		ahead   time.Duration
		waiters map[*waiter]bool
	}
}

type waiter struct {
	at   time.Time // by this clock
	ch   chan time.Time
	stop func() bool
}

// NewClock returns a clock that shows the machine's time.
func NewClock() *Clock {
	c := &Clock{}
	c.mu.waiters = map[*waiter]bool{}
	return c
}

// Now implements clock.Clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.mu.ahead)
}

// After implements clock.Clock.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &waiter{at: time.Now().Add(c.mu.ahead + d), ch: make(chan time.Time, 1)}
	c.mu.waiters[w] = true
	w.stop = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wake(w)
	}).Stop
	return w.ch
}

// wake delivers a waiter's time once. The mutex is held.
func (c *Clock) wake(w *waiter) {
	if c.mu.waiters[w] {
		delete(c.mu.waiters, w)
		w.ch <- time.Now().Add(c.mu.ahead)
	}
}

// Jump moves the clock ahead and wakes whoever waited for that.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ahead += d
	now := time.Now().Add(c.mu.ahead)
	for w := range c.mu.waiters {
		if !w.at.After(now) {
			w.stop()
			c.wake(w)
		}
	}
}
