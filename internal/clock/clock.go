// Package clock is time as a dependency, so that grace periods, expiries and
// clock steps are unit tests. It never decides safety: see the fence.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time and waits for it. Implementations are safe for
// concurrent use.
type Clock interface {
	Now() time.Time
	// After delivers the time once, when d has passed.
	After(d time.Duration) <-chan time.Time
}

// System is the machine's clock.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now() }

// After implements Clock.
func (System) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Manual is a clock that moves only when it is told to.
type Manual struct {
	mu struct {
		sync.Mutex
		now     time.Time
		waiters []waiter
	}
}

type waiter struct {
	at time.Time
	ch chan time.Time
}

// NewManual returns a manual clock that stands at now.
func NewManual(now time.Time) *Manual {
	m := &Manual{}
	m.mu.now = now
	return m
}

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.now
}

// After implements Clock.
func (m *Manual) After(d time.Duration) <-chan time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- m.mu.now
		return ch
	}
	m.mu.waiters = append(m.mu.waiters, waiter{m.mu.now.Add(d), ch})
	return ch
}

// Advance moves the clock by d and wakes whoever waited for that.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.now = m.mu.now.Add(d)
	rest := m.mu.waiters[:0]
	for _, w := range m.mu.waiters {
		if w.at.After(m.mu.now) {
			rest = append(rest, w)
			continue
		}
		w.ch <- m.mu.now
	}
	m.mu.waiters = rest
}
