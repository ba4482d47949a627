package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

type fakeLead struct{ term atomic.Uint64 }

func (l *fakeLead) LeaderEpoch() (uint64, bool) { t := l.term.Load(); return t, t > 0 }

// fakeTask counts its steps and fails where it is told to.
type fakeTask struct {
	mu    sync.Mutex
	terms []uint64
	steps []time.Time
	wait  time.Duration
	err   error
	wake  chan struct{}
}

func (f *fakeTask) Name() string { return "fake" }
func (f *fakeTask) Begin(term uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.terms = append(f.terms, term)
}

func (f *fakeTask) Step(context.Context) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, time.Now())
	return f.wait, f.err
}
func (f *fakeTask) Wake() <-chan struct{} { return f.wake }
func (f *fakeTask) Width() int            { return 1 }
func (f *fakeTask) Queue() tracker.Queue  { return tracker.Queue{Length: 3} }
func (f *fakeTask) Note() string          { return "" }

func (f *fakeTask) set(wait time.Duration, err error) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.steps)
	f.steps, f.wait, f.err = nil, wait, err
	return n
}

func TestGroupRunsOnlyWhileItLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lead, task := new(fakeLead), &fakeTask{wait: 10 * time.Second, wake: make(chan struct{}, 1)}
		g := NewGroup(lead, clock.System{}, zerolog.Nop(), task)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		pass := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			return task.set(task.wait, task.err)
		}
		if n := pass(time.Minute); n != 0 || g.Info()[0].State != "follower" {
			t.Errorf("%d steps of a follower", n)
		}
		lead.term.Store(4)
		if n := pass(time.Minute + time.Second); n < 6 || n > 7 {
			t.Errorf("%d steps in a minute", n)
		}
		task.wake <- struct{}{}
		if n := pass(time.Millisecond); n != 1 {
			t.Errorf("%d steps when woken", n)
		}
		if !g.Pause("fake") || g.Pause("other") {
			t.Error("pause")
		}
		pass(20 * time.Second)
		if n := pass(time.Minute); n != 0 || g.Info()[0].State != "paused" {
			t.Errorf("%d steps while paused", n)
		}
		g.Resume("fake")
		if n := pass(time.Second); n != 1 {
			t.Errorf("%d steps when resumed", n)
		}
		// A failing step is tried again, ever more slowly.
		task.set(10*time.Second, errors.New("broken"))
		pass(10 * time.Second)
		if n := pass(2 * time.Minute); n < 4 || n > 8 || g.Info()[0].State != "failing" || g.Queues()["fake"].Failed == 0 {
			t.Errorf("%d failing steps: %+v", n, g.Info())
		}
		lead.term.Store(0)
		pass(time.Minute)
		if n := pass(time.Minute); n != 0 {
			t.Errorf("%d steps after the term", n)
		}
		lead.term.Store(6)
		pass(time.Minute)
		if len(task.terms) != 2 || task.terms[0] != 4 || task.terms[1] != 6 {
			t.Errorf("terms %v", task.terms)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(clock.System{}, 1000)
		begin := time.Now()
		for range 11 {
			if err := th.Wait(t.Context(), 500); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("5500 bytes at 1000 a second took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := th.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		th.Set(0)
		begin = time.Now()
		if err := th.Wait(t.Context(), 1<<40); err != nil || time.Since(begin) != 0 {
			t.Error(err)
		}
	})
}

func blobN(n int) storage.BlobID { return storage.MakeBlobID(0, 1, 1, uint64(n)) }

func TestTable(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	tb := newTable(4)
	tb.add(blobN(1), now, 3, false)
	tb.add(blobN(2), now, 0, true)
	tb.add(blobN(3), now, 1, true)
	tb.add(blobN(4), now, 2, false)
	if tb.add(blobN(5), now, 0, true) || !tb.full(1) {
		t.Error("no bound")
	}
	if s := tb.stats(); s.length != 4 || s.below != 2 || s.overflow != 1 {
		t.Errorf("%+v", s)
	}
	tb.add(blobN(1), now, -1, true) // at more risk than was known
	var order []storage.BlobID
	var jobs []*job
	for {
		j, _, _ := tb.take(now)
		if j == nil {
			break
		}
		order, jobs = append(order, j.id), append(jobs, j)
	}
	for i, want := range []int{1, 2, 3, 4} {
		if order[i] != blobN(want) {
			t.Fatalf("order %v", order)
		}
	}
	tb.finish(jobs[0], now, true)
	tb.add(blobN(2), now, 0, true, report{shard: storage.ShardID{Blob: blobN(2)}})
	tb.finish(jobs[1], now, true) // something was reported meanwhile
	tb.postpone(jobs[2], now.Add(time.Minute), 1, true, true, "nothing is left")
	tb.postpone(jobs[3], now.Add(2*time.Minute), 1, false, false, "later")
	if s := tb.stats(); s.length != 3 || s.below != 2 || s.dead != 1 || s.done != 2 {
		t.Errorf("%+v", s)
	}
	if u := tb.unrecoverable(5); len(u) != 1 || u[0].Blob != blobN(3) {
		t.Errorf("%+v", u)
	}
	j, reports, _ := tb.take(now)
	if j == nil || j.id != blobN(2) || len(reports) != 1 {
		t.Fatal(j, reports)
	}
	tb.finish(j, now, false)
	if j, _, wait := tb.take(now); j != nil || wait != time.Minute {
		t.Error(j, wait)
	}
	tb.hurry(now)
	for range 2 {
		j, _, _ := tb.take(now)
		tb.finish(j, now, false)
	}
	if s := tb.stats(); s.length != 0 || s.below != 0 || s.dead != 0 {
		t.Errorf("%+v", s)
	}
}

// TestJudge is the one place that decides what a node does not own.
func TestJudge(t *testing.T) {
	t.Parallel()
	rep2 := func(shards ...storage.Placement) Blob {
		b := Blob{Shards: shards, Length: 10}
		b.Scheme.Data, b.Scheme.Parity = 1, 1
		return b
	}
	const fence = 100
	hole := storage.Placement{}
	here, there := storage.Placement{Node: 1, Gen: 1}, storage.Placement{Node: 2, Gen: 1}
	newer := storage.Placement{Node: 1, Gen: 2}
	dying, holey := rep2(here, there), rep2(hole, there)
	dying.Dying, holey.Dying = true, true
	for _, c := range []struct {
		name        string
		row         *Blob
		expiry      int64
		quarantined int64
		length      int64
		want        string
	}{
		{"placed", ptr(rep2(here, there)), 50, 0, 18, ""},
		{"placed, quarantined", ptr(rep2(here, there)), 50, 7, 18, "revive"},
		{"placed, short", ptr(rep2(here, there)), 50, 0, 17, "bad"},
		{"unknown, expired", nil, 100, 0, 18, "disown"},
		{"unknown, young", nil, 101, 0, 18, "later"},
		{"unknown, quarantined", nil, 50, 7, 18, ""},
		{"dying", &dying, 50, 0, 18, ""},
		{"dying, in a hole", &holey, 50, 0, 18, "disown"},
		{"dying, in a hole, young", &holey, 101, 0, 18, "later"},
		{"moved, expired", ptr(rep2(there, hole)), 50, 0, 18, "disown"},
		{"moved, young", ptr(rep2(there, hole)), 101, 0, 18, "later"},
		{"newer generation here", ptr(rep2(newer, there)), 50, 0, 18, "disown missing"},
		{"hole, young", ptr(rep2(hole, there)), 101, 0, 18, "adopt"},
		{"hole, young, short", ptr(rep2(hole, there)), 101, 0, 17, "later"},
		{"hole, expired", ptr(rep2(hole, there)), 100, 0, 18, "disown"},
		{"no such index", ptr(rep2()), 50, 0, 18, "disown"},
	} {
		id := storage.ShardID{Blob: blobN(1), Gen: 1}
		rows := map[storage.BlobID]Blob{}
		if c.row != nil {
			c.row.ID = id.Blob
			rows[id.Blob] = *c.row
		}
		listed := []storage.ShardInfo{{ID: id, Seal: storage.Seal{Frames: 1, Length: c.length}, Expiry: c.expiry, Quarantined: c.quarantined}}
		out := judge(1, listed, rows, View{Fence: fence})
		got := ""
		for _, p := range []struct {
			n    int
			name string
		}{{len(out.disown), "disown"}, {len(out.revive), "revive"}, {len(out.adopt), "adopt"}, {len(out.bad), "bad"}, {len(out.missing), "missing"}, {len(out.later), "later"}} {
			if p.n > 0 {
				if got != "" {
					got += " "
				}
				got += p.name
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if out := judge(1, nil, map[storage.BlobID]Blob{blobN(1): rep2(there, here)}, View{}); len(out.missing) != 1 || out.missing[0].Index != 1 {
		t.Errorf("%+v", out)
	}
}

func ptr[T any](v T) *T { return &v }
