package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/tracker"
)

// A leader whose disk hangs steps aside and another leads within 8 s; it comes
// back when the disk answers, and stops for good if that takes too long.
func TestReplicaHangingDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		disks := make([]hangFS, 3)
		c := newCluster(t, 3, func(i int) vfs.FS { return disks[i].wrap(vfs.NewMem()) })
		for i := range c.cfgs {
			c.cfgs[i].HeartbeatTimeout = 0 // as in service
			stopped := c.cfgs[i].OnStop
			c.cfgs[i].OnStop = func(err error) {
				stopped(err)
				disks[i].wake() // the clock stands still while a lock is waited for
			}
			t.Cleanup(disks[i].wake)
		}
		c.startAll()
		c.fill("a", 20)
		hang := func() (int, *Replica) {
			i, old := c.leader()
			begin := time.Now()
			disks[i].hang()
			inFlight := make(chan error, 1)
			go func() {
				_, err := old.Propose(context.Background(), []byte("in flight"), false)
				inFlight <- err
			}()
			_, next := c.leader(old)
			took := time.Since(begin)
			t.Logf("another led after %v", took)
			if took > 8*time.Second {
				t.Errorf("another led only after %v", took)
			}
			if err := <-inFlight; !errors.Is(err, tracker.ErrUncertain) {
				t.Errorf("in flight at the hanging disk: %v", err)
			}
			if _, err := old.Propose(t.Context(), []byte("x"), false); !errors.Is(err, tracker.ErrNotLeader) {
				t.Errorf("propose at the hanging disk: %v", err)
			}
			if _, _, err := old.Read(t.Context()); !errors.Is(err, tracker.ErrNotLeader) {
				t.Errorf("read at the hanging disk: %v", err)
			}
			if _, _, ok := old.Leader(); ok {
				t.Error("it knows a leader")
			}
			if _, err := next.Propose(t.Context(), []byte("next"), false); err != nil {
				t.Error(err)
			}
			return i, old
		}
		i, old := hang()
		c.fill("b", 20)
		time.Sleep(15 * time.Second)
		disks[i].wake()
		eventually(t, "the replica comes back", func() bool {
			_, addr, ok := old.Leader()
			return ok && addr != ""
		})
		c.fill("c", 20)
		c.checkEqual()
		if m := old.Metrics(); m.Suspended != 1 || m.Stopped != 0 {
			t.Errorf("metrics: %+v", m)
		}

		i, old = hang()
		time.Sleep(31 * time.Second)
		c.mu.Lock()
		if err := c.stopped[c.cfgs[i].ID]; !errors.Is(err, errHanging) {
			t.Errorf("a replica whose disk hung for half a minute: %v", err)
		}
		c.mu.Unlock()
		if _, err := old.Propose(t.Context(), []byte("x"), false); !errors.Is(err, tracker.ErrUnavailable) {
			t.Errorf("propose at a stopped replica: %v", err)
		}
		c.fill("d", 20)
		c.stop(i)
		c.start(i)
		c.ready()
		c.checkFilled("a", 20)
		c.checkEqual()
	})
}

// A follower whose disk hangs does not hold the group up.
func TestReplicaHangingFollower(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		disks := make([]hangFS, 3)
		c := newCluster(t, 3, func(i int) vfs.FS { return disks[i].wrap(vfs.NewMem()) }).startAll()
		lead, _ := c.leader()
		i := (lead + 1) % 3
		disks[i].hang()
		t.Cleanup(disks[i].wake)
		begin := time.Now()
		c.fill("a", 50)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("writes took %v", took)
		}
		time.Sleep(10 * time.Second)
		c.fill("b", 50)
		eventually(t, "the status tells", func() bool {
			_, r := c.leader()
			for _, m := range r.Status().Members {
				if m.ID == c.cfgs[i].ID {
					return m.Suspended
				}
			}
			return false
		})
		disks[i].wake()
		c.checkEqual()
	})
}

// A replica whose disk fails stops for good and says so; the others go on.
func TestReplicaFailingDisk(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"log", "state"} {
		for _, leader := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/leader=%v", part, leader), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T) { replicaFailingDisk(t, part, leader) })
			})
		}
	}
}

func replicaFailingDisk(t *testing.T, part string, leader bool) {
	broken := make([]atomic.Bool, 3)
	c := newCluster(t, 3, func(i int) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken[i].Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, "/"+part+"/") {
				return errorfs.ErrInjected
			}
			return nil
		}))
	})
	for i := range c.cfgs {
		c.cfgs[i].SnapshotBytes = 16 << 10
	}
	c.startAll()
	i, _ := c.leader()
	if !leader {
		i = (i + 1) % 3
	}
	stop := make(chan struct{})
	acked := c.write("a", stop)
	time.Sleep(100 * time.Millisecond)
	broken[i].Store(true)
	pad := strings.Repeat("x", 1000)
	for n := 0; ; n++ {
		c.mu.Lock()
		err := c.stopped[c.cfgs[i].ID]
		c.mu.Unlock()
		if err != nil {
			break
		}
		if n > 1000 {
			t.Fatal("it does not stop")
		}
		if err := c.propose(fmt.Sprintf("%-16s%s", fmt.Sprint("pad", n), pad)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second)
	close(stop)
	keys := acked()
	c.checkKeys(keys)
	if len(keys) < 200 {
		t.Errorf("only %d were written", len(keys))
	}
}

// Power is cut on all replicas at once, under load and with snapshots at work;
// what was not synced is dropped in part or whole.
func TestReplicaPowerCut(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("unsynced=%d", percent), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			bubble(t, func(t *testing.T) { replicaPowerCut(t, percent, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func replicaPowerCut(t *testing.T, percent int, rnd *rand.Rand) {
	disks := make([]*vfs.MemFS, 3)
	c := newCluster(t, 3, func(i int) vfs.FS {
		disks[i] = vfs.NewCrashableMem()
		return disks[i]
	})
	c.net.latency = time.Millisecond
	for i := range c.cfgs {
		c.cfgs[i].SnapshotBytes, c.cfgs[i].KeepBytes = 16<<10, 32<<10
	}
	c.startAll()
	var acked []string
	pad := strings.Repeat("x", 200)
	for round := range 4 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
					key := fmt.Sprintf("%-16s", fmt.Sprintf("%d.%d.%d", round, w, i))
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					for _, r := range c.running() {
						if r == nil {
							continue
						}
						if _, err := r.Propose(ctx, []byte(key+pad), false); err == nil {
							mu.Lock()
							acked = append(acked, key)
							mu.Unlock()
							break
						}
					}
					cancel()
				}
			})
		}
		time.Sleep(time.Duration(200+rnd.IntN(500)) * time.Millisecond)
		if round == 2 {
			i, _ := c.leader()
			c.isolate(i)
			time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			defer c.rejoin(i)
		}
		// What was acknowledged before the cut must survive it; what is
		// acknowledged while it falls may not.
		mu.Lock()
		must := append([]string(nil), acked...)
		mu.Unlock()
		for i := range disks {
			disks[i] = disks[i].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rnd})
			c.cfgs[i].FS = disks[i]
		}
		close(stop)
		wg.Wait()
		for i := range disks {
			c.kill(i)
			c.rejoin(i)
		}
		for i := range disks {
			c.start(i)
		}
		c.ready()
		for _, key := range must {
			if got := c.lookup(key); !strings.HasPrefix(got, key) {
				t.Fatalf("acknowledged %q was lost in round %d", key, round)
			}
		}
		c.checkEqual()
		acked = must
	}
	t.Logf("%d acknowledged, none lost", len(acked))
}

// Growth is refused while any voter's disk is nearly full; the rest passes.
func TestReplicaSpace(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		free := map[string]uint64{"t0": 100 << 30, "t1": 100 << 30, "t2": 100 << 30}
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
		for i := range c.cfgs {
			c.cfgs[i].Space = func(v Voter) (uint64, uint64, error) {
				mu.Lock()
				defer mu.Unlock()
				return free[v.ID], 1 << 40, nil
			}
		}
		c.startAll()
		put := func() error {
			_, r := c.leader()
			_, err := r.Propose(t.Context(), []byte("x"), true)
			return err
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		i, _ := c.leader()
		for _, j := range []int{i, (i + 1) % 3} {
			mu.Lock()
			free[c.cfgs[j].ID] = 10 << 30 // under 3 % of 1 TiB
			mu.Unlock()
			begin := time.Now()
			eventually(t, "growth is refused", func() bool { return errors.Is(put(), tracker.ErrCatalogFull) })
			t.Logf("refused after %v", time.Since(begin))
			c.fill("deletes pass", 1)
			if _, r := c.leader(); !r.Status().Full {
				t.Error("the status does not tell")
			}
			mu.Lock()
			free[c.cfgs[j].ID] = 100 << 30
			mu.Unlock()
			eventually(t, "growth is allowed again", func() bool { return put() == nil })
		}
	})
}

// A follower that was away for longer than the log is kept takes the state
// over in band, over the network.
func TestReplicaInBandSnapshot(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
		for i := range c.cfgs {
			c.cfgs[i].SnapshotBytes, c.cfgs[i].KeepBytes = 16<<10, 1
		}
		c.startAll()
		c.fill("a", 20)
		lead, _ := c.leader()
		away := (lead + 1) % 3
		c.kill(away)
		pad := strings.Repeat("x", 1000)
		for i := range 200 {
			if err := c.propose(fmt.Sprintf("%-16d%s", i, pad)); err != nil {
				t.Fatal(err)
			}
		}
		for i, r := range c.running() {
			if r != nil && i != away {
				flush(t, r)
			}
		}
		r := c.start(away)
		c.ready()
		c.fill("b", 20)
		c.checkEqual()
		if stateOf(r.voter.Load()) == "state" {
			t.Fatal("the state was not taken over")
		}
		c.kill(lead)
		c.fill("c", 20)
		c.checkFilled("b", 20)
	})
}
