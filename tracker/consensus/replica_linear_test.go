package consensus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/tracker"
)

// hangingCluster is three replicas whose disks can be made to hang, with a
// watchdog that does not notice.
func hangingCluster(t *testing.T, heartbeat time.Duration) (*cluster, []hangFS) {
	disks := make([]hangFS, 3)
	c := newCluster(t, 3, func(i int) vfs.FS { return disks[i].wrap(vfs.NewMem()) })
	for i := range c.cfgs {
		c.cfgs[i].HeartbeatTimeout = heartbeat
		c.cfgs[i].SlowWrite, c.cfgs[i].DeadWrite = time.Hour, time.Hour
		t.Cleanup(disks[i].wake)
	}
	return c, disks
}

// history collects operations for porcupine.
type history struct {
	clock atomic.Int64 // counts calls and returns, which is all that matters
	mu    sync.Mutex
	ops   []porcupine.Operation
}

// do makes an operation at a replica and notes it, unless it failed without
// effect. It returns the error.
func (h *history) do(l Log, client int, in registerOp, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	op := porcupine.Operation{ClientId: client, Input: in, Call: h.clock.Add(1)}
	out, err := doRegister(ctx, l, in)
	op.Output, op.Return = out, h.clock.Add(1)
	if in.write && errors.Is(err, tracker.ErrUncertain) {
		op.Return = math.MaxInt64 // at any time from now on, or never
	} else if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	return err
}

func (h *history) check(patience time.Duration) porcupine.CheckResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return porcupine.CheckOperationsTimeout(register, h.ops, patience)
}

// A leader that stood still while another was elected serves no read and
// commits nothing when it goes on. Without the check of the lease it does, and
// that is noticed.
func TestPausedLeader(t *testing.T) {
	t.Parallel()
	for _, trust := range []bool{false, true} {
		t.Run(fmt.Sprintf("trustStale=%v", trust), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) { pausedLeader(t, trust) })
		})
	}
}

func pausedLeader(t *testing.T, trust bool) {
	c, disks := hangingCluster(t, 300*time.Millisecond)
	for i := range c.cfgs {
		c.cfgs[i].trustStale = trust
	}
	c.startAll()
	h := &history{}
	key := fmt.Sprintf("%-16s", "x")
	i, old := c.leader()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.do(old, 0, registerOp{key: key, write: true, val: "1"}, 10*time.Second))
	must(h.do(old, 0, registerOp{key: key}, 10*time.Second))

	// Its main thread hangs in a write, so that it cannot step down, and
	// nothing goes in or out.
	c.isolate(i)
	disks[i].hang()
	defer disks[i].wake()
	lost := fmt.Sprintf("%-16s", "lost")
	inFlight := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := old.Propose(ctx, []byte(lost+"in flight"), false)
		inFlight <- err
	}()
	eventually(t, "the write hangs", func() bool { return old.voter.Load().guard.since.Load() != 0 })
	_, next := c.leader(old)
	must(h.do(next, 1, registerOp{key: key, write: true, val: "2"}, 10*time.Second))
	if term := old.voter.Load().serving.Load(); term == 0 {
		t.Fatal("the old leader knows, so the test shows nothing")
	}
	served := h.do(old, 2, registerOp{key: key}, time.Second) == nil
	res := h.check(time.Minute)
	if trust {
		if !served || res != porcupine.Illegal {
			t.Fatalf("without the lease's check: read served: %v, history: %v", served, res)
		}
		return
	}
	if served || res != porcupine.Ok {
		t.Fatalf("read served by a deposed leader: %v, history: %v", served, res)
	}
	// It goes on while it is still cut off, and then is back.
	disks[i].wake()
	if h.do(old, 2, registerOp{key: key}, 300*time.Millisecond) == nil {
		t.Fatal("a deposed leader served a read as it went on")
	}
	c.rejoin(i)
	if err := <-inFlight; err == nil {
		t.Fatal("a deposed leader committed")
	}
	must(h.do(next, 1, registerOp{key: key}, 10*time.Second))
	c.checkEqual()
	if got := c.lookup(lost); got != "" {
		t.Fatalf("what a deposed leader wrote is there: %q", got)
	}
	if res := h.check(time.Minute); res != porcupine.Ok {
		t.Fatal(res)
	}
}

// Reads and writes are linearizable while leaders are cut off, hang, hand over,
// are killed and come back.
func TestReplicaLinearizable(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strict=%v", strict), func(t *testing.T) {
			t.Parallel()
			h := &history{}
			bubble(t, func(t *testing.T) { harmed(t, strict, false, h) })
			if res := h.check(time.Minute); res != porcupine.Ok {
				t.Fatalf("%d operations: %v", len(h.ops), res)
			}
		})
	}
}

// Reads and writes are linearizable while members are removed and come back
// with empty disks, whoever leads.
func TestReplicaLinearizableMembers(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := &history{}
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
		c.net.latency = 2 * time.Millisecond
		c.startAll()
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for client := range 4 {
			wg.Go(func() { c.client(h, client, rand.New(rand.NewPCG(seed, uint64(client))), stop) })
		}
		for i := range 9 {
			i %= 3
			for err := error(tracker.ErrNotLeader); err != nil; {
				_, lead := c.leader()
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				_, err = lead.Remove(ctx, &RemoveRequest{Cluster: "test", ID: c.cfgs[i].ID})
				cancel()
				if err != nil && !errors.Is(err, tracker.ErrNotLeader) {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			c.stop(i)
			c.cfgs[i].FS = vfs.NewMem()
			c.start(i)
			c.ready()
		}
		close(stop)
		wg.Wait()
	})
	if res := h.check(time.Minute); res != porcupine.Ok {
		t.Fatalf("%d operations: %v", len(h.ops), res)
	}
	t.Logf("%d operations", len(h.ops))
}

// The harm is enough to notice a lease that is not checked.
func TestReplicaLinearizableMutant(t *testing.T) {
	t.Parallel()
	for range 5 {
		h := &history{}
		bubble(t, func(t *testing.T) { harmed(t, false, true, h) })
		if h.check(time.Minute) == porcupine.Illegal {
			return
		}
	}
	t.Fatal("stale reads were not noticed")
}

// harmed has clients write a history while harm is done.
func harmed(t *testing.T, strict, trust bool, h *history) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c, disks := hangingCluster(t, 250*time.Millisecond)
	c.net.latency = 4 * time.Millisecond
	for i := range c.cfgs {
		c.cfgs[i].Strict, c.cfgs[i].trustStale = strict, trust
	}
	c.startAll()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for client := range 6 {
		wg.Go(func() { c.client(h, client, rand.New(rand.NewPCG(seed, uint64(client))), stop) })
	}
	harm(c, disks, rand.New(rand.NewPCG(seed, 99)), 25*time.Second)
	close(stop)
	wg.Wait()
	var elections uint64
	for _, r := range c.running() {
		elections += r.Metrics().Elections
	}
	t.Logf("%d operations, %d elections and those of replicas that ended", len(h.ops), elections)
}

// client reads and writes at replicas it takes for the leader, and at others.
func (c *cluster) client(h *history, id int, rnd *rand.Rand, stop <-chan struct{}) {
	at := 0
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		all := c.running()
		r := all[at%len(all)]
		in := registerOp{key: fmt.Sprintf("%-16d", rnd.IntN(3)), write: rnd.IntN(10) < 2+4*(id%2), val: fmt.Sprintf("%d.%d", id, i)}
		err := errors.New("does not run")
		if r != nil {
			err = h.do(r, id, in, 400*time.Millisecond)
		}
		if err != nil || rnd.IntN(20) == 0 {
			at = rnd.IntN(len(all))
		}
		time.Sleep(time.Duration(1+rnd.IntN(20)) * time.Millisecond)
	}
}

// harm does one harm after another to whoever leads.
func harm(c *cluster, disks []hangFS, rnd *rand.Rand, long time.Duration) {
	pause := func(ms int) { time.Sleep(time.Duration(rnd.IntN(ms)) * time.Millisecond) }
	for begin := time.Now(); time.Since(begin) < long; {
		i, r := c.leader()
		pause(150) // the length of a reign
		switch rnd.IntN(5) {
		case 0:
			c.isolate(i)
			pause(900)
			c.rejoin(i)
		case 1: // its main thread stands still
			c.isolate(i)
			disks[i].hang()
			pause(1200)
			if rnd.IntN(2) == 0 {
				disks[i].wake()
				pause(50)
				c.rejoin(i)
			} else {
				c.rejoin(i)
				pause(50)
				disks[i].wake()
			}
		case 2:
			if v := r.voter.Load(); v != nil {
				r.handOver(v)
			}
		case 3:
			c.kill(i)
			pause(300)
			c.start(i)
		case 4: // one way around is left
			j := (i + 1 + rnd.IntN(2)) % 3
			c.net.cut(c.cfgs[i].Advertise, c.cfgs[j].Advertise)
			pause(900)
			c.net.mend(c.cfgs[i].Advertise, c.cfgs[j].Advertise)
		}
	}
}
