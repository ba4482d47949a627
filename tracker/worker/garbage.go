package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"holdfast/storage"
	"holdfast/tracker"
)

// GarbageConfig is what the garbage worker is told.
type GarbageConfig struct {
	Grace   time.Duration // readers' grace after a shard was given up
	MaxHold time.Duration // how long a read may hold garbage beyond the grace
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
	logger zerolog.Logger
	// missed has reconcile look over a node on which garbage was left.
	missed  func(storage.NodeID)
	failing map[storage.NodeID]int64 // catalog time in ms since which a node fails
	done    atomic.Uint64
	queue   atomic.Pointer[tracker.Queue]
}

func (w *garbage) Name() string          { return "garbage" }
func (w *garbage) Begin(uint64)          { w.failing = map[storage.NodeID]int64{} }
func (w *garbage) Wake() <-chan struct{} { return nil }
func (w *garbage) Width() int            { return 1 }

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
		if due := time.Duration(rows[0].Time-now)*time.Millisecond + w.cfg.Grace; due > 0 {
			return min(due, w.cfg.Idle), nil
		}
		return w.cfg.Idle, nil // a reader holds it
	}
	return w.cfg.Idle, nil
}

// due tells whether what was given up at a time may go: after the grace, and
// after the reads that began before it (for so long a read may hold it).
func (w *garbage) due(at, now int64) bool {
	over := now - w.cfg.Grace.Milliseconds() - at
	if over < 0 {
		return false
	}
	if w.cfg.OldestRead == nil || over >= w.cfg.MaxHold.Milliseconds() {
		return true
	}
	read := w.cfg.OldestRead()
	return read == 0 || at < read
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
