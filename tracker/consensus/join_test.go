package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"holdfast/tracker"
	"holdfast/tracker/consensus/raftlog"
	"holdfast/tracker/kv"
)

// alone has replica i know no other, so that it begins a group at once.
func (c *cluster) alone(i int) {
	c.cfgs[i].Members = c.cfgs[i].Members[i : i+1]
	c.cfgs[i].Bootstrap = true
}

// flush takes a snapshot at a replica, and so makes a table of its state.
func flush(t testing.TB, r *Replica) {
	t.Helper()
	v := r.voter.Load()
	if err := v.wait(v.raft.Snapshot()); err != nil {
		t.Fatal(err)
	}
}

// write keeps proposing until stop is closed; it returns what was acknowledged.
func (c *cluster) write(prefix string, stop <-chan struct{}) (acked func() []string) {
	var mu sync.Mutex
	var keys []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			key := fmt.Sprintf("%s.%d", prefix, i)
			if err := c.propose(key); err != nil {
				c.t.Errorf("propose: %v", err)
				return
			}
			mu.Lock()
			keys = append(keys, key)
			mu.Unlock()
		}
	})
	return func() []string {
		wg.Wait()
		return keys
	}
}

func (c *cluster) checkKeys(keys []string) {
	c.t.Helper()
	for _, key := range keys {
		if got := c.lookup(key); got != key {
			c.t.Fatalf("acknowledged %q is %q", key, got)
		}
	}
}

// Replicas join a group that is written to, one by one, and then any one may go.
func TestReplicaJoinUnderWrites(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
		c.alone(0)
		c.start(0)
		c.fill("a", 200)
		flush(t, c.running()[0])
		stop := make(chan struct{})
		acked := c.write("w", stop)
		for i := 1; i < 3; i++ {
			time.Sleep(50 * time.Millisecond)
			c.start(i)
			c.ready()
			if n := c.running()[i].voter.Load().snaps.next.Load(); n != 0 {
				t.Errorf("replica %d took over a state in band", i)
			}
		}
		for i := range 3 {
			c.kill(i)
			time.Sleep(3 * time.Second)
			c.start(i)
			c.ready()
		}
		close(stop)
		c.checkKeys(acked())
		c.checkFilled("a", 200)
		c.checkEqual()
	})
}

// A replica that is killed while it is seeded, at any call it makes, goes on at
// its next start, and copies again only what it does not have.
func TestReplicaJoinKilled(t *testing.T) {
	t.Parallel()
	for point := 0; ; point++ {
		done := false
		bubble(t, func(t *testing.T) { done = joinKilled(t, point) })
		if t.Failed() {
			t.Fatalf("killed at call %d", point)
		}
		if done {
			t.Logf("killed at %d calls", point)
			return
		}
	}
}

// joinKilled reports whether the seeding was over before it made so many calls.
func joinKilled(t *testing.T, point int) bool {
	disk := vfs.NewCrashableMem()
	c := newCluster(t, 2, func(i int) vfs.FS {
		if i == 0 {
			return vfs.NewMem()
		}
		return disk
	})
	c.alone(0)
	src := c.start(0)
	for i := range 3 { // tables of their own
		c.fill(fmt.Sprint("part", i), 30)
		flush(t, src)
	}
	var mu sync.Mutex
	calls, reads := 0, 0
	reached, over := make(chan string, 1), false
	c.net.onCall = func(ctx context.Context, from, _, method string) {
		mu.Lock()
		if from == addrOf(1) && method == "ReadFile" {
			reads++
		}
		stop := false
		if from == addrOf(1) && !over && method != "State" && method != "Ping" {
			stop = calls == point
			calls++
		}
		mu.Unlock()
		if stop {
			reached <- method
			<-ctx.Done() // it is killed now
		}
	}
	joiner := c.start(1)
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if joiner.Ready(ctx) == nil {
			time.Sleep(time.Second) // what it holds is released
		}
	}()
	var method string
	select {
	case method = <-reached:
	case <-joined:
		c.checkEqual()
		return true
	}
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	mu.Lock()
	over = true
	before := reads
	mu.Unlock()
	c.kill(1)
	<-joined
	c.cfgs[1].FS = crashed
	c.start(1)
	c.ready()
	for i := range 3 {
		c.checkFilled(fmt.Sprint("part", i), 30)
	}
	c.fill("after", 5)
	c.checkEqual()
	if conf, _ := c.running()[1].others.members(); len(conf) != 2 {
		t.Fatalf("killed at %s: members %+v", method, conf)
	}
	mu.Lock()
	defer mu.Unlock()
	if method == "Join" && reads != before {
		t.Fatalf("killed when it joined, it copied again")
	}
	t.Logf("killed at call %d, %s: %d ranges were read before, %d after", point, method, before, reads-before)
	if names, err := crashed.List(c.cfgs[1].Dir); err != nil || len(names) != 2 {
		t.Fatalf("left in the directory: %v (%v)", names, err)
	}
	return false
}

// A source that cannot be reached for longer than it keeps its checkpoint is
// asked for another, and what did not change is not copied again.
func TestReplicaSeedExpires(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(int) vfs.FS { return vfs.NewMem() })
		c.alone(0)
		src := c.start(0)
		for i := range 3 {
			c.fill(fmt.Sprint("part", i), 30)
			flush(t, src)
		}
		var mu sync.Mutex
		got := map[string]int{}
		cut := false
		c.net.onCall = func(_ context.Context, from, to, method string) {
			mu.Lock()
			defer mu.Unlock()
			if from != addrOf(1) {
				return
			}
			got[method]++
			if method == "SumFile" && got[method] == 3 && !cut { // two files are whole
				cut = true
				c.net.cut(from, to)
			}
		}
		c.start(1)
		eventually(t, "the way is cut", func() bool { mu.Lock(); defer mu.Unlock(); return cut })
		time.Sleep(2 * HoldTime)
		src.lent.mu.Lock()
		held := len(src.lent.held)
		src.lent.mu.Unlock()
		if held != 0 {
			t.Fatalf("%d are still held", held)
		}
		if names, _ := c.cfgs[0].FS.List(c.cfgs[0].Dir); len(names) != 2 {
			t.Fatalf("the source's directory holds %v", names)
		}
		c.net.mend(addrOf(0), addrOf(1))
		c.ready()
		c.checkEqual()
		mu.Lock()
		defer mu.Unlock()
		if got["Checkpoint"] < 2 {
			t.Fatalf("calls: %v", got)
		}
		t.Logf("calls: %v", got)
	})
}

// A replica whose disk was emptied comes back as another server, whoever it
// was, and never begins a second catalog.
func TestReplicaEmptied(t *testing.T) {
	t.Parallel()
	for lost := range 3 {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
				c.fill("a", 50)
				before := c.running()[lost].voter.Load().server
				for i := range 3 {
					c.stop(i)
				}
				c.cfgs[lost].FS = vfs.NewMem()
				c.cfgs[lost].Bootstrap = true // set for ever
				r := c.start(lost)
				time.Sleep(time.Minute)
				if st := r.Status(); len(st.Members) != 0 || st.Trouble == "" {
					t.Fatalf("an emptied replica whose peers are down: %+v", st)
				}
				if _, err := r.Propose(t.Context(), []byte("x"), false); !errors.Is(err, tracker.ErrUnavailable) {
					t.Fatalf("propose at an empty replica: %v", err)
				}
				for i := range 3 {
					if i != lost {
						c.start(i)
					}
				}
				c.ready()
				v := r.voter.Load()
				if v.server == before {
					t.Fatal("it took its old name")
				}
				c.checkFilled("a", 50)
				c.fill("b", 5)
				c.checkEqual()
				if conf, _ := r.others.members(); len(conf) != 3 {
					t.Fatalf("members: %+v", conf)
				}
				// It counts: another may go.
				c.kill((lost + 1) % 3)
				c.fill("c", 5)
			})
		})
	}
}

// Where several were told to begin, the one with the lowest ID does, whatever
// the order in which they start and restart, and nobody else.
func TestReplicaBootstrapAtAll(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 0))
				c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
				for i := range 3 {
					c.cfgs[i].Bootstrap = true
				}
				for _, i := range rnd.Perm(3) {
					c.start(i)
					time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
				}
				for range rnd.IntN(4) {
					i := rnd.IntN(3)
					c.stop(i)
					time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
					c.start(i)
					time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
				}
				c.ready()
				c.fill("a", 5)
				c.checkEqual()
			})
		})
	}
}

// One that left the beginning to another takes it up again when that one is
// not told any more.
func TestReplicaBootstrapLeft(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
		c.cfgs[2].Bootstrap = true
		low := c.start(0)
		high := c.start(2)
		time.Sleep(time.Minute)
		if low.voter.Load() != nil || high.voter.Load() != nil {
			t.Fatal("began without the word of every other")
		}
		high.yields.Store(true) // as after a word of the lower one, which then lost its flag
		c.stop(0)
		c.cfgs[0].Bootstrap = false
		c.start(0)
		c.start(1)
		c.ready()
		c.fill("a", 5)
		c.checkEqual()
	})
}

// A catalog is begun by one replica, once every other has answered that it has none.
func TestReplicaBootstrap(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() })
		a := c.start(0)
		c.start(1)
		time.Sleep(time.Minute)
		if a.voter.Load() != nil {
			t.Fatal("it began without the word of every other")
		}
		c.start(2)
		c.ready()
		c.fill("a", 5)
		c.checkEqual()
		// One that lost the only whole copy while others copied it does not
		// begin another.
		for i := range 3 {
			c.stop(i)
			c.cfgs[i].FS = vfs.NewMem()
		}
		if err := makeDir(c.cfgs[1].FS, c.cfgs[1].Dir+"/seed/files"); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			c.start(i)
		}
		time.Sleep(time.Minute)
		if st := c.running()[0].Status(); len(st.Members) != 0 || !strings.Contains(st.Trouble, "unfinished copy") {
			t.Fatalf("it began a catalog while others hold unfinished copies: %+v", st)
		}
		cfg := c.cfgs[1]
		c.stop(1)
		cfg.Members, cfg.Bootstrap, cfg.Listener = cfg.Members[1:2], true, c.net.listen("other:1")
		if r, err := OpenReplica(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "unfinished copy") {
			_ = r.Close()
			t.Fatalf("began a catalog over an unfinished copy: %v", err)
		}
		// One that knows nobody and may not begin is refused.
		cfg = c.cfgs[0]
		cfg.FS, cfg.Members, cfg.Bootstrap, cfg.Listener = vfs.NewMem(), cfg.Members[:1], false, c.net.listen("other:1")
		if r, err := OpenReplica(t.Context(), cfg); err == nil {
			_ = r.Close()
			t.Fatal("opened an empty directory with nobody to ask")
		}
		// Another cluster's is no source and no member.
		cfg = c.cfgs[0]
		cfg.ID, cfg.FS, cfg.Bootstrap, cfg.ClusterID = "t9", vfs.NewMem(), false, "other"
		cfg.Listener, cfg.Advertise = c.net.listen("other:1"), "other:1"
		cfg.Dial, cfg.Peer = c.net.dialer("other:1"), c.net.peer("other:1")
		r, err := OpenReplica(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if st := r.Status(); r.voter.Load() != nil || !strings.Contains(st.Trouble, "another cluster") {
			t.Errorf("a replica of another cluster: %+v", st)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A tracker's ID that is in use is not given to another.
func TestReplicaTwin(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
		cfg := c.cfgs[1]
		cfg.FS, cfg.Advertise, cfg.Listener = vfs.NewMem(), "twin:1", c.net.listen("twin:1")
		cfg.Dial, cfg.Peer = c.net.dialer("twin:1"), c.net.peer("twin:1")
		r, err := OpenReplica(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		time.Sleep(30 * time.Second)
		if st := r.Status(); !strings.Contains(st.Trouble, "runs at") {
			t.Errorf("a twin: %+v", st)
		}
		c.fill("a", 5)
		c.checkEqual()
	})
}

// A replica that is started under another address has the group know it.
func TestReplicaMoves(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
		for i := range 3 {
			c.stop(i)
			addr := fmt.Sprintf("moved%d:1", i)
			c.cfgs[i].Advertise, c.cfgs[i].Dial, c.cfgs[i].Peer = addr, c.net.dialer(addr), c.net.peer(addr)
			c.start(i)
			eventually(t, "the address is known", func() bool {
				for _, r := range c.running() {
					conf, _ := r.others.members()
					if len(conf) != 3 || !strings.Contains(fmt.Sprint(conf), addr) {
						return false
					}
				}
				return true
			})
			c.fill(fmt.Sprint(i), 5)
		}
		c.checkEqual()
	})
}

// Members are removed while they run, while they are down, and while they
// lead; a removed one stops and says why.
func TestReplicaRemove(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 5, func(int) vfs.FS { return vfs.NewMem() }).startAll()
		c.fill("a", 20)
		remove := func(id string) error {
			deadline := time.Now().Add(20 * time.Second)
			for {
				_, lead := c.leader()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				_, err := lead.Remove(ctx, &RemoveRequest{Cluster: "test", ID: id})
				cancel()
				if !errors.Is(err, tracker.ErrNotLeader) || time.Now().After(deadline) {
					return err
				}
			}
		}
		stopped := func(i int) {
			t.Helper()
			eventually(t, "the removed one stops", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return errors.Is(c.stopped[c.cfgs[i].ID], ErrRemoved)
			})
		}
		if err := remove("nobody"); !errors.Is(err, tracker.ErrNoSuchTracker) {
			t.Fatal(err)
		}
		lead, _ := c.leader()
		follower, down := (lead+1)%5, (lead+2)%5
		if err := remove(c.cfgs[follower].ID); err != nil {
			t.Fatal(err)
		}
		stopped(follower)
		c.stop(follower)

		c.kill(down)
		if err := remove(c.cfgs[down].ID); err != nil {
			t.Fatal(err)
		}
		c.start(down)
		stopped(down)
		c.stop(down)

		lead, _ = c.leader()
		_, r := c.leader()
		if _, err := r.Remove(t.Context(), &RemoveRequest{Cluster: "test", ID: c.cfgs[lead].ID}); err != nil {
			t.Fatal(err)
		}
		stopped(lead)
		c.stop(lead)
		c.fill("b", 20)
		c.checkFilled("a", 20)
		c.checkEqual()

		// Of two, the one that runs cannot go while the other is down.
		var left []int
		for i, r := range c.running() {
			if r != nil {
				left = append(left, i)
			}
		}
		if len(left) != 2 {
			t.Fatal(left)
		}
		lead, _ = c.leader()
		other := left[0] + left[1] - lead
		if err := remove(c.cfgs[other].ID); err != nil {
			t.Fatal(err)
		}
		stopped(other)
		c.fill("c", 5)
		if err := remove(c.cfgs[lead].ID); !errors.Is(err, tracker.ErrConflict) {
			t.Fatalf("the last voter: %v", err)
		}
		// Once it was emptied, a removed one joins again.
		c.stop(other)
		c.cfgs[other].FS = vfs.NewMem()
		c.start(other)
		c.ready()
		c.checkEqual()
		// Of three with one down, only that one can be removed.
		third := 0
		for third == lead || third == other {
			third++
		}
		c.stop(third)
		c.cfgs[third].FS = vfs.NewMem()
		c.start(third)
		c.ready()
		c.kill(third)
		lead, _ = c.leader()
		other = left[0] + left[1] - lead
		for _, i := range []int{lead, other} {
			if err := remove(c.cfgs[i].ID); !errors.Is(err, tracker.ErrUnavailable) {
				t.Fatalf("one of two voters that are needed: %v", err)
			}
		}
		if err := remove(c.cfgs[third].ID); err != nil {
			t.Fatal(err)
		}
		c.fill("d", 5)
	})
}

// What a copy says that is looked at does not become less because its process
// was started again and ended after the first entries of a new leader, who had
// nothing to say yet of what is committed.
func TestReplicaInspectRestarted(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
		c.fill("a", 20)
		c.checkEqual()
		for i := range 3 {
			c.kill(i)
		}
		for i := range 3 {
			cfg := c.cfgs[i]
			inspect := func() (seen *Copy) {
				t.Helper()
				var last []byte
				seen, err := InspectReplica(cfg, func(r kv.Reader) (err error) {
					last, _, err = r.Get([]byte("ka.19"), nil)
					return err
				})
				if err != nil || !strings.HasSuffix(string(last), "a.19") {
					t.Fatalf("replica %d: %+v, %v; the last but one command set %q", i, seen, err, last)
				}
				return seen
			}
			before := inspect()
			log, err := raftlog.Open(cfg.FS, cfg.FS.PathJoin(cfg.Dir, "log"), raftlog.Options{Options: kv.Options{MustExist: true}})
			if err != nil {
				t.Fatal(err)
			}
			first := &raft.Log{Index: before.Index + 1, Term: before.Term + 1, Type: raft.LogNoop}
			if err := errors.Join(log.StageCommitIndex(0), log.StoreLog(first), log.Close()); err != nil {
				t.Fatal(err)
			}
			if after := inspect(); after.Index != first.Index || after.Term != first.Term {
				t.Fatalf("replica %d: %+v after %+v", i, after, before)
			}
		}
	})
}

// A group whose majority is lost goes on with one; the others are left out
// until they are emptied.
func TestReplicaRecover(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
		c.fill("a", 20)
		c.checkEqual()
		for i := range 3 {
			c.stop(i)
		}
		seen, err := InspectReplica(ReplicaConfig{Voter: Voter{FS: c.cfgs[1].FS, Dir: c.cfgs[1].Dir}, Machine: c.cfgs[1].Machine}, nil)
		if err != nil || seen.ID != c.cfgs[1].ID || seen.Cluster != c.cfgs[1].ClusterID || seen.Recovery != 0 || seen.Index < 20 || len(seen.Members) != 3 {
			t.Fatalf("%+v, %v", seen, err)
		}
		if _, err := InspectReplica(ReplicaConfig{Voter: Voter{FS: vfs.NewMem(), Dir: "/empty"}, Machine: c.cfgs[1].Machine}, nil); !errors.Is(err, ErrNoCopy) {
			t.Fatalf("an empty directory: %v", err)
		}
		applied, err := RecoverReplica(c.cfgs[1])
		if err != nil || applied < 20 {
			t.Fatal(applied, err)
		}
		if again, err := InspectReplica(c.cfgs[1], nil); err != nil || again.Recovery>>32 != 1 || again.Index != seen.Index || len(again.Members) != 1 {
			t.Fatalf("%+v, %v", again, err)
		}
		c.start(1)
		c.ready()
		c.checkFilled("a", 20)
		c.fill("b", 20)
		// The others are a majority of what they know.
		c.start(0)
		c.start(2)
		for _, i := range []int{0, 2} {
			eventually(t, "one that was left out stops", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return errors.Is(c.stopped[c.cfgs[i].ID], ErrLeftOut)
			})
			c.stop(i)
		}
		c.fill("c", 20)
		for _, i := range []int{0, 2} {
			c.cfgs[i].FS = vfs.NewMem()
			c.start(i)
			c.ready()
		}
		c.kill(1)
		c.fill("d", 5)
		for _, p := range []string{"a", "b", "c"} {
			c.checkFilled(p, 20)
		}
		c.checkEqual()
	})
}

// Two replicas recovered one beside the other do not both serve: both end, and
// the one that is recovered again goes on.
func TestReplicasRecoveredApart(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
		c.fill("a", 20)
		c.checkEqual()
		for i := range 3 {
			c.stop(i)
		}
		ended := func(i int, want error) {
			t.Helper()
			eventually(t, "it stops", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return errors.Is(c.stopped[c.cfgs[i].ID], want)
			})
			c.stop(i)
		}
		for i := range 2 {
			if _, err := RecoverReplica(c.cfgs[i]); err != nil {
				t.Fatal(err)
			}
		}
		c.start(0)
		c.start(1)
		ended(0, ErrApart)
		ended(1, ErrApart)
		if _, err := RecoverReplica(c.cfgs[1]); err != nil {
			t.Fatal(err)
		}
		c.start(1)
		c.ready()
		c.checkFilled("a", 20)
		c.start(0)
		ended(0, ErrLeftOut)
		c.fill("b", 5)
	})
}
