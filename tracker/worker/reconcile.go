package worker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// ReconcileConfig is what reconcile is told.
type ReconcileConfig struct {
	Home     uint16        // the Raft group whose blobs are compared
	Every    time.Duration // from the end of one whole pass to the begin of the next
	NewEvery time.Duration // how often the ids whose tickets expired since are compared, or as often as tickets live
	Batch    int           // blobs in one range
	Pace     time.Duration // rest after a range of a whole pass
	Save     time.Duration // how often the place in a whole pass is saved
	Poll     time.Duration // how often the cluster map is looked at
}

// DefaultReconcile is the usual configuration.
func DefaultReconcile() ReconcileConfig {
	return ReconcileConfig{Every: 5 * 24 * time.Hour, NewEvery: 10 * time.Minute, Batch: 4096,
		Pace: 100 * time.Millisecond, Save: time.Minute, Poll: 5 * time.Second}
}

// reconcile compares what the catalog places on each node with what the node
// has (SAFETY A6), range by range of blob ids: first by count and XOR, and
// only where these differ shard by shard. It is what finds lost shards,
// orphans and missed deletes. New ids are compared as their tickets expire,
// everything within a week, and a node that was down at once. What the first
// of these cannot settle yet is looked at again (see recheck).
type reconcile struct {
	cfg    ReconcileConfig
	c      Cluster
	store  Store
	nodes  storage.Nodes
	clk    clock.Clock
	logger zerolog.Logger
	table  *table
	wake   chan struct{}
	mu     struct {
		sync.Mutex
		loaded bool
		saved  savedWalk
		savedT time.Time
		full   *walk
		fresh  *walk
		back   []*walk                  // nodes that came back
		redo   *walk                    // of one blob of again
		again  map[storage.BlobID]int64 // blobs to look at once the fence, in ms, is there
		states map[storage.NodeID]tracker.NodeState
		notYet map[storage.NodeID]time.Time // when a node may be walked over, by the clock
		held   map[storage.NodeID]string    // nodes that disown no more, and why
		found  Findings
	}
}

// Findings counts what reconcile did since this process began.
type Findings struct {
	Ranges   uint64 // compared, per node
	Unequal  uint64 // of which had to be exchanged
	Missing  uint64 // shards that the catalog places and the node lacks
	Disowned uint64
	Revived  uint64
	Adopted  uint64
	Passes   uint64 // whole passes ended
}

// savedWalk is what survives a change of leaders, in a job row.
type savedWalk struct {
	At    string // place in the whole pass, hexadecimal; empty if none is under way
	Ended int64  // catalog time at which the last whole pass ended, ms
	Fresh int64  // ids up to this time were compared, ms
}

// reconcileJob names the job row.
const reconcileJob = "reconcile"

// walk is one pass over the blobs of some groups.
type walk struct {
	groups []uint16
	node   storage.NodeID // only this one; 0 for all
	at     storage.BlobID // next id, in groups[0]; zero for its start
	fresh  bool           // only ids granted in [from, until), ms
	from   int64
	until  int64
	only   bool // the one blob at
}

func (w *reconcile) Name() string          { return "reconcile" }
func (w *reconcile) Wake() <-chan struct{} { return w.wake }
func (w *reconcile) Width() int            { return 1 }

// Begin forgets the walks; the whole pass goes on where it was saved.
func (w *reconcile) Begin(uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.loaded, w.mu.full, w.mu.fresh, w.mu.back, w.mu.redo = false, nil, nil, nil, nil
	w.mu.states, w.mu.held = nil, map[storage.NodeID]string{}
	w.mu.again, w.mu.notYet = map[storage.BlobID]int64{}, map[storage.NodeID]time.Time{}
}

func (w *reconcile) Queue() tracker.Queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := tracker.Queue{Done: w.mu.found.Ranges, Length: int64(len(w.mu.back)), Failed: uint64(len(w.mu.held))}
	if w.mu.full != nil {
		q.Length++
	}
	if w.mu.fresh != nil {
		q.Length++
	}
	return q
}

func (w *reconcile) Note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.mu.found
	text := fmt.Sprintf("%d ranges compared, %d unequal, %d shards missing, %d disowned, %d revived, %d adopted", f.Ranges, f.Unequal, f.Missing, f.Disowned, f.Revived, f.Adopted)
	for id, why := range w.mu.held {
		text += fmt.Sprintf("; node %d: %s", id, why)
	}
	return text
}

// Findings tells what was found since this process began.
func (w *reconcile) Findings() Findings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.found
}

// Start begins a whole pass now, or a pass over one node.
func (w *reconcile) Start(node storage.NodeID) {
	w.mu.Lock()
	if node == 0 {
		w.mu.full, w.mu.saved.Ended, w.mu.saved.At = nil, 0, ""
	} else if w.mu.states != nil {
		w.mu.states[node], w.mu.notYet[node] = tracker.NodeDown, time.Time{} // as if it had just come back
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// groupStart is the first id of a group at a time.
func (w *reconcile) groupStart(group uint16, ms int64) storage.BlobID {
	return storage.MakeBlobID(w.cfg.Home, group, uint64(max(ms, 0)), 0)
}

// groupEnd is the first id after a group.
func groupEnd(home, group uint16) storage.BlobID {
	var id storage.BlobID
	n := uint32(home)<<16 | uint32(group)
	if n == 1<<32-1 {
		return id
	}
	binary.BigEndian.PutUint32(id[:], n+1)
	return id
}

// Step compares the next range of the most urgent walk.
func (w *reconcile) Step(ctx context.Context) (time.Duration, error) {
	_, m, err := w.c.Plan(ctx)
	if err != nil {
		return 0, err
	}
	if err := w.load(ctx); err != nil {
		return 0, err
	}
	v, err := w.store.View(ctx)
	if err != nil {
		return 0, err
	}
	w.plan(m, v)
	k := w.pick()
	if k == nil {
		return w.cfg.Poll, nil
	}
	done, err := w.rangeOf(ctx, k, m)
	if err != nil {
		return 0, err
	}
	if err := w.after(ctx, k, done, v); err != nil {
		return 0, err
	}
	if k.node == 0 && !k.fresh && !k.only && !done {
		return w.cfg.Pace, nil
	}
	return 0, nil
}

// load reads what a former leader saved.
func (w *reconcile) load(ctx context.Context) error {
	w.mu.Lock()
	loaded := w.mu.loaded
	w.mu.Unlock()
	if loaded {
		return nil
	}
	raw, err := w.store.Job(ctx, reconcileJob)
	if err != nil {
		return err
	}
	var s savedWalk
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &s); err != nil {
			w.logger.Warn().Err(err).Msg("the place of reconcile cannot be read; beginning anew")
			s = savedWalk{}
		}
	}
	w.mu.Lock()
	w.mu.loaded, w.mu.saved = true, s
	w.mu.Unlock()
	return nil
}

// plan begins the walks that are due.
func (w *reconcile) plan(m *tracker.Map, v View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.mu.states == nil
	if first {
		w.mu.states = map[storage.NodeID]tracker.NodeState{}
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if w.cameBack(n) {
			w.mu.back = append(w.mu.back, &walk{groups: []uint16{n.Group}, node: n.ID})
		}
	}
	groups := make([]uint16, 0, len(m.Groups))
	for i := range m.Groups {
		groups = append(groups, m.Groups[i].ID)
	}
	if w.mu.full == nil && len(groups) > 0 && (w.mu.saved.Ended == 0 || w.mu.saved.At != "" || v.Now-w.mu.saved.Ended >= w.cfg.Every.Milliseconds()) {
		w.mu.full = resume(groups, w.mu.saved.At)
	}
	horizon, every := w.horizon(v), w.newEvery().Milliseconds()
	if w.mu.saved.Fresh == 0 {
		w.mu.saved.Fresh = horizon // the whole pass has what is older
	}
	if w.mu.fresh == nil && len(groups) > 0 && horizon-w.mu.saved.Fresh >= every {
		// Every id is compared twice: a seal may have been under way at the first time.
		w.mu.fresh = &walk{groups: groups, fresh: true, from: w.mu.saved.Fresh - every, until: horizon}
	}
	if w.mu.redo == nil {
		w.mu.redo = w.due(v)
	}
}

// horizon is the time in ms before which every ticket that was granted has
// expired, unless it was renewed.
func (w *reconcile) horizon(v View) int64 { return v.Fence - w.c.TicketLife().Milliseconds() }

// newEvery is how far the fence moves from one comparison of new ids to the next.
func (w *reconcile) newEvery() time.Duration { return min(w.cfg.NewEvery, w.c.TicketLife()) }

// pick returns the most urgent walk, nil if there is none.
func (w *reconcile) pick() *walk {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.mu.back) > 0:
		return w.mu.back[0]
	case w.mu.fresh != nil:
		return w.mu.fresh
	case w.mu.redo != nil:
		return w.mu.redo
	}
	return w.mu.full
}

// after notes that a range, or with it a walk, is done.
func (w *reconcile) after(ctx context.Context, k *walk, done bool, v View) error {
	w.mu.Lock()
	now := w.clk.Now()
	save := false
	switch {
	case k == w.mu.full:
		w.mu.saved.At = k.place()
		save = now.Sub(w.mu.savedT) >= w.cfg.Save
		if done {
			w.mu.full, w.mu.saved.At, w.mu.saved.Ended, save = nil, "", max(v.Now, 1), true
			w.mu.found.Passes++
		}
	case k == w.mu.fresh && done:
		w.mu.saved.Fresh = k.until
		w.mu.fresh = nil
		save = now.Sub(w.mu.savedT) >= w.cfg.Save
	case k == w.mu.redo:
		w.mu.redo = nil
	case len(w.mu.back) > 0 && k == w.mu.back[0] && done:
		w.mu.back = w.mu.back[1:]
	}
	s := w.mu.saved
	if save {
		w.mu.savedT = now
	}
	w.mu.Unlock()
	if !save {
		return nil
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the place of reconcile: %w", err)
	}
	return w.store.SetJob(ctx, reconcileJob, raw)
}
