package worker

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/placement"
)

// steppedCluster is a cluster whose catalog time is ahead of its clock.
type steppedCluster struct {
	Cluster
	clk   clock.Clock
	ahead time.Duration
}

func (c *steppedCluster) Now() int64 { return c.clk.Now().Add(c.ahead).UnixMilli() }

func (c *steppedCluster) Plan(context.Context) (*placement.Plan, *tracker.Map, error) {
	return nil, &tracker.Map{}, nil
}

// garbageRows is a store of garbage rows alone.
type garbageRows struct {
	Store
	rows []Garbage
}

func (s *garbageRows) Garbage(context.Context, int) ([]Garbage, error) { return s.rows, nil }

func (s *garbageRows) DropGarbage(context.Context, catalog.GarbageID) error {
	s.rows = nil
	return nil
}

// TestGarbageOverAStep lets catalog time step by a month, as where a person
// accepts the clock, while a read is being served: that is neither the readers'
// grace nor the longest that a read may hold garbage.
func TestGarbageOverAStep(t *testing.T) {
	t.Parallel()
	const minute, month = time.Minute, 30 * 24 * time.Hour
	for _, tc := range []struct {
		name string
		// read is when the oldest read began, before the end; 0 for none.
		read  time.Duration
		after time.Duration // that passes from the step on
		left  bool
	}{
		{"at once", 0, time.Second, true},
		{"within the grace", 0, 9 * minute, true},
		{"after the grace", 0, 11 * minute, false},
		{"under a read from before", 21 * minute, 11 * minute, true},
		{"beside a read from after it", 5 * minute, 11 * minute, false},
		{"under a read that never ends", 26 * 60 * minute, 25 * 60 * minute, false},
	} {
		clk := clock.NewManual(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
		c := &steppedCluster{clk: clk}
		s := &garbageRows{rows: []Garbage{{Time: c.Now()}}}
		cfg := DefaultGarbage()
		cfg.OldestRead = func() int64 {
			if tc.read == 0 {
				return 0
			}
			return c.Now() - tc.read.Milliseconds()
		}
		w := &garbage{cfg: cfg, c: c, store: s, clk: clk, logger: zerolog.Nop(), missed: func(storage.NodeID) {}}
		w.Begin(1)
		step := func() {
			t.Helper()
			if _, err := w.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		step()
		clk.Advance(9 * minute)
		s.rows[0].Time = c.Now() - time.Minute.Milliseconds()
		step()
		c.ahead = month
		clk.Advance(time.Second)
		step()
		for passed := time.Duration(0); passed < tc.after && len(s.rows) > 0; passed += cfg.Idle {
			clk.Advance(cfg.Idle)
			step()
		}
		if left := len(s.rows) > 0; left != tc.left {
			t.Errorf("%s: garbage is left: %v, want %v", tc.name, left, tc.left)
		}
	}
}

// TestGarbageOfABeginner: what was given up before this leader's term waits
// until gateways could tell it what they read.
func TestGarbageOfABeginner(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	c := &steppedCluster{clk: clk}
	s := &garbageRows{rows: []Garbage{{Time: c.Now() - time.Hour.Milliseconds()}}}
	w := &garbage{cfg: DefaultGarbage(), c: c, store: s, clk: clk, logger: zerolog.Nop(), missed: func(storage.NodeID) {}}
	w.Begin(1)
	for i := range 12 {
		if _, err := w.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, want := len(s.rows) > 0, i < 10; left != want {
			t.Fatalf("after %d minutes: garbage is left: %v, want %v", i, left, want)
		}
		clk.Advance(time.Minute)
	}
}
