package service

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// fakeRows is a Registry in memory.
type fakeRows struct {
	reading func() // called by reads, if set
	mu      struct {
		sync.Mutex
		c      Cluster
		writes int
		nodes  storage.NodeID
	}
}

func (f *fakeRows) Cluster(context.Context) (*Cluster, error) {
	if f.reading != nil {
		f.reading()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.mu.c
	c.Nodes = append([]tracker.Node(nil), c.Nodes...)
	c.Groups = append([]tracker.Group(nil), c.Groups...)
	return &c, nil
}

func (f *fakeRows) AddGroup(_ context.Context, g tracker.Group) (tracker.Group, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.mu.c.Groups {
		if o.Name == g.Name {
			return o, nil
		}
	}
	f.mu.writes++
	g.ID = uint16(len(f.mu.c.Groups) + 1)
	f.mu.c.Groups = append(f.mu.c.Groups, g)
	return g, nil
}

func (f *fakeRows) AddNode(_ context.Context, n tracker.Node) (tracker.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writes++
	f.mu.nodes++
	n.ID, n.Epoch = f.mu.nodes, 1
	if n.State != tracker.NodeJoining && n.State != tracker.NodeGone {
		n.State = tracker.NodeActive
	}
	f.mu.c.Nodes = append(f.mu.c.Nodes, n)
	return n, nil
}

func (f *fakeRows) SetNode(_ context.Context, id storage.NodeID, epoch uint32, c NodeChange) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.mu.c.Nodes {
		n := &f.mu.c.Nodes[i]
		if n.ID != id {
			continue
		}
		if n.Epoch != epoch {
			return tracker.ErrConflict
		}
		f.mu.writes++
		n.Epoch++
		if c.State != 0 {
			n.State = c.State
		}
		if c.Role != nil {
			n.Role = *c.Role
		}
		if c.Addr != "" {
			n.Addr = c.Addr
		}
		if c.Domain != nil {
			n.Domain = *c.Domain
		}
		return nil
	}
	return tracker.ErrNoSuchNode
}

func (f *fakeRows) Policies(ctx context.Context) ([]tracker.Policy, error) {
	c, err := f.Cluster(ctx)
	return c.Policies, err
}

func (f *fakeRows) SetPolicy(_ context.Context, p tracker.Policy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writes++
	rest := slices.DeleteFunc(slices.Clone(f.mu.c.Policies), func(o tracker.Policy) bool { return o.BucketID == p.BucketID && o.Class == p.Class })
	if p.Kind != 0 {
		rest = append(rest, p)
	}
	f.mu.c.Policies = rest
	return nil
}

func (f *fakeRows) RaiseTime(_ context.Context, ms int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writes++
	f.mu.c.Now = max(f.mu.c.Now, ms)
	return nil
}

func (f *fakeRows) RaiseFence(_ context.Context, ms int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writes++
	f.mu.c.Fence = max(f.mu.c.Fence, min(ms, f.mu.c.Now))
	return nil
}

func (f *fakeRows) RaiseLevel(_ context.Context, level uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writes++
	f.mu.c.Level = max(f.mu.c.Level, level)
	return nil
}

func (f *fakeRows) SetHeld(_ context.Context, held bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writes++
	f.mu.c.Held = held
	return nil
}

type fakeLead struct{ term atomic.Uint64 } // 0 is not leading

func (l *fakeLead) LeaderEpoch() (uint64, bool) { t := l.term.Load(); return t, t > 0 }

type rig struct {
	*Service
	rows *fakeRows
	lead *fakeLead
	man  *clock.Manual
}

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func newRig(t testing.TB, nodes int, scheme string, change func(*Config)) *rig {
	t.Helper()
	cfg := Default()
	cfg.Poll, cfg.ClockTrusted = false, nil
	if change != nil {
		change(&cfg)
	}
	r := &rig{rows: &fakeRows{}, lead: &fakeLead{}, man: clock.NewManual(begin)}
	r.lead.term.Store(1)
	var err error
	if r.Service, err = New(cfg, nil, r.lead, r.rows, nil, r.man, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	s, err := erasure.ParseScheme(scheme)
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.RegisterGroup(t.Context(), tracker.Group{Name: "default", Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	for range nodes {
		if _, err := r.RegisterNode(t.Context(), tracker.Node{Group: g.ID}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// alive sends heartbeats of all nodes but the silent ones.
func (r *rig) alive(t *testing.T, silent ...storage.NodeID) {
	t.Helper()
	m, err := r.Map(t.Context())
	if err != nil {
		t.Fatal(err)
	}
next:
	for _, n := range m.Nodes {
		for _, s := range silent {
			if n.ID == s {
				continue next
			}
		}
		if n.State == tracker.NodeGone {
			continue
		}
		r.tell(t, storage.Status{Node: n.ID, Total: 1 << 40, Free: 1 << 39})
	}
}

// tell sends a heartbeat of one node and returns why it was refused.
func (r *rig) tell(t *testing.T, s storage.Status) string {
	t.Helper()
	a, err := r.Beat(t.Context(), &tracker.Beat{Nodes: []storage.Status{s}})
	if err != nil {
		t.Fatal(err)
	}
	return a.Nodes[0].Refused
}

func (r *rig) states(t *testing.T) (out []tracker.NodeState) {
	t.Helper()
	m, err := r.Map(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Nodes {
		out = append(out, n.State)
	}
	return out
}
