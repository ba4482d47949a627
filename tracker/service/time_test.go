package service

import (
	"testing"
	"time"
)

func TestCatalogTimeFollowsTheClock(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "rep-1", nil)
	if err := r.Raise(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r.man.Advance(time.Minute)
		if got := r.Now(); got != r.man.Now().UnixMilli() {
			t.Fatalf("now %d, clock %d", got, r.man.Now().UnixMilli())
		}
		if err := r.Raise(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, _ := r.rows.Cluster(t.Context()); c.Now != r.man.Now().UnixMilli() || c.Fence != c.Now || r.Fence() != c.Now {
			t.Fatal(c)
		}
	}
}

// TestClockJumps lets the wall run apart from monotonic time: time.Time
// values here carry none, so elapsed time is given as the wall of the anchor.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const row = 1_000_000_000
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	for _, c := range []struct {
		name    string
		wall    int64 // ms when this process begins to lead
		elapsed int64
		trusted bool
		want    int64
		jumped  bool
	}{
		{"agrees", row, 60_000, false, row + 60_000, false},
		{"short stop", row + 600_000, 60_000, false, row + 660_000, false},
		{"behind", row - 3_600_000, 60_000, false, row + 60_000, false},
		{"jumped", row + 3_600_000, 60_000, false, row + 60_000, true},
		{"jumped, synchronised", row + 3_600_000, 60_000, true, row + 3_660_000, false},
	} {
		var k timekeeper
		k.anchor(at(c.wall), row, 0)
		got, jumped := k.target(at(c.wall+c.elapsed), 15*time.Minute, func() bool { return c.trusted })
		if got != c.want || (jumped > 0) != c.jumped {
			t.Errorf("%s: %d, jumped %v; want %d", c.name, got-row, jumped, c.want-row)
		}
		k.raised(at(c.wall+c.elapsed), got, got)
		if again, _ := k.target(at(c.wall+c.elapsed), 15*time.Minute, nil); again != got {
			t.Errorf("%s: a second raise goes on to %d", c.name, again-row)
		}
	}
}

func TestRefusedClockIsAcceptedByAPerson(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "rep-1", nil)
	if err := r.Raise(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The process stops for a day and leads again.
	r.man.Advance(24 * time.Hour)
	r.lead.term.Store(2)
	if err := r.beat(t.Context(), new(time.Time)); err != nil {
		t.Fatal(err)
	}
	if c, _ := r.rows.Cluster(t.Context()); c.Now != begin.UnixMilli() || r.ClockAhead() != 24*time.Hour {
		t.Fatal(c.Now, r.ClockAhead())
	}
	if err := r.AcceptClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, _ := r.rows.Cluster(t.Context()); c.Now != r.man.Now().UnixMilli() || r.ClockAhead() != 0 {
		t.Fatal(c.Now, r.ClockAhead())
	}
}
