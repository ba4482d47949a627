package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	r := newRig(t, 6, "rs-4+2", func(c *Config) { c.SignTickets, c.TicketKey, c.Home = true, key, 3 })
	writes := r.rows.mu.writes
	seen := map[storage.BlobID]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				g, err := r.Place(t.Context(), &tracker.PlaceRequest{Size: 1 << 20})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[g.Blob] || g.Blob.Home() != 3 || g.Blob.Group() != 1 || len(g.Shards) != 6 || !g.Ticket.Signed(key) {
					t.Errorf("bad grant %+v", g)
				}
				seen[g.Blob] = true
				mu.Unlock()
				for _, p := range g.Shards {
					if err := g.Ticket.Names(g.Blob, storage.OpWrite, p.Node, 1); err != nil {
						t.Error(err)
					}
				}
				if g.Ticket.Expiry != begin.Add(24*time.Hour).UnixMilli() {
					t.Errorf("expiry %d", g.Ticket.Expiry)
				}
			}
		})
	}
	wg.Wait()
	if r.rows.mu.writes != writes {
		t.Error("a grant wrote to the catalog")
	}
	r.lead.term.Store(0)
	if _, err := r.Place(t.Context(), &tracker.PlaceRequest{}); !errors.Is(err, tracker.ErrNotLeader) {
		t.Error(err)
	}
}

// TestPlaceWaitsForAnElection asks for a place while no copy leads.
func TestPlaceWaitsForAnElection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "rep-3", nil)
	r.lead.term.Store(0)
	r.rows.reading = func() { r.lead.term.Store(7) }
	g, err := r.Place(t.Context(), &tracker.PlaceRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.lead.term.Store(0)
	if _, err := r.Renew(t.Context(), &g.Ticket); err != nil {
		t.Error(err)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "rep-3", func(c *Config) { c.SignTickets, c.TicketKey = true, make([]byte, 32) })
	if err := r.Raise(t.Context()); err != nil {
		t.Fatal(err)
	}
	g, err := r.Place(t.Context(), &tracker.PlaceRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.man.Advance(time.Hour)
	n, err := r.Renew(t.Context(), &g.Ticket)
	if err != nil || n.Expiry != g.Ticket.Expiry+time.Hour.Milliseconds() || !n.Signed(r.cfg.TicketKey) {
		t.Fatal(n, err)
	}
	forged := *n
	forged.Expiry++
	if _, err = r.Renew(t.Context(), &forged); !errors.Is(err, storage.ErrTicket) {
		t.Error("forged:", err)
	}
	if err := r.SetNodeState(t.Context(), 2, tracker.NodeDown); err != nil {
		t.Fatal(err)
	}
	if _, err = r.Renew(t.Context(), n); !errors.Is(err, storage.ErrStaleEpoch) {
		t.Error("stale:", err)
	}
	r.man.Advance(25 * time.Hour)
	if _, err = r.Renew(t.Context(), n); !errors.Is(err, storage.ErrTicket) {
		t.Error("expired:", err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "rep-2", nil)
	var epochs [][]uint32
	r.Watch(func(m *tracker.Map) {
		var e []uint32
		for _, n := range m.Nodes {
			e = append(e, n.Epoch)
		}
		epochs = append(epochs, e)
	})
	beat := func(d time.Duration, silent ...storage.NodeID) {
		t.Helper()
		for ; d > 0; d -= r.cfg.Beat {
			r.man.Advance(r.cfg.Beat)
			r.alive(t, silent...)
			raised := r.man.Now()
			if err := r.beat(t.Context(), &raised); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(w ...tracker.NodeState) {
		t.Helper()
		if got := r.states(t); !slices.Equal(got, w) {
			t.Fatalf("states %v, want %v", got, w)
		}
	}
	const act, sus, down = tracker.NodeActive, tracker.NodeSuspect, tracker.NodeDown
	beat(time.Minute)
	want(act, act, act)
	writes := r.rows.mu.writes
	beat(time.Minute)
	if r.rows.mu.writes != writes {
		t.Error("a quiet cluster wrote to the log")
	}
	beat(12*time.Second, 2)
	want(act, sus, act)
	beat(time.Minute, 2)
	want(act, down, act)
	if g, err := r.Place(t.Context(), &tracker.PlaceRequest{}); err != nil || slices.ContainsFunc(g.Shards, func(p storage.Placement) bool { return p.Node == 2 }) {
		t.Fatal(g, err)
	}
	beat(r.cfg.Beat)
	want(act, act, act)
	if m, _ := r.Map(t.Context()); m.Node(2).Epoch != 4 || m.Node(1).Epoch != 1 || m.Node(1).Load.Free == 0 {
		t.Errorf("%+v", m.Nodes)
	}
	if last := epochs[len(epochs)-1]; last[1] != 4 {
		t.Errorf("watcher saw %v", epochs)
	}
	// A new leader keeps what is down and gives the others time.
	if err := r.SetNodeState(t.Context(), 3, tracker.NodeDown); err != nil {
		t.Fatal(err)
	}
	r.lead.term.Store(2)
	raised := r.man.Now()
	if err := r.beat(t.Context(), &raised); err != nil {
		t.Fatal(err)
	}
	want(act, act, down)
	// What a node says of itself.
	r.tell(t, storage.Status{Node: 1, Free: 1, Err: "disk answers with errors"})
	r.tell(t, storage.Status{Node: 2, Free: 1, Err: "full", ReadOnly: true})
	if err := r.beat(t.Context(), &raised); err != nil {
		t.Fatal(err)
	}
	want(sus, act, down)
	if m, _ := r.Map(t.Context()); !m.Node(2).ReadOnly || m.Node(1).ReadOnly {
		t.Errorf("%+v", m.Nodes)
	}
	r.alive(t)
	if err := r.beat(t.Context(), &raised); err != nil {
		t.Fatal(err)
	}
	want(act, act, act)
	if m, _ := r.Map(t.Context()); m.Node(2).ReadOnly {
		t.Error("read-only for ever")
	}
}

// TestLevel: a catalog of an older release is raised by the first look of who
// leads, once, before anything else is asked of it.
func TestLevel(t *testing.T) {
	t.Parallel()
	cat, log := newCatalog(t)
	svc, err := New(Config{TicketLife: time.Hour, Beat: time.Second, SuspectAfter: time.Minute, DownAfter: time.Minute, RaiseEvery: time.Hour, MaxDamage: 1},
		cat, cat, cat, nil, clock.System{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	level := func() uint64 {
		t.Helper()
		s, err := cat.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Level
	}
	if level() != 1 {
		t.Fatalf("level %d of a catalog that nobody leads", level())
	}
	log.Lead(0)
	if err := svc.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.Lead(2)
	if err := svc.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if level() != catalog.Level {
		t.Errorf("level %d, want %d", level(), catalog.Level)
	}
	at := log.Index()
	if err := svc.Look(t.Context()); err != nil || log.Index() != at {
		t.Errorf("the second look wrote: %v", err)
	}
	log.Lead(3)
	if err := svc.Look(t.Context()); err != nil || log.Index() != at {
		t.Errorf("the next leader wrote: %v", err)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "rep-2", nil)
	ctx := t.Context()
	for _, c := range []struct {
		node  storage.NodeID
		state tracker.NodeState
		want  error
	}{
		{9, tracker.NodeDown, tracker.ErrNoSuchNode},
		{1, tracker.NodeDraining, nil},
		{2, tracker.NodeDraining, tracker.ErrNoPlacement},
		{1, tracker.NodeGone, nil},
		{1, tracker.NodeActive, tracker.ErrConflict},
	} {
		if err := r.SetNodeState(ctx, c.node, c.state); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%d to %s: %v, want %v", c.node, c.state, err, c.want)
		}
	}
	if _, err := r.RegisterNode(ctx, tracker.Node{ID: 1, Group: 1}); !errors.Is(err, tracker.ErrNoSuchNode) {
		t.Error("a node that is gone came back:", err)
	}
	if r.tell(t, storage.Status{Node: 1}) == "" || r.tell(t, storage.Status{Node: 99}) == "" {
		t.Error("a heartbeat of a node that is gone, or unknown, was taken")
	}
	n, err := r.RegisterNode(ctx, tracker.Node{Group: 1, Addr: "new"})
	if err != nil || n.ID != 4 {
		t.Fatal(n, err)
	}
	if n, err = r.RegisterNode(ctx, tracker.Node{ID: 4, Addr: "newer"}); err != nil || n.Addr != "newer" || n.Epoch != 2 {
		t.Fatal(n, err)
	}
	st, err := r.Status(ctx)
	if err != nil || len(st.Map.Nodes) != 4 {
		t.Fatal(st, err)
	}
}

func TestDamageIsBoundedAndOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "rep-1", func(c *Config) { c.MaxDamage = 3 })
	for range 2 {
		for i := range 5 {
			d := storage.Damage{Shard: storage.ShardID{Blob: storage.MakeBlobID(0, 1, 1, uint64(i)), Gen: 1}, Node: 1}
			if err := r.ReportDamage(context.Background(), []storage.Damage{d, d}); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-r.DamageReady()
	if got := r.TakeDamage(); len(got) != 3 {
		t.Error(got)
	}
	if got := r.TakeDamage(); len(got) != 0 {
		t.Error(got)
	}
}

func BenchmarkPlace(b *testing.B) {
	r := newRig(b, 8, "rs-4+2", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Place(b.Context(), &tracker.PlaceRequest{Size: 4096}); err != nil {
			b.Fatal(err)
		}
	}
}
