package worker

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"holdfast/erasure/frame"
	"holdfast/storage"
	"holdfast/tracker"
)

// place is where a walk stands, as it is saved.
func (k *walk) place() string {
	if len(k.groups) == 0 {
		return ""
	}
	if k.at == (storage.BlobID{}) {
		return hex.EncodeToString([]byte{byte(k.groups[0] >> 8), byte(k.groups[0])})
	}
	return k.at.String()
}

// resume makes a whole walk that goes on at a saved place.
func resume(groups []uint16, at string) *walk {
	groups = slices.Clone(groups)
	slices.Sort(groups)
	k := &walk{groups: groups}
	raw, err := hex.DecodeString(at)
	var group uint16
	switch {
	case err == nil && len(raw) == len(k.at):
		k.at = storage.BlobID(raw)
		group = k.at.Group()
	case err == nil && len(raw) == 2:
		group = uint16(raw[0])<<8 | uint16(raw[1])
	}
	for len(k.groups) > 1 && k.groups[0] < group {
		k.groups = k.groups[1:]
	}
	if k.groups[0] != group {
		k.at = storage.BlobID{}
	}
	return k
}

// bounds is the rest of the walk's present group.
func (w *reconcile) bounds(k *walk) storage.IDRange {
	g := k.groups[0]
	r := storage.IDRange{From: w.groupStart(g, k.from), To: groupEnd(w.cfg.Home, g)}
	if k.fresh {
		r.To = w.groupStart(g, k.until)
	}
	if k.at != (storage.BlobID{}) {
		r.From = k.at
	}
	if k.only {
		r.To = next(k.at)
	}
	return r
}

// rangeOf compares one range of a walk on all its nodes at once, and reports
// whether the walk has ended.
func (w *reconcile) rangeOf(ctx context.Context, k *walk, m *tracker.Map) (done bool, err error) {
	r := w.bounds(k)
	blobs, _, err := w.store.Blobs(ctx, r, w.cfg.Batch)
	if err != nil {
		return false, err
	}
	last := len(blobs) < w.cfg.Batch
	if !last {
		r.To = next(blobs[len(blobs)-1].ID)
	}
	want := digests(blobs)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	var silent []storage.NodeID
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.Group != k.groups[0] || !answers(n.State) || k.node != 0 && k.node != n.ID {
			continue
		}
		wg.Go(func() {
			answers, err := w.compare(ctx, n.ID, r, want[n.ID], blobs)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			} else if !answers {
				silent = append(silent, n.ID)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	for _, node := range silent {
		if k.node != 0 { // it was asked once more already
			w.again(node, w.cfg.NewEvery)
			return true, nil
		}
		w.again(node, 0)
	}
	if !last {
		k.at = r.To
		return false, nil
	}
	k.groups, k.at = k.groups[1:], storage.BlobID{}
	return len(k.groups) == 0, nil
}

// digests sums up what the rows place on each node.
func digests(blobs []Blob) map[storage.NodeID]storage.Digest {
	out := map[storage.NodeID]storage.Digest{}
	for i := range blobs {
		if blobs[i].Dying {
			continue
		}
		for x, p := range blobs[i].Shards {
			if p.Node != 0 {
				d := out[p.Node]
				d.Count++
				d.XOR ^= frame.Name(blobs[i].ID, uint8(x), p.Gen)
				out[p.Node] = d
			}
		}
	}
	return out
}

// compare asks a node for its digest of a range, and for the shards where it
// differs. It reports whether the node answers: one that does not is asked
// later.
func (w *reconcile) compare(ctx context.Context, node storage.NodeID, r storage.IDRange, want storage.Digest, blobs []Blob) (answers bool, err error) {
	api, err := w.nodes.Shards(node)
	if err != nil {
		return true, nil // it is not there, and compared when it comes back
	}
	call, cancel := context.WithTimeout(ctx, nodeTimeout)
	got, err := api.Digest(call, r)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			w.logger.Warn().Err(err).Uint32("node", uint32(node)).Msg("node does not answer reconcile")
		}
		return false, ctx.Err()
	}
	w.mu.Lock()
	w.mu.found.Ranges++
	if got != want {
		w.mu.found.Unequal++
	}
	w.mu.Unlock()
	if got == want {
		return true, nil
	}
	return true, w.exchange(ctx, api, r, blobs)
}

// missed has a node compared on which something was left behind.
func (w *reconcile) missed(node storage.NodeID) { w.again(node, 0) }

// again has a node compared as one that came back, after a while, once it is
// active and a walk over it that is under way has ended.
func (w *reconcile) again(node storage.NodeID, after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.states != nil {
		w.mu.states[node], w.mu.notYet[node] = tracker.NodeDown, w.clk.Now().Add(after)
	}
}

// cameBack tells whether a walk over a node is to begin; the mutex is held.
func (w *reconcile) cameBack(n *tracker.Node) bool {
	was := w.mu.states[n.ID]
	if was != tracker.NodeDown || !answers(n.State) {
		w.mu.states[n.ID] = n.State
		return false
	}
	walks := slices.ContainsFunc(w.mu.back, func(k *walk) bool { return k.node == n.ID })
	if walks || w.clk.Now().Before(w.mu.notYet[n.ID]) {
		return false
	}
	w.mu.states[n.ID] = n.State
	delete(w.mu.notYet, n.ID)
	return true
}
