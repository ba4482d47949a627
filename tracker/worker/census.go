package worker

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// CensusConfig is what the census is told.
type CensusConfig struct {
	Every time.Duration // from the end of one to the begin of the next
	Batch int           // blobs in one step
	// Rest is how many times as long as it took a census rests at least, so
	// that a big catalog is not read all the time.
	Rest int
	Poll time.Duration // how often the cluster map is looked at
}

// DefaultCensus is the usual configuration.
func DefaultCensus() CensusConfig {
	return CensusConfig{Every: time.Hour, Batch: 4096, Rest: 200, Poll: 5 * time.Second}
}

// census reads every blob's row and enters into the repair table those that
// have holes or are placed on nodes that are gone or drained. It counts the
// blobs under their target. It runs when a term begins, whenever a node's
// state or the set of nodes changes, when repair has emptied its table, and
// every so often. It also takes in the damage reports.
type census struct {
	cfg   CensusConfig
	c     Cluster
	store Store
	clk   clock.Clock
	table *table
	seed  maphash.Seed
	mu    struct {
		sync.Mutex
		running bool
		dirty   bool           // run again, soon
		at      storage.BlobID // next id
		began   time.Time
		ended   time.Time
		took    time.Duration
		states  uint64 // fingerprint of the map it ran under
		done    uint64 // the table's count when it ended
		run     tally
		last    tally
		starts  uint64 // censuses begun
		passes  uint64 // ended
		whole   uint64 // the number of starts when the last to end began
		term    uint64 // of leadership, in which it counts
		counted bool   // a census has ended in this term, under these states
	}
}

// tally is what a census counts.
type tally struct {
	blobs int64
	away  int64 // of which a shard is on a node that is down, and nothing else is wrong
	spill int64 // under their target, and not in the table for want of room
	// leaving counts the shards on each node that is drained.
	leaving map[storage.NodeID]int64
}

func (t *tally) add(o tally) {
	t.blobs, t.away, t.spill = t.blobs+o.blobs, t.away+o.away, t.spill+o.spill
	for id, n := range o.leaving {
		if t.leaving == nil {
			t.leaving = map[storage.NodeID]int64{}
		}
		t.leaving[id] += n
	}
}

func (w *census) Name() string          { return "census" }
func (w *census) Wake() <-chan struct{} { return w.c.DamageReady() }
func (w *census) Width() int            { return 1 }

// Begin starts over: what a former leader knew is not known here.
func (w *census) Begin(term uint64) {
	w.table.reset()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.term, w.mu.counted = term, false
	w.mu.running, w.mu.dirty = false, true
}

func (w *census) Queue() tracker.Queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := tracker.Queue{Done: w.mu.passes}
	if w.mu.running {
		q.Length, q.Oldest = 1, w.mu.began.UnixMilli()
	}
	return q
}

func (w *census) Note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.running {
		return fmt.Sprintf("%d blobs read, about %d to come", w.mu.run.blobs, max(w.mu.last.blobs-w.mu.run.blobs, 0))
	}
	return fmt.Sprintf("%d blobs read in %v", w.mu.last.blobs, w.mu.took.Round(time.Millisecond))
}

// Below counts the blobs under their target: those in the table that are
// known to be, those there was no room for, and those whose only fault is
// that a node is down. It is -1 while none is known and that says nothing: no
// census has ended in the present term of leadership, under the present map.
func (w *census) Below() int64 {
	current := w.current()
	s := w.table.stats()
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.mu.last
	if w.mu.running {
		t.away, t.spill = max(t.away, w.mu.run.away), max(t.spill, w.mu.run.spill)
	}
	if n := s.below + t.away + t.spill; n > 0 || current {
		return n
	}
	return -1
}

// current tells whether what the last census counted still says something.
func (w *census) current() bool {
	term, leads := w.c.LeaderEpoch()
	_, m, err := w.c.Plan(context.Background()) // from memory
	if !leads || err != nil {
		return false
	}
	states := w.fingerprint(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.counted && w.mu.term == term && w.mu.states == states
}

// Complete tells whether a census has ended in this term and nothing has
// changed since.
func (w *census) Complete() bool {
	if !w.current() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.mu.running && !w.mu.dirty
}

// leaving tells how many censuses have begun, which of them was the last to
// end, and how many shards that one found on a node that is drained.
func (w *census) leaving(node storage.NodeID) (starts, whole uint64, shards int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.starts, w.mu.whole, w.mu.last.leaving[node]
}

// again asks for another census.
func (w *census) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.dirty = true
}

// fingerprint is a hash of what a census depends on in the map.
func (w *census) fingerprint(m *tracker.Map) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	for i := range m.Nodes {
		n := &m.Nodes[i]
		fmt.Fprintf(&h, "%d %d %t;", n.ID, n.State, n.ReadOnly)
	}
	return h.Sum64()
}

// Step reads the next blobs of a census, or judges whether to begin one.
func (w *census) Step(ctx context.Context) (time.Duration, error) {
	w.intake()
	_, m, err := w.c.Plan(ctx)
	if err != nil {
		return 0, err
	}
	states, now := w.fingerprint(m), w.clk.Now()
	w.mu.Lock()
	if states != w.mu.states {
		w.mu.states, w.mu.dirty = states, true
		w.mu.running, w.mu.counted = false, false
	}
	if !w.mu.running {
		if !w.wanted(now) {
			w.mu.Unlock()
			return w.cfg.Poll, nil
		}
		if w.mu.dirty {
			w.table.hurry(now)
		}
		w.mu.starts++
		w.mu.running, w.mu.dirty, w.mu.began, w.mu.run, w.mu.at = true, false, now, tally{}, storage.BlobID{}
	}
	at := w.mu.at
	w.mu.Unlock()
	if w.table.full(w.cfg.Batch) && w.table.stats().ready > 0 {
		return w.cfg.Poll, nil // repair makes room first
	}
	blobs, _, err := w.store.Blobs(ctx, storage.IDRange{From: at}, w.cfg.Batch)
	if err != nil {
		return 0, err
	}
	t := tally{leaving: map[storage.NodeID]int64{}}
	st := standingOf(m)
	for i := range blobs {
		w.enter(&blobs[i], st, now, &t)
	}
	return w.advance(blobs, t), nil
}

// wanted tells whether a census should begin. w.mu is held.
func (w *census) wanted(now time.Time) bool {
	rest := now.Sub(w.mu.ended)
	switch {
	case w.mu.dirty:
		return true
	case rest >= w.cfg.Every && rest >= time.Duration(w.cfg.Rest)*w.mu.took:
		return true
	case rest < w.mu.took*10 || rest < w.cfg.Poll:
		return false
	}
	s := w.table.stats()
	return s.length == 0 && (s.done != w.mu.done || w.mu.last.spill > 0)
}

// enter judges one blob by its row and the map.
func (w *census) enter(b *Blob, st standing, now time.Time, t *tally) {
	if b.Dying {
		return
	}
	t.blobs++
	ok, absent, below, moves := 0, 0, false, false
	for _, p := range b.Shards {
		switch st.of(p) {
		case good:
			ok++
		case leaving:
			ok++
			moves = true
			t.leaving[p.Node]++
		case away:
			absent++
		default:
			below = true
		}
	}
	switch {
	case below || moves:
		if !w.table.add(b.ID, now, ok-int(b.Scheme.Data), below) && below {
			t.spill++
		}
	case absent > 0 && !w.table.has(b.ID):
		t.away++
	}
}

// advance notes what was read and ends the census where nothing is left.
func (w *census) advance(blobs []Blob, t tally) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.run.add(t)
	if len(blobs) == w.cfg.Batch {
		w.mu.at = next(blobs[len(blobs)-1].ID)
		return 0
	}
	now := w.clk.Now()
	w.mu.running, w.mu.ended, w.mu.took = false, now, now.Sub(w.mu.began)
	w.mu.last, w.mu.done = w.mu.run, w.table.stats().done
	w.mu.passes++
	w.mu.counted = true
	w.mu.whole = w.mu.starts
	return w.cfg.Poll
}

// next is the least id over id.
func next(id storage.BlobID) storage.BlobID {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

// intake moves damage reports into the repair table.
func (w *census) intake() {
	now := w.clk.Now()
	for _, d := range w.c.TakeDamage() {
		w.table.add(d.Shard.Blob, now, erasure.MaxWidth, false, report{shard: d.Shard, node: d.Node})
	}
}
