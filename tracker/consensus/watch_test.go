package consensus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/clock"
	"holdfast/tracker"
)

// hangFS is a file system whose log syncs can be made to hang.
type hangFS struct {
	mu   sync.Mutex
	gate chan struct{} // not nil: syncs wait until it is closed
}

func (h *hangFS) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.Contains(op.Path, "/log/") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileWrite) {
			h.mu.Lock()
			gate := h.gate
			h.mu.Unlock()
			if gate != nil {
				<-gate
			}
		}
		return nil
	}))
}

func (h *hangFS) hang() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = make(chan struct{})
}

func (h *hangFS) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gate != nil {
		close(h.gate)
	}
	h.gate = nil
}

// advance moves the clock in steps until a condition holds.
func advance(t testing.TB, c *clock.Manual, what string, ok func() bool) (elapsed time.Duration) {
	t.Helper()
	eventually(t, what, func() bool {
		if ok() {
			return true
		}
		c.Advance(100 * time.Millisecond)
		elapsed += 100 * time.Millisecond
		return false
	})
	return elapsed
}

func TestHangingDisk(t *testing.T) {
	t.Parallel()
	disks := make([]hangFS, 3)
	cfg := group(t, 3, func(i int) vfs.FS { return disks[i].wrap(vfs.NewMem()) })
	c := clock.NewManual(time.Unix(1e9, 0))
	cfg.Bootstrap, cfg.Clock, cfg.BallastBytes = true, c, -1
	stopped := make(chan error, 3)
	cfg.OnStop = func(_ string, err error, _ bool) { stopped <- err }
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	fill(t, l, "a", 20)

	old := l.lead.Load()
	oldTerm, _ := l.LeaderEpoch()
	var disk *hangFS
	for i, v := range l.voters() {
		if v == old {
			disk = &disks[i]
		}
	}
	disk.hang()
	defer disk.wake()
	inFlight := make(chan error, 1)
	go func() {
		_, err := l.Propose(context.Background(), []byte("in flight"), false)
		inFlight <- err
	}()
	eventually(t, "the write hangs", func() bool { return old.guard.since.Load() != 0 })
	advance(t, c, "another leads", func() bool { v := l.lead.Load(); return v != nil && v != old })
	if err := <-inFlight; !errors.Is(err, tracker.ErrUncertain) {
		t.Fatalf("in flight at the hanging disk: %v", err)
	}
	fill(t, l, "b", 20)

	// A reader that still takes the old one for the leader gets no old state.
	old.serving.Store(oldTerm)
	l.lead.Store(old)
	if l.isCurrent(old, oldTerm) {
		t.Fatal("a deposed leader is taken for the newest")
	}
	checkFilled(t, l, "b", 20)
	if l.lead.Load() == old {
		t.Fatal("a deposed leader serves")
	}

	disk.wake()
	advance(t, c, "the voter comes back", func() bool { return !old.suspended.Load() })
	fill(t, l, "c", 20)
	checkEqual(t, l)

	// Hanging for good, it is stopped.
	lead := l.lead.Load()
	for i, v := range l.voters() {
		if v == lead {
			disk = &disks[i]
		}
	}
	disk.hang()
	defer disk.wake()
	go func() { _, _ = l.Propose(context.Background(), []byte("lost"), false) }()
	eventually(t, "the write hangs", func() bool { return lead.guard.since.Load() != 0 })
	took := advance(t, c, "the voter stops", func() bool { return lead.cause() != nil })
	if err := <-stopped; !errors.Is(err, errHanging) || took < cfg.DeadWrite {
		t.Fatalf("stopped by %v after %v", err, took)
	}
	fill(t, l, "d", 20)
	checkFilled(t, l, "d", 20)
	disk.wake()
}

func TestHangingOnlyDisk(t *testing.T) {
	t.Parallel()
	var disk hangFS
	cfg := group(t, 1, func(int) vfs.FS { return disk.wrap(vfs.NewMem()) })
	c := clock.NewManual(time.Unix(1e9, 0))
	cfg.Bootstrap, cfg.Clock, cfg.BallastBytes = true, c, -1
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	fill(t, l, "a", 5)
	disk.hang()
	defer disk.wake()
	inFlight := make(chan error, 1)
	go func() {
		_, err := l.Propose(context.Background(), []byte("in flight"), false)
		inFlight <- err
	}()
	v := l.voters()[0]
	eventually(t, "the write hangs", func() bool { return v.guard.since.Load() != 0 })
	advance(t, c, "the voter steps aside", v.suspended.Load)
	if err := <-inFlight; !errors.Is(err, tracker.ErrUncertain) {
		t.Fatalf("in flight at the hanging disk: %v", err)
	}
	disk.wake()
	advance(t, c, "the voter serves again", func() bool { return l.lead.Load() == v })
	fill(t, l, "b", 5)
	checkFilled(t, l, "a", 5)
	if got := lookup(t, l, "in flight"); got != "in flight" {
		t.Fatalf("the write that hung is %q", got)
	}
}

func TestSpace(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	cfg := group(t, 3, oneFS(fs))
	c := clock.NewManual(time.Unix(1e9, 0))
	var mu sync.Mutex
	free := map[string]uint64{}
	for _, v := range cfg.Voters {
		free[v.ID] = 100 << 30
	}
	cfg.Bootstrap, cfg.Clock, cfg.BallastBytes = true, c, 3<<20
	cfg.Space = func(v Voter) (uint64, uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		return free[v.ID], 1 << 40, nil
	}
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	ctx := context.Background()
	put := func(i int) error {
		_, err := l.Propose(ctx, fmt.Appendf(nil, "%d", i), true)
		return err
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	ballast := fs.PathJoin(cfg.Voters[1].Dir, "ballast")
	eventually(t, "ballast", func() bool {
		info, err := fs.Stat(ballast)
		return err == nil && info.Size() == 3<<20
	})
	mu.Lock()
	free["v1"] = 10 << 30 // under 3 % of 1 TiB
	mu.Unlock()
	advance(t, c, "growth is refused", func() bool { return errors.Is(put(1), tracker.ErrCatalogFull) })
	mustPropose(t, l, "deletes pass")
	if err := l.DropBallast(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(ballast); err == nil {
		t.Fatal("the ballast is still there")
	}
	mu.Lock()
	free["v1"] = 100 << 30
	mu.Unlock()
	advance(t, c, "growth is allowed again", func() bool {
		mustPropose(t, l, "anything")
		return put(2) == nil
	})
}
