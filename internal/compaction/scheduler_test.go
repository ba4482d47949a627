package compaction

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// fakeDB asks for compactions in Pebble's way: under its lock, and not again
// once it was refused, until a grant finds it with no work left.
type fakeDB struct {
	s       *Scheduler
	limit   atomic.Int32
	calls   atomic.Int64 // of Schedule
	running atomic.Int32
	over    atomic.Int32  // times that more ran than the limit
	gone    atomic.Bool   // unregistered
	late    atomic.Int32  // calls after that
	gate    chan struct{} // if not nil, each call of Schedule takes one first
	mu      struct {
		sync.Mutex
		work    int
		waiting bool
	}
	busy sync.WaitGroup
}

func newFake(limit int) *fakeDB {
	d := &fakeDB{s: New()}
	d.limit.Store(int32(limit))
	d.s.Register(2, d)
	return d
}

func (d *fakeDB) GetAllowedWithoutPermission() int { return int(d.limit.Load()) }

func (d *fakeDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	panic("one store needs no comparison")
}

func (d *fakeDB) Schedule(h pebble.CompactionGrantHandle) bool {
	d.calls.Add(1)
	if d.gate != nil {
		<-d.gate
	}
	if d.gone.Load() {
		d.late.Add(1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.mu.waiting {
		return false
	}
	if d.mu.work == 0 {
		d.mu.waiting = false
		return false
	}
	d.run(h)
	return true
}

// run does one piece of work; d.mu is held.
func (d *fakeDB) run(h pebble.CompactionGrantHandle) {
	d.mu.work--
	if d.running.Add(1) > d.limit.Load() {
		d.over.Add(1)
	}
	d.busy.Go(func() {
		h.Started()
		d.running.Add(-1)
		h.Done()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ask()
	})
}

// ask is Pebble's maybeScheduleCompaction; d.mu is held.
func (d *fakeDB) ask() {
	for !d.mu.waiting && d.mu.work > 0 {
		ok, h := d.s.TrySchedule()
		if !ok {
			d.mu.waiting = true
			return
		}
		d.run(h)
	}
}

// add is the end of a flush.
func (d *fakeDB) add(work int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.work += work
	d.s.UpdateGetAllowedWithoutPermission()
	d.ask()
}

func (d *fakeDB) left() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.work
}

// TestNothingIsLeftWaiting adds work from several goroutines: all of it is
// done, never more at once than allowed, whatever refusals and ends meet.
func TestNothingIsLeftWaiting(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2, 5} {
		for round := range 200 {
			synctest.Test(t, func(t *testing.T) {
				d := newFake(limit)
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for range 20 {
							d.add(rand.IntN(3))
						}
					})
				}
				wg.Wait()
				synctest.Wait()
				if n := d.left(); n != 0 {
					t.Fatalf("limit %d, round %d: %d compactions wait and nothing runs", limit, round, n)
				}
				if n := d.over.Load(); n != 0 {
					t.Fatalf("limit %d, round %d: over the limit %d times", limit, round, n)
				}
				d.busy.Wait()
			})
		}
	}
}

// hold is work whose end the test decides.
func hold(t *testing.T, d *fakeDB) pebble.CompactionGrantHandle {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	ok, h := d.s.TrySchedule()
	if !ok {
		t.Fatal("refused with nothing running")
	}
	return h
}

func TestRisenLimitIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newFake(1)
		h := hold(t, d)
		d.add(3)
		if d.left() != 3 {
			t.Fatal("more runs than allowed")
		}
		d.limit.Store(2)
		d.add(0)
		synctest.Wait()
		if n := d.left(); n != 0 {
			t.Errorf("%d compactions wait although one more may run", n)
		}
		h.Done()
		d.busy.Wait()
	})
}

// TestIdleStoreIsNotAsked is what the package is for.
func TestIdleStoreIsNotAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newFake(1)
		d.add(5)
		synctest.Wait()
		was := d.calls.Load()
		h := hold(t, d) // a long one
		time.Sleep(time.Hour)
		if n := d.calls.Load() - was; n != 0 {
			t.Errorf("asked %d times in an hour in which nothing happened", n)
		}
		h.Done()
		d.busy.Wait()
	})
}

func TestNothingIsGrantedAfterUnregister(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			d := newFake(2)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { d.add(10) })
			}
			wg.Go(func() {
				d.s.Unregister()
				d.gone.Store(true)
			})
			wg.Wait()
			d.busy.Wait()
			d.add(1)
			synctest.Wait()
			if ok, _ := d.s.TrySchedule(); ok || d.late.Load() != 0 {
				t.Errorf("granted after the end: %v, %d calls", ok, d.late.Load())
			}
		})
	}
}

// TestUnregisterWaitsForCalls ends two compactions and unregisters while the
// store is in the call that the first end made.
func TestUnregisterWaitsForCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newFake(2)
		d.gate = make(chan struct{})
		a, b := hold(t, d), hold(t, d)
		d.add(1)
		d.busy.Go(a.Done)
		synctest.Wait()
		d.busy.Go(b.Done)
		d.busy.Go(func() {
			d.s.Unregister()
			d.gone.Store(true)
		})
		synctest.Wait()
		if n := d.calls.Load(); n != 1 || d.gone.Load() {
			t.Errorf("%d calls in the store, unregistered: %v", n, d.gone.Load())
		}
		close(d.gate)
		d.busy.Wait()
		if d.late.Load() != 0 {
			t.Error("called after Unregister")
		}
	})
}

// TestStoreDrains writes far more than a store's memory while ranges of it
// are compacted by hand: writes never stop for good, and afterwards nothing is
// left to compact.
func TestStoreDrains(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			o := &pebble.Options{
				FS: vfs.NewMem(), MemTableSize: 64 << 10, L0CompactionThreshold: 2, L0StopWritesThreshold: 6, LBaseMaxBytes: 256 << 10,
				FormatMajorVersion: pebble.FormatTableFormatV6, DisableWAL: true, Logger: silent{},
				CompactionConcurrencyRange: func() (int, int) { return 1, limit },
			}
			for i := range o.TargetFileSizes {
				o.TargetFileSizes[i] = 32 << 10
			}
			o.Experimental.CompactionScheduler = New()
			db, err := pebble.Open("db", o)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(w), 1))
					val := make([]byte, 200)
					for i := range 2500 {
						key := binary.BigEndian.AppendUint64(nil, rng.Uint64()%20_000)
						if err := db.Set(key, val, pebble.NoSync); err != nil {
							t.Error(err)
							return
						}
						if i%1000 == 999 {
							if err := db.Compact(t.Context(), key, []byte{0xff}, false); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			deadline := time.Now().Add(time.Minute)
			written := make(chan struct{})
			go func() {
				wg.Wait()
				close(written)
			}()
			select {
			case <-written:
			case <-time.After(time.Until(deadline)):
				t.Fatalf("writes stand still:\n%s", db.Metrics())
			}
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
			for m := db.Metrics(); m.Compact.NumInProgress > 0 || m.Levels[0].Sublevels >= 2 || m.Compact.EstimatedDebt > 1<<20; m = db.Metrics() {
				if time.Now().After(deadline) {
					t.Fatalf("not drained:\n%s", m)
				}
				time.Sleep(time.Millisecond) // between looks at a condition with a deadline
			}
			if m := db.Metrics(); m.Compact.Count < 10 {
				t.Errorf("only %d compactions: too little was written", m.Compact.Count)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
