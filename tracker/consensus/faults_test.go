package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/tracker"
)

// load proposes distinct keys from some writers until stop is closed, and
// remembers what was acknowledged.
type load struct {
	mu    sync.Mutex
	acked []string
	wg    sync.WaitGroup
	stop  chan struct{}
}

func startLoad(t testing.TB, l *Local, prefix string, writers, size int) *load {
	d := &load{stop: make(chan struct{})}
	pad := strings.Repeat("x", size)
	for w := range writers {
		d.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-d.stop:
					return
				default:
				}
				key := fmt.Sprintf("%-16s", fmt.Sprintf("%s.%d.%d", prefix, w, i))
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				_, err := l.Propose(ctx, []byte(key+pad), false)
				cancel()
				switch {
				case err == nil:
					d.mu.Lock()
					d.acked = append(d.acked, key)
					d.mu.Unlock()
				case errors.Is(err, tracker.ErrUncertain), errors.Is(err, tracker.ErrNotLeader):
				case errors.Is(err, tracker.ErrUnavailable):
					return
				default:
					t.Errorf("propose: %v", err)
					return
				}
			}
		})
	}
	return d
}

func (d *load) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.acked)
}

// cut ends the load and returns what was acknowledged.
func (d *load) cut() []string {
	close(d.stop)
	d.wg.Wait()
	return d.acked
}

func checkAcked(t testing.TB, l *Local, acked []string) {
	t.Helper()
	for _, key := range acked {
		if got := lookup(t, l, key); !strings.HasPrefix(got, key) {
			t.Fatalf("acknowledged %q was lost", key)
		}
	}
}

// Power is cut on all voters at once, under load and with snapshots at work;
// what was not synced is dropped in part or whole.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ {
		for _, percent := range []int{0, 50, 100} {
			t.Run(fmt.Sprintf("voters=%d/unsynced=%d", n, percent), func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				powerCut(t, n, percent, rand.New(rand.NewPCG(seed, 1)))
			})
		}
	}
}

func powerCut(t *testing.T, n, percent int, rnd *rand.Rand) {
	disks := make([]*vfs.MemFS, n)
	for i := range disks {
		disks[i] = vfs.NewCrashableMem()
	}
	cfg := group(t, n, func(i int) vfs.FS { return disks[i] })
	cfg.Bootstrap, cfg.SnapshotBytes, cfg.KeepBytes = true, 32<<10, 64<<10
	var acked []string
	var snapshots uint64
	for round := range 3 {
		l := mustOpen(t, cfg)
		checkAcked(t, l, acked)
		d := startLoad(t, l, fmt.Sprint(round), 8, 200)
		target := 50 + rnd.IntN(500)
		eventually(t, "load", func() bool { return d.count() >= target })
		// What was acknowledged before the cut must survive it; what is
		// acknowledged while it falls may not.
		d.mu.Lock()
		acked = append(acked, d.acked...)
		d.mu.Unlock()
		for i, disk := range disks {
			disks[i] = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rnd})
			cfg.Voters[i].FS = disks[i]
		}
		d.cut()
		snapshots += l.Metrics().Snapshots
		mustClose(t, l)
		cfg.Bootstrap = false
	}
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	checkAcked(t, l, acked)
	checkEqual(t, l)
	t.Logf("%d acknowledged, none lost; %d snapshots", len(acked), snapshots)
}

// A voter whose disk fails is stopped, and the others go on.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ {
		for _, part := range []string{"log", "state"} {
			for _, leader := range []bool{true, false} {
				t.Run(fmt.Sprintf("voters=%d/%s/leader=%v", n, part, leader), func(t *testing.T) {
					t.Parallel()
					failingDisk(t, n, part, leader)
				})
			}
		}
	}
}

func failingDisk(t *testing.T, n int, part string, leader bool) {
	broken := make([]atomic.Bool, n)
	cfg := group(t, n, func(i int) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken[i].Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, "/"+part+"/") {
				return errorfs.ErrInjected
			}
			return nil
		}))
	})
	cfg.Bootstrap, cfg.SnapshotBytes = true, 64<<10
	stopped := make(chan string, n)
	cfg.OnStop = func(id string, _ error, _ bool) { stopped <- id }
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	d := startLoad(t, l, "a", 4, 1000)
	eventually(t, "load", func() bool { return d.count() >= 100 })
	victim := -1
	for i, v := range l.voters() {
		if (v == l.lead.Load()) == leader {
			victim = i
		}
	}
	if victim < 0 { // the only voter leads
		d.cut()
		return
	}
	begin := time.Now()
	broken[victim].Store(true)
	if id := <-stopped; id != cfg.Voters[victim].ID {
		t.Fatalf("voter %s stopped", id)
	}
	if n == 3 {
		at := d.count()
		eventually(t, "load goes on", func() bool { return d.count() > at+100 })
		t.Logf("went on after %v", time.Since(begin))
	} else {
		eventually(t, "no majority", func() bool { return !l.Status().Quorum })
	}
	acked := d.cut()
	if n == 2 {
		eventually(t, "reads only", func() bool { return l.Status().ReadOnly })
	}
	if n > 1 {
		checkAcked(t, l, acked)
	}
	if st := l.Status(); st.Voters[victim].Err == "" {
		t.Fatalf("status: %+v", st)
	}
}

func TestLeaderKill(t *testing.T) {
	t.Parallel()
	cfg := group(t, 3, oneFS(vfs.NewMem()))
	cfg.Bootstrap = true
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	d := startLoad(t, l, "a", 8, 100)
	eventually(t, "load", func() bool { return d.count() >= 200 })
	lead := l.lead.Load()
	begin, at := time.Now(), d.count()
	lead.fail(errors.New("killed by the test"))
	eventually(t, "another leads", func() bool { v := l.lead.Load(); return v != nil && v != lead })
	eventually(t, "load goes on", func() bool { return d.count() > at+200 })
	t.Logf("another led after %v", time.Since(begin))
	checkAcked(t, l, d.cut())
	checkEqual(t, l)
	if _, ok := l.LeaderEpoch(); !ok {
		t.Fatal("no leader's epoch")
	}
}

// TestDirectoryGone takes a voter's directory away while its files are open: a
// disk that was unmounted, an rm too many. What it writes then would be gone
// with a restart, so it must not count for a majority.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprintf("voters=%d", n), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cfg := group(t, n, func(int) vfs.FS { return vfs.Default })
			for i := range cfg.Voters {
				cfg.Voters[i].Dir = filepath.Join(dir, fmt.Sprint(i))
			}
			cfg.Bootstrap = true
			stopped := make(chan string, n)
			cfg.OnStop = func(id string, _ error, _ bool) { stopped <- id }
			l := mustOpen(t, cfg)
			defer mustClose(t, l)
			d := startLoad(t, l, "a", 2, 100)
			eventually(t, "load", func() bool { return d.count() >= 20 })
			if err := os.Rename(filepath.Join(dir, "0"), filepath.Join(dir, "away")); err != nil {
				t.Fatal(err)
			}
			if id := <-stopped; id != cfg.Voters[0].ID {
				t.Errorf("voter %s stopped", id)
			}
			if n == 3 {
				at := d.count()
				eventually(t, "load goes on", func() bool { return d.count() > at+20 })
			} else {
				eventually(t, "no majority", func() bool { return !l.Status().Quorum })
			}
			d.cut()
		})
	}
}
