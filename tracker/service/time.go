package service

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// timekeeper tells catalog time between two raises of its row. It decides
// nothing that safety hangs on: only the fence, a row of the log, does.
type timekeeper struct {
	mu struct {
		sync.Mutex
		began  time.Time // when this process began to lead
		start  int64     // the row at that time, ms
		row    int64     // the row as last known
		at     time.Time // when it was raised or read
		fence  int64
		refuse bool // a step was refused and is told once
	}
}

// anchor notes the rows as they stand when this process begins to lead.
func (t *timekeeper) anchor(now time.Time, row, fence int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.began, t.mu.start = now, row
	t.mu.row, t.mu.at, t.mu.fence, t.mu.refuse = row, now, fence, false
}

// now is catalog time: the row and the monotonic time since it was seen. It
// is the wall's where there is no row yet.
func (t *timekeeper) now(now time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.row == 0 {
		return now.UnixMilli()
	}
	return t.mu.row + max(now.Sub(t.mu.at).Milliseconds(), 0)
}

// target is what the row may be raised to: the wall's time within the bounds
// of monotonic time since this process began to lead, which is the least, and
// maxStep over that. Beyond it the clock has jumped: the step is refused
// (and the row goes on at monotonic speed) unless trusted.
func (t *timekeeper) target(now time.Time, maxStep time.Duration, trusted func() bool) (ms int64, jumped time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wall := now.UnixMilli()
	if t.mu.start == 0 {
		return wall, 0
	}
	least := max(t.mu.start+now.Sub(t.mu.began).Milliseconds(), t.mu.row)
	switch {
	case wall <= least:
		return least, 0
	case wall <= t.mu.start+now.Sub(t.mu.began).Milliseconds()+maxStep.Milliseconds():
		return wall, 0
	case trusted != nil && trusted():
		t.mu.began, t.mu.start = now, wall
		return wall, 0
	}
	return least, time.Duration(wall-least) * time.Millisecond
}

// raised notes that the rows were raised.
func (t *timekeeper) raised(now time.Time, row, fence int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.start == 0 {
		t.mu.began, t.mu.start = now, row
	}
	if row >= t.mu.row {
		t.mu.row, t.mu.at = row, now
	}
	t.mu.fence = max(t.mu.fence, fence)
}

// Now is catalog time in ms as this process estimates it. It never runs ahead
// of the row by more than monotonic time.
func (s *Service) Now() int64 { return s.clock.now(s.clk.Now()) }

// Fence is the fence in ms as last raised or read by this process.
func (s *Service) Fence() int64 {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	return s.clock.mu.fence
}

// Raise raises catalog time and then the fence to it: tickets that expire by
// then can commit no longer. Both are commands of the log.
func (s *Service) Raise(ctx context.Context) error {
	now := s.clk.Now()
	ms, jumped := s.clock.target(now, s.cfg.MaxStep, s.cfg.ClockTrusted)
	if jumped > 0 {
		s.refused(jumped)
	}
	return s.raiseTo(ctx, now, ms)
}

func (s *Service) raiseTo(ctx context.Context, now time.Time, ms int64) error {
	if err := s.rows.RaiseTime(ctx, ms); err != nil {
		return fmt.Errorf("raise catalog time: %w", err)
	}
	if err := s.rows.RaiseFence(ctx, ms); err != nil {
		return fmt.Errorf("raise the fence: %w", err)
	}
	s.clock.raised(now, ms, ms)
	return nil
}

// refused tells once that the clock jumped.
func (s *Service) refused(by time.Duration) {
	s.clock.mu.Lock()
	told := s.clock.mu.refuse
	s.clock.mu.refuse = true
	s.clock.mu.Unlock()
	if !told {
		s.logger.Error().Dur("ahead", by).
			Msg("this machine's clock is ahead of catalog time; retention, lifecycle and garbage go on by catalog time until the clock is accepted with holdfast admin clock accept")
	}
}

// ClockAhead tells by how much the clock was refused, 0 if it agrees.
func (s *Service) ClockAhead() time.Duration {
	_, jumped := s.clock.target(s.clk.Now(), s.cfg.MaxStep, nil)
	return jumped
}

// AcceptClock takes this machine's clock for right, whatever the step: a
// person said so.
func (s *Service) AcceptClock(ctx context.Context) error {
	if _, err := s.current(ctx); err != nil {
		return err
	}
	now := s.clk.Now()
	s.logger.Warn().Dur("ahead", s.ClockAhead()).Msg("catalog time follows the clock by a person's word")
	s.clock.mu.Lock()
	s.clock.mu.began, s.clock.mu.start, s.clock.mu.refuse = now, max(now.UnixMilli(), s.clock.mu.row), false
	ms := s.clock.mu.start
	s.clock.mu.Unlock()
	return s.raiseTo(ctx, now, ms)
}
