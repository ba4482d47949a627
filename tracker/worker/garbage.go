package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// GarbageConfig is what the garbage worker is told.
type GarbageConfig struct {
	Grace   time.Duration // readers' grace after a shard was given up, of time that passed: a step of catalog time ends none
	MaxHold time.Duration // how long a read may hold garbage beyond the grace, likewise
	Batch   int           // rows in one step
	Idle    time.Duration // how often an empty queue is looked at
	// Patience is how long garbage waits for a node that is live and does not
	// answer, from its first failure on; reconcile finds what is left there.
	Patience time.Duration
	// OldestRead is a catalog time in ms, 0 if no read is being served: what is
	// garbage since before it, none of them needs. It must not be a clock's,
	// which catalog time may be behind (see Service.Fence). It may be nil.
	OldestRead func() int64
}

// DefaultGarbage is the usual configuration.
func DefaultGarbage() GarbageConfig {
	return GarbageConfig{Grace: 10 * time.Minute, MaxHold: 24 * time.Hour, Batch: 1000, Idle: 10 * time.Second, Patience: time.Hour}
}

// garbage deletes what the catalog gave up, in commit order: the shards of
// dying blobs and those that were switched away from, on every node that is
// live, and then the rows. A node that is down finds its rest in reconcile.
type garbage struct {
	cfg    GarbageConfig
	c      Cluster
	store  Store
	nodes  storage.Nodes
	clk    clock.Clock
	logger zerolog.Logger
	// last is when catalog time was looked at last; stepped is where it was
	// when it was found to have stepped, or when the term began.
	last    moment
	stepped int64
	// missed has reconcile look over a node on which garbage was left.
	missed  func(storage.NodeID)
	failing map[storage.NodeID]int64 // catalog time in ms since which a node fails
	done    atomic.Uint64
	queue   atomic.Pointer[tracker.Queue]
}

// moment is an instant by catalog time, in ms, and by the process's clock.
type moment struct {
	catalog int64
	clock   time.Time
}

// stepTolerance is by how much catalog time may run ahead of the process's
// clock between two looks before that is a step.
const stepTolerance = time.Minute

func (w *garbage) Name() string          { return "garbage" }
func (w *garbage) Wake() <-chan struct{} { return nil }
func (w *garbage) Width() int            { return 1 }

// Begin implements Task. A leader that begins has not heard yet what is being
// read, nor whether catalog time has stepped.
func (w *garbage) Begin(uint64) {
	w.failing = map[storage.NodeID]int64{}
	w.last = moment{w.c.Now(), w.clk.Now()}
	w.stepped = w.last.catalog
}

func (w *garbage) Queue() tracker.Queue {
	q := tracker.Queue{}
	if p := w.queue.Load(); p != nil {
		q = *p
	}
	q.Done = w.done.Load()
	return q
}

func (w *garbage) Note() string { return fmt.Sprintf("%d shards deleted", w.done.Load()) }

// Step takes the oldest rows that are due.
func (w *garbage) Step(ctx context.Context) (time.Duration, error) {
	rows, err := w.store.Garbage(ctx, w.cfg.Batch)
	if err != nil {
		return 0, err
	}
	q := &tracker.Queue{Length: int64(len(rows))}
	if len(rows) > 0 {
		q.Oldest = rows[0].Time
	}
	w.queue.Store(q)
	now := w.c.Now()
	w.look(now)
	n := 0
	for n < len(rows) && !rows[n].Sweep && w.due(rows[n].Time, now) {
		n++
	}
	switch {
	case n > 0:
		return 0, w.drop(ctx, rows[:n], now)
	case len(rows) > 0 && w.due(rows[0].Time, now):
		_, err := w.store.Sweep(ctx, rows[0].ID)
		return 0, err
	case len(rows) > 0:
		if due := -w.over(rows[0].Time, now); due > 0 {
			return min(due, w.cfg.Idle), nil
		}
		return w.cfg.Idle, nil // a reader holds it
	}
	return w.cfg.Idle, nil
}

// look notes where catalog time, now, stands beside the process's clock.
func (w *garbage) look(now int64) {
	clk := w.clk.Now()
	if passed := clk.Sub(w.last.clock) + stepTolerance; now-w.last.catalog > passed.Milliseconds() {
		w.stepped = now
	}
	w.stepped = min(w.stepped, now) // what Begin saw may have been ahead
	w.last = moment{now, clk}
}

// over is for how long something has been given up beyond the readers' grace.
// Readers live by time that passed: what was given up before catalog time
// stepped counts as given up then.
func (w *garbage) over(at, now int64) time.Duration {
	return time.Duration(now-max(at, w.stepped))*time.Millisecond - w.cfg.Grace
}

// due tells whether what was given up at a time may go: after the grace, and
// after the reads that began before it (for so long a read may hold it).
func (w *garbage) due(at, now int64) bool {
	over := w.over(at, now)
	if over < 0 {
		return false
	}
	if w.cfg.OldestRead == nil || over >= w.cfg.MaxHold {
		return true
	}
	read := w.cfg.OldestRead()
	return read == 0 || max(at, w.stepped) < read
}

// drop deletes the rows' shards on the nodes, and then the rows.
func (w *garbage) drop(ctx context.Context, rows []Garbage, now int64) error {
	_, m, err := w.c.Plan(ctx)
	if err != nil {
		return err
	}
	by := map[storage.NodeID][]storage.ShardID{}
	for i := range rows {
		for _, s := range rows[i].Shards {
			if n := m.Node(s.Node); n != nil && n.State != tracker.NodeDown && n.State != tracker.NodeGone {
				by[s.Node] = append(by[s.Node], s.ID)
			}
		}
	}
	failed := w.deleteOn(ctx, by)
	if err := w.wait(by, failed, now); err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if err := w.store.DropGarbage(ctx, rows[len(rows)-1].ID); err != nil {
		return fmt.Errorf("drop garbage: %w", err)
	}
	for node, ids := range by {
		if err := failed[node]; err != nil {
			w.logger.Warn().Err(err).Msg("garbage is left on a node that does not answer; reconcile finds it")
			w.missed(node)
			continue
		}
		w.done.Add(uint64(len(ids)))
	}
	return nil
}

// wait notes which nodes fail and since when. It returns their errors while
// patience with one of them lasts.
func (w *garbage) wait(by map[storage.NodeID][]storage.ShardID, failed map[storage.NodeID]error, now int64) error {
	patient := false
	var errs []error
	for node := range by {
		err := failed[node]
		if err == nil {
			delete(w.failing, node)
			continue
		}
		if _, ok := w.failing[node]; !ok {
			w.failing[node] = now
		}
		errs = append(errs, err)
		patient = patient || now-w.failing[node] < w.cfg.Patience.Milliseconds()
	}
	if !patient {
		return nil
	}
	return errors.Join(errs...)
}

// nodeTimeout bounds a call to a node that moves no shard.
const nodeTimeout = 30 * time.Second

// deleteOn deletes shards on several nodes at once, and returns which failed.
func (w *garbage) deleteOn(ctx context.Context, by map[storage.NodeID][]storage.ShardID) map[storage.NodeID]error {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	var mu sync.Mutex
	failed := map[storage.NodeID]error{}
	var wg sync.WaitGroup
	for id, shards := range by {
		wg.Go(func() {
			api, err := w.nodes.Shards(id)
			if err == nil {
				err = api.Delete(ctx, shards)
			}
			if err != nil {
				mu.Lock()
				failed[id] = fmt.Errorf("delete %d shards on node %d: %w", len(shards), id, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}
