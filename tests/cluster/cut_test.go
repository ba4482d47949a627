package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/cmd/cluster"
	"holdfast/storage"
	"holdfast/tests/harness"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/worker"
)

// moment is where a tracker that moves shards is cut off.
type moment struct {
	step string // copy, verify, switch, drop, or forget (of the garbage's row)
	when string // before, amid or after
}

// saw cuts trackers off at the moment it is set to.
type saw struct {
	mu  sync.Mutex
	at  moment
	set bool
	hit chan string // the tracker that was cut off
}

func (s *saw) arm(m moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.set = m, true
}

// gate stands between a tracker's workers, from one start of it to its end,
// and what they act on. Once cut off it lets nothing pass.
type gate struct {
	saw  *saw
	name string
	mu   sync.Mutex
	dead bool
	made map[storage.ShardID]bool // by a rebuild: asking for it then verifies it
}

var errCutOff = errors.New("the tracker was cut off")

// pass lets do act, unless the tracker was cut off before, or is now.
func (g *gate) pass(ctx context.Context, step string, do func(context.Context) error) error {
	g.mu.Lock()
	dead := g.dead
	g.mu.Unlock()
	if dead {
		return errCutOff
	}
	g.saw.mu.Lock()
	cut := g.saw.set && g.saw.at.step == step
	when := g.saw.at.when
	if cut {
		g.saw.set = false
	}
	g.saw.mu.Unlock()
	if !cut {
		err := do(ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.dead {
			return errCutOff // its answer comes too late
		}
		return err
	}
	g.mu.Lock()
	g.dead = true
	g.mu.Unlock()
	switch when {
	case "amid":
		ctx, cancel := context.WithTimeout(ctx, 3*time.Millisecond)
		_ = do(ctx)
		cancel()
	case "after":
		_ = do(ctx)
	}
	g.saw.hit <- g.name
	return errCutOff
}

// gatedNodes and gatedStore are what the workers act on, behind a gate.
type gatedNodes struct {
	storage.Nodes
	g *gate
}

func (n gatedNodes) Shards(id storage.NodeID) (storage.Shards, error) {
	s, err := n.Nodes.Shards(id)
	if err != nil {
		return nil, err
	}
	return gatedShards{s, n.g}, nil
}

type gatedShards struct {
	storage.Shards
	g *gate
}

func (s gatedShards) Rebuild(ctx context.Context, r *storage.Rebuild) (seal storage.Seal, err error) {
	s.g.mu.Lock()
	s.g.made[r.Target] = true
	s.g.mu.Unlock()
	return seal, s.g.pass(ctx, "copy", func(ctx context.Context) error {
		seal, err = s.Shards.Rebuild(ctx, r)
		return err
	})
}

func (s gatedShards) Stat(ctx context.Context, id storage.ShardID) (info storage.ShardInfo, err error) {
	s.g.mu.Lock()
	step := "ask"
	if s.g.made[id] {
		step = "verify"
	}
	s.g.mu.Unlock()
	return info, s.g.pass(ctx, step, func(ctx context.Context) error {
		info, err = s.Shards.Stat(ctx, id)
		return err
	})
}

func (s gatedShards) Delete(ctx context.Context, ids []storage.ShardID) error {
	return s.g.pass(ctx, "drop", func(ctx context.Context) error { return s.Shards.Delete(ctx, ids) })
}

func (s gatedShards) Disown(ctx context.Context, ids []storage.ShardID, now time.Time) error {
	return s.g.pass(ctx, "disown", func(ctx context.Context) error { return s.Shards.Disown(ctx, ids, now) })
}

type gatedStore struct {
	worker.Store
	g *gate
}

func (s gatedStore) Switch(ctx context.Context, sw *worker.Switch) error {
	return s.g.pass(ctx, "switch", func(ctx context.Context) error { return s.Store.Switch(ctx, sw) })
}

func (s gatedStore) DropGarbage(ctx context.Context, upTo catalog.GarbageID) error {
	return s.g.pass(ctx, "forget", func(ctx context.Context) error { return s.Store.DropGarbage(ctx, upTo) })
}

// TestRepairCutOff drains a node and cuts the tracker that leads off at each
// step of moving a shard, before it, amid the copy, and after it when the
// answer is lost, one after the other, over nodes and a catalog across the
// network, while clients write. Whoever leads next goes on: nothing is lost,
// and the drained node ends empty.
func TestRepairCutOff(t *testing.T) {
	lengthy(t)
	s := &saw{hit: make(chan string, 1)}
	r := harness.StartRoles(t, harness.RolesOptions{
		Groups: []harness.GroupSpec{{Name: "default", Scheme: "rs-2+2", Nodes: 6}},
		Tracker: func(name string, c *cluster.TrackerConfig) {
			g := &gate{saw: s, name: name, made: map[storage.ShardID]bool{}}
			c.Tune.Grace, c.Tune.HoleDelay = 200*time.Millisecond, time.Second
			c.Between = cluster.Between{
				Nodes: func(n storage.Nodes) storage.Nodes { return gatedNodes{n, g} },
				Store: func(st worker.Store) worker.Store { return gatedStore{st, g} },
			}
		}})
	raw := r.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	content := func(i int) []byte { return body(fmt.Sprint(i), 100_000+i%4*700_000) }
	const objects = 80
	for i := range objects {
		raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", fmt.Sprint(i)), "", content(i))
	}
	l := rolesLoad(t, r, 2, "STANDARD")
	l.enter("trackers cut off amid repair")
	moments := []moment{
		{"copy", "before"}, {"copy", "amid"}, {"copy", "after"}, {"verify", "before"}, {"verify", "after"},
		{"switch", "before"}, {"switch", "after"}, {"drop", "before"}, {"drop", "after"}, {"forget", "before"}, {"forget", "after"},
	}
	s.arm(moments[0])
	sick := nodeBy(t, r.Status, r.Role("default1").Addr)
	drain(t, r, sick.ID)
	for i, m := range moments {
		var name string
		select {
		case name = <-s.hit:
		case <-time.After(time.Minute):
			t.Fatalf("no tracker came to %s a %s within a minute", m.when, m.step)
		}
		if i+1 < len(moments) {
			s.arm(moments[i+1])
		}
		r.Role(name).Stop()
		t.Logf("%s was cut off %s a %s", name, m.when, m.step)
		r.Leader() // another one
		r.Role(name).Start()
	}
	l.end()
	settledBy(t, r.Status)
	harness.Until(t, time.Minute, "nothing is left on the drained node", func() bool {
		st, err := r.Status()
		if err != nil {
			return false
		}
		for _, n := range st.Map.Nodes {
			if n.ID == sick.ID {
				return n.State == tracker.NodeDraining && n.Load.Used == 0
			}
		}
		return false
	})
	for i := range objects {
		if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", fmt.Sprint(i)), "", nil); !bytes.Equal(a.Body, content(i)) {
			t.Errorf("object %d has other bytes", i)
		}
	}
	rolesCensus(t, r, "bucket")
	rolesCensus(t, r, "load")
}

// drain has the tracker that leads drain a node.
func drain(t *testing.T, r *harness.Roles, id storage.NodeID) {
	t.Helper()
	harness.Until(t, 30*time.Second, "the node is drained from", func() bool {
		tr := r.Leader().Tracker()
		return tr != nil && tr.Service().SetNodeState(t.Context(), id, tracker.NodeDraining) == nil
	})
}

// nodeBy is the node of an address.
func nodeBy(t *testing.T, status asked, addr string) (node tracker.Node) {
	t.Helper()
	harness.Until(t, 30*time.Second, "the node is known", func() bool {
		st, err := status()
		if err != nil {
			return false
		}
		for _, n := range st.Map.Nodes {
			if n.Addr == addr {
				node = n
				return true
			}
		}
		return false
	})
	return node
}
