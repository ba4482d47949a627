package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"holdfast/storage"
	"holdfast/tracker"
)

// drain watches nodes that are drained until nothing can refer to them any
// more (SAFETY B9): the fence has passed every ticket that named the node
// before its epoch was raised, a census begun after that found nothing placed
// on it, and the node holds nothing but quarantine. The moves themselves are
// repair's.
type drain struct {
	c      Cluster
	store  Store
	nodes  storage.Nodes
	logger zerolog.Logger
	census *census
	every  time.Duration
	mu     struct {
		sync.Mutex
		drains map[storage.NodeID]*Drain
	}
}

// Drain is how far a node's drain has come.
type Drain struct {
	Epoch uint32 // that the node has had since
	Until int64  // catalog time by which every older ticket has expired, ms
	Left  int64  // shards the last census found on it
	Held  int64  // shards it holds beside quarantine, -1 if it was not asked or did not answer
	Done  bool
	since uint64 // the first census that began after the fence had passed Until
}

func (w *drain) Name() string          { return "drain" }
func (w *drain) Wake() <-chan struct{} { return nil }
func (w *drain) Width() int            { return 1 }

func (w *drain) Begin(uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.drains = map[storage.NodeID]*Drain{}
}

func (w *drain) Queue() tracker.Queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	var q tracker.Queue
	for _, d := range w.mu.drains {
		if d.Done {
			q.Done++
		} else {
			q.Length++
		}
	}
	return q
}

func (w *drain) Note() string {
	text := ""
	all := w.list()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		d := all[id]
		if d.Done {
			text += fmt.Sprintf("node %d is drained; ", id)
		} else {
			text += fmt.Sprintf("node %d: %d shards placed, %d held; ", id, d.Left, d.Held)
		}
	}
	return text
}

// list copies the drains.
func (w *drain) list() map[storage.NodeID]Drain {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[storage.NodeID]Drain, len(w.mu.drains))
	for id, d := range w.mu.drains {
		out[id] = *d
	}
	return out
}

// Step looks at every node that is drained.
func (w *drain) Step(ctx context.Context) (time.Duration, error) {
	_, m, err := w.c.Plan(ctx)
	if err != nil {
		return 0, err
	}
	seen := map[storage.NodeID]bool{}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.State == tracker.NodeDraining {
			seen[n.ID] = true
			if err := w.look(ctx, n); err != nil {
				return 0, err
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.mu.drains, func(id storage.NodeID, _ *Drain) bool { return !seen[id] })
	return w.every, nil
}

// look brings one drain up to date.
func (w *drain) look(ctx context.Context, n *tracker.Node) error {
	d, err := w.of(ctx, n)
	if err != nil || d.Done {
		return err
	}
	v, err := w.store.View(ctx)
	if err != nil {
		return err
	}
	starts, whole, left := w.census.leaving(n.ID)
	held := int64(-1)
	if left == 0 && v.Fence >= d.Until { // a whole digest is dear
		held = w.held(ctx, n.ID)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.Left, d.Held = left, held
	switch {
	case v.Fence < d.Until:
		d.since = 0
	case d.since == 0:
		d.since = starts + 1
		w.census.again()
	case whole >= d.since && left == 0 && held == 0:
		d.Done = true
		w.logger.Info().Uint32("node", uint32(n.ID)).Msg("node is drained; it may be forgotten")
	}
	return nil
}

// held counts the shards of a node beside quarantine, -1 if it does not answer.
func (w *drain) held(ctx context.Context, id storage.NodeID) int64 {
	api, err := w.nodes.Shards(id)
	if err != nil {
		return -1
	}
	ctx, cancel := context.WithTimeout(ctx, 10*nodeTimeout)
	defer cancel()
	got, err := api.Digest(ctx, storage.IDRange{})
	if err != nil {
		return -1
	}
	return int64(got.Count)
}

// of finds a node's drain, or begins it: until when its old tickets live is
// saved, so that a change of leaders does not begin the wait anew.
func (w *drain) of(ctx context.Context, n *tracker.Node) (*Drain, error) {
	w.mu.Lock()
	d := w.mu.drains[n.ID]
	w.mu.Unlock()
	if d != nil && d.Epoch == n.Epoch {
		return d, nil
	}
	name := fmt.Sprintf("drain-%d", n.ID)
	raw, err := w.store.Job(ctx, name)
	if err != nil {
		return nil, err
	}
	d = new(Drain)
	if json.Unmarshal(raw, d) != nil || d.Epoch != n.Epoch {
		d = &Drain{Epoch: n.Epoch, Until: w.c.RepairTicket(storage.BlobID{}, storage.Grantee{}).Expiry}
		if raw, err = json.Marshal(d); err != nil {
			return nil, fmt.Errorf("encode a drain: %w", err)
		}
		if err := w.store.SetJob(ctx, name, raw); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.drains[n.ID] = d
	return d, nil
}
