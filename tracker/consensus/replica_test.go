package consensus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"holdfast/tracker"
)

func checkSame(t testing.TB, lead *Replica, all []*Replica) {
	t.Helper()
	lv := lead.voter.Load()
	target := lv.fsm.applied.Load()
	for _, r := range all {
		if r == nil || r.voter.Load() == nil || r.voter.Load().isDead() {
			continue
		}
		v := r.voter.Load()
		eventually(t, "replicas are equal", func() bool { return v.fsm.applied.Load() >= target })
		if d := cmp.Diff(dump(t, lv), dump(t, v)); d != "" {
			t.Fatalf("replica %s differs from %s: %s", v.ID, lv.ID, d)
		}
	}
}

// A group comes up from empty directories, over TCP as over memory, serves,
// and comes up again.
func TestReplicaBringUp(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3, 5} {
		for _, tcp := range []bool{false, true} {
			t.Run(fmt.Sprintf("replicas=%d/tcp=%v", n, tcp), func(t *testing.T) {
				t.Parallel()
				if tcp {
					bringUp(t, n, true)
				} else {
					bubble(t, func(t *testing.T) { bringUp(t, n, false) })
				}
			})
		}
	}
}

func bringUp(t *testing.T, n int, tcp bool) {
	fs := vfs.NewMem()
	c := newCluster(t, n, oneFS(fs))
	if tcp {
		overLoopback(t, c)
	}
	begin := time.Now()
	c.startAll()
	t.Logf("bring-up took %v", time.Since(begin))
	c.fill("a", 30)
	c.checkFilled("a", 30)
	c.checkEqual()
	for i, r := range c.running() {
		eventually(t, "the leader is known", func() bool {
			id, addr, ok := r.Leader()
			lead, _ := c.leader()
			return ok && id == c.cfgs[lead].ID && addr == c.cfgs[lead].Advertise
		})
		if st := r.Status(); len(st.Members) != n || st.Leader == "" || st.Trouble != "" {
			t.Errorf("status of replica %d: %+v", i, st)
		}
	}
	_, lead := c.leader()
	for _, r := range c.running() {
		if r == lead {
			continue
		}
		if _, err := r.Propose(t.Context(), []byte("x"), false); !errors.Is(err, tracker.ErrNotLeader) {
			t.Errorf("propose at a follower: %v", err)
		}
		if _, _, err := r.Read(t.Context()); !errors.Is(err, tracker.ErrNotLeader) {
			t.Errorf("read at a follower: %v", err)
		}
	}
	for i := range c.cfgs {
		c.stop(i)
	}
	if tcp {
		overLoopback(t, c)
	}
	begin = time.Now()
	c.startAll()
	c.leader()
	t.Logf("restart of all took %v", time.Since(begin))
	c.checkFilled("a", 30)
	c.fill("b", 5)
	c.checkEqual()
}

// Writes go on within 5 s when the leader is killed, and each replica can be
// restarted.
func TestReplicaLeaderKill(t *testing.T) {
	t.Parallel()
	bubble(t, leaderKill)
}

func leaderKill(t *testing.T) {
	c := newCluster(t, 3, func(int) vfs.FS { return vfs.NewMem() }).startAll()
	c.fill("a", 20)
	for round := range 3 {
		i, _ := c.leader()
		begin := time.Now()
		c.kill(i)
		c.fill(fmt.Sprintf("b%d", round), 1)
		took := time.Since(begin)
		t.Logf("wrote again after %v", took)
		if took > 5*time.Second {
			t.Errorf("writes stood still for %v", took)
		}
		c.fill(fmt.Sprintf("c%d", round), 10)
		c.start(i)
		c.ready()
		c.checkEqual()
	}
	for i := range c.cfgs {
		c.stop(i)
		c.fill(fmt.Sprintf("d%d", i), 5)
		c.start(i)
		c.ready()
	}
	c.checkFilled("a", 20)
	for round := range 3 {
		c.checkFilled(fmt.Sprintf("b%d", round), 1)
		c.checkFilled(fmt.Sprintf("c%d", round), 10)
		c.checkFilled(fmt.Sprintf("d%d", round), 5)
	}
	c.checkEqual()
}
