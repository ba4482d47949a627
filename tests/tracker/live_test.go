package tracker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/storage/memory"
	"holdfast/tracker"
	"holdfast/tracker/catalog/catalogtest"
	"holdfast/tracker/service"
	"holdfast/tracker/worker"
)

// TestLive runs service and workers as a server does, under virtual time: a
// node falls silent and comes back, is replaced, and a quiet hour costs the
// log no more than catalog time does.
func TestLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := catalogtest.New(t)
		fl := &fleet{nodes: map[storage.NodeID]*memory.Node{}}
		cat := service.NewCatalog(log, clock.System{})
		svc, err := service.New(service.Default(), cat, cat, cat, fl, clock.System{}, zerolog.Nop())
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(err)
		svc.Watch(func(m *tracker.Map) {
			for _, n := range m.Nodes {
				if f, err := fl.Shards(n.ID); err == nil {
					f.(*memory.Node).SetEpoch(n.Epoch)
				}
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		g, err := svc.RegisterGroup(ctx, tracker.Group{Name: "default", Scheme: erasure.Replicated(2)})
		must(err)
		add := func() storage.NodeID {
			n, err := svc.RegisterNode(ctx, tracker.Node{Group: g.ID})
			must(err)
			fl.mu.Lock()
			defer fl.mu.Unlock()
			fl.nodes[n.ID] = memory.New(n.ID, fl)
			return n.ID
		}
		for range 3 {
			add()
		}
		w, err := worker.New(worker.Default(), svc, worker.NewStore(cat, worker.DefaultRetention()), fl, clock.System{}, zerolog.Nop())
		must(err)
		svc.SetOperations(service.Operations{Progress: w.Progress})
		done := make(chan error, 2)
		go func() { done <- svc.Run(ctx) }()
		go func() { done <- w.Run(ctx) }()
		states := func() (out [4]tracker.NodeState) {
			m, err := svc.Map(ctx)
			must(err)
			for i, n := range m.Nodes {
				out[i] = n.State
			}
			return out
		}
		time.Sleep(5 * time.Minute)
		before := log.Index()
		time.Sleep(time.Hour)
		if n := log.Index() - before; n > 150 {
			t.Errorf("a quiet hour wrote %d entries", n)
		} else {
			t.Logf("a quiet hour wrote %d entries", n)
		}
		const act = tracker.NodeActive
		if s := states(); s != [4]tracker.NodeState{act, act, act} {
			t.Error(s)
		}
		fl.nodes[2].SetOffline(true)
		time.Sleep(2 * time.Minute)
		if s := states(); s[1] != tracker.NodeDown {
			t.Error(s)
		}
		fl.nodes[2].SetOffline(false)
		time.Sleep(10 * time.Second)
		if s := states(); s[1] != act {
			t.Error(s)
		}
		st, err := svc.Status(ctx)
		if err != nil || st.BlobsBelow != 0 || len(st.Queues) != 6 || st.Fence == 0 || st.Map.Nodes[0].Load.Total == 0 {
			t.Errorf("%+v %v", st, err)
		}
		cancel()
		for range 2 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}
