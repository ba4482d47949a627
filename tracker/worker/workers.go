package worker

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// Config is what the workers are told. See Default.
type Config struct {
	Garbage   GarbageConfig
	Repair    RepairConfig
	Census    CensusConfig
	Reconcile ReconcileConfig
	TrimEvery time.Duration
}

// Default is the usual configuration.
func Default() Config {
	return Config{Garbage: DefaultGarbage(), Repair: DefaultRepair(), Census: DefaultCensus(), Reconcile: DefaultReconcile(), TrimEvery: time.Minute}
}

// Validate names the first field that is out of bounds.
func (c *Config) Validate() error {
	for _, f := range []struct {
		name     string
		ok       bool
		got, why any
	}{
		{"Garbage.Grace", c.Garbage.Grace >= 0, c.Garbage.Grace, "at least 0"},
		{"Garbage.Batch", c.Garbage.Batch >= 1, c.Garbage.Batch, "at least 1"},
		{"Garbage.Idle", c.Garbage.Idle > 0, c.Garbage.Idle, "over 0"},
		{"Repair.Width", c.Repair.Width >= 1 && c.Repair.Width <= 256, c.Repair.Width, "1 to 256"},
		{"Repair.Rate", c.Repair.Rate >= 0, c.Repair.Rate, "at least 0"},
		{"Repair.RetryMin", c.Repair.RetryMin > 0 && c.Repair.RetryMax >= c.Repair.RetryMin, c.Repair.RetryMin, "over 0 and at most RetryMax"},
		{"Repair.MaxJobs", c.Repair.MaxJobs >= 1, c.Repair.MaxJobs, "at least 1"},
		{"Census.Batch", c.Census.Batch >= 1, c.Census.Batch, "at least 1"},
		{"Census.Poll", c.Census.Poll > 0 && c.Census.Every > 0, c.Census.Poll, "over 0, as Every"},
		{"Reconcile.Batch", c.Reconcile.Batch >= 1, c.Reconcile.Batch, "at least 1"},
		{"Reconcile.Poll", c.Reconcile.Poll > 0, c.Reconcile.Poll, "over 0"},
		{"TrimEvery", c.TrimEvery > 0, c.TrimEvery, "over 0"},
	} {
		if !f.ok {
			return fmt.Errorf("%s %v is out of bounds: want %v", f.name, f.got, f.why)
		}
	}
	return nil
}

// Workers is the group of all background workers of a tracker.
type Workers struct {
	*Group
	Throttle *Throttle // of repair

	cluster Cluster
	store   Store
	nodes   storage.Nodes
	clk     clock.Clock

	repair    *repair
	census    *census
	reconcile *reconcile
	drain     *drain
}

// New returns the workers of a tracker. They start with Run.
func New(cfg Config, c Cluster, store Store, nodes storage.Nodes, clk clock.Clock, logger zerolog.Logger) (*Workers, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("workers: %w", err)
	}
	t := newTable(cfg.Repair.MaxJobs)
	w := &Workers{Throttle: NewThrottle(clk, cfg.Repair.Rate), cluster: c, store: store, nodes: nodes, clk: clk}
	w.census = &census{cfg: cfg.Census, c: c, store: store, clk: clk, table: t, seed: maphash.MakeSeed()}
	w.reconcile = &reconcile{cfg: cfg.Reconcile, c: c, store: store, nodes: nodes, clk: clk, logger: logger, table: t, wake: make(chan struct{}, 1)}
	w.repair = &repair{cfg: cfg.Repair, c: c, store: store, nodes: nodes, clk: clk, logger: logger, table: t, throttle: w.Throttle, left: w.reconcile.recheck}
	w.drain = &drain{c: c, store: store, nodes: nodes, logger: logger, census: w.census, every: 10 * time.Second}
	w.Group = NewGroup(c, clk, logger, w.census, w.repair, w.reconcile, w.drain,
		&garbage{cfg: cfg.Garbage, c: c, store: store, nodes: nodes, clk: clk, logger: logger, missed: w.reconcile.missed},
		&trim{store: store, every: cfg.TrimEvery})
	w.Begin(0)
	return w, nil
}

// Below counts the blobs under their target, from the catalog's rows and from
// what nodes said they lack; -1 while they are being counted.
func (w *Workers) Below() int64 { return w.census.Below() }

// Settled tells whether the census of this term is complete and no blob waits
// for repair: what Below says then is final.
func (w *Workers) Settled() bool { return w.census.Complete() && w.repair.table.stats().length == 0 }

// Drains tells how far each drain has come.
func (w *Workers) Drains() map[storage.NodeID]Drain { return w.drain.list() }

// Unrecoverable lists up to max blobs of which too few shards are left.
func (w *Workers) Unrecoverable(max int) []tracker.LostBlob { return w.repair.table.unrecoverable(max) }

// ETA is how long repair is expected to take, 0 if it is not known.
func (w *Workers) ETA() time.Duration { return w.repair.ETA() }

// Reconcile begins a whole pass now, or with a node's id one over that node.
func (w *Workers) Reconcile(node storage.NodeID) { w.reconcile.Start(node) }

// Findings tells what reconcile found since this process began.
func (w *Workers) Findings() Findings { return w.reconcile.Findings() }
