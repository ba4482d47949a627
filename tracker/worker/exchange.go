package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/erasure"
	"holdfast/storage"
)

// verdict is what the two sides of a range owe each other.
type verdict struct {
	disown, revive []storage.ShardID
	adopt          []storage.ShardInfo
	missing        []storage.ShardID
	bad            []storage.ShardID   // placed here, and not of the blob's size
	later          []storage.ShardInfo // not placed here, and the fence has not passed their tickets
}

// judge compares a node's shards, listed before the rows were read in one
// view, with the rows. It is the only place that decides what a node does not
// own: a shard whose ticket the fence has passed in that same view, and which
// that view does not place there, can be placed there by no later command.
func judge(node storage.NodeID, listed []storage.ShardInfo, rows map[storage.BlobID]Blob, v View) (out verdict) {
	has := make(map[storage.ShardID]bool, len(listed))
	for i := range listed {
		s := &listed[i]
		has[s.ID] = true
		b, known := rows[s.ID.Blob]
		inMap := known && int(s.ID.Index) < len(b.Shards)
		switch {
		case inMap && !b.Dying && b.Shards[s.ID.Index] == (storage.Placement{Node: node, Gen: s.ID.Gen}):
			if s.Quarantined != 0 {
				out.revive = append(out.revive, s.ID)
			}
			if !fits(&b, s) {
				out.bad = append(out.bad, s.ID)
			}
		case s.Quarantined != 0:
		case inMap && b.Shards[s.ID.Index] == (storage.Placement{Node: node, Gen: s.ID.Gen}):
			// Of a dying blob: the garbage worker's, after the readers' grace. What
			// the map does not place it does not know of.
		case s.Expiry > v.Fence:
			if inMap && !b.Dying && b.Shards[s.ID.Index] == (storage.Placement{}) && fits(&b, s) {
				out.adopt = append(out.adopt, *s)
			} else {
				out.later = append(out.later, *s)
			}
		default:
			out.disown = append(out.disown, s.ID)
		}
	}
	for id, b := range rows {
		for x, p := range b.Shards {
			sid := storage.ShardID{Blob: id, Index: uint8(x), Gen: p.Gen}
			if p.Node == node && !b.Dying && !has[sid] {
				out.missing = append(out.missing, sid)
			}
		}
	}
	return out
}

// page is how many shards are listed, disowned or revived in one call.
const page = 1000

// exchange settles a range with a node shard by shard. The order matters: the
// node's list first, then the rows and the fence in one view, and then the
// garbage, so that what is on its way out is seen as one or the other.
func (w *reconcile) exchange(ctx context.Context, api storage.Shards, r storage.IDRange, blobs []Blob) error {
	listed, err := w.list(ctx, api, r)
	if err != nil {
		return err
	}
	ids := make([]storage.BlobID, 0, len(blobs)+len(listed))
	seen := make(map[storage.BlobID]bool, len(blobs))
	add := func(id storage.BlobID) {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for i := range blobs {
		add(blobs[i].ID)
	}
	for i := range listed {
		add(listed[i].ID.Blob)
	}
	rows, v, err := w.store.Lookup(ctx, ids)
	if err != nil {
		return err
	}
	out := judge(api.Node(), listed, rows, v)
	if len(out.disown) > 0 {
		dropped, err := w.store.Dropped(ctx, r)
		if err != nil {
			return err
		}
		// These are the garbage worker's, after the readers' grace.
		out.disown = slices.DeleteFunc(out.disown, func(id storage.ShardID) bool { return dropped[Shard{api.Node(), id}] })
	}
	w.report(ctx, api, out)
	w.adopt(ctx, api.Node(), out.adopt)
	w.recheckLater(out.later, v)
	if err := w.chunks(ctx, out.revive, api.Revive, func(f *Findings, n int) { f.Revived += uint64(n) }); err != nil {
		return fmt.Errorf("revive on node %d: %w", api.Node(), err)
	}
	return w.disown(ctx, api, out.disown, v)
}

// list reads all of a node's shards in a range.
func (w *reconcile) list(ctx context.Context, api storage.Shards, r storage.IDRange) (out []storage.ShardInfo, err error) {
	var after storage.ShardID
	for {
		call, cancel := context.WithTimeout(ctx, nodeTimeout)
		got, err := api.List(call, r, after, page)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("list shards of node %d: %w", api.Node(), err)
		}
		out = append(out, got...)
		if len(got) < page {
			return out, nil
		}
		after = got[len(got)-1].ID
	}
}

// report enters missing and bad shards into the repair table. A few are asked
// for once more first: they may have come while the two sides were read.
func (w *reconcile) report(ctx context.Context, api storage.Shards, out verdict) {
	now := w.clk.Now()
	n := uint64(0)
	for i, id := range out.missing {
		if i < 64 {
			if _, err := api.Stat(ctx, id); !errors.Is(err, storage.ErrNotHere) {
				continue
			}
		}
		n++
		w.table.add(id.Blob, now, erasure.MaxWidth, true, report{shard: id, node: api.Node(), missing: true})
	}
	for _, id := range out.bad {
		w.table.add(id.Blob, now, erasure.MaxWidth, true, report{shard: id, node: api.Node()})
	}
	if n > 0 {
		w.logger.Warn().Uint32("node", uint32(api.Node())).Uint64("shards", n).Stringer("first", out.missing[0]).Msg("node lacks shards that the catalog places on it; repairing them")
	}
	w.mu.Lock()
	w.mu.found.Missing += n
	w.mu.Unlock()
}

// adopt fills holes with shards that a node sealed after its writer left.
func (w *reconcile) adopt(ctx context.Context, node storage.NodeID, shards []storage.ShardInfo) {
	for i := range shards {
		s := &shards[i]
		err := w.store.Adopt(ctx, &Switch{Blob: s.ID.Blob, Index: s.ID.Index, New: storage.Placement{Node: node, Gen: s.ID.Gen}, Expiry: s.Expiry})
		if err == nil {
			w.mu.Lock()
			w.mu.found.Adopted++
			w.mu.Unlock()
		}
	}
}

// disown tells a node what is not its own. A node that was told too much
// within an hour, or that knows another incarnation of the catalog, is left
// alone until a person has looked at it.
func (w *reconcile) disown(ctx context.Context, api storage.Shards, ids []storage.ShardID, v View) error {
	at := time.UnixMilli(v.Now)
	err := w.chunks(ctx, ids, func(ctx context.Context, ids []storage.ShardID) error {
		return api.Disown(ctx, ids, at)
	}, func(f *Findings, n int) { f.Disowned += uint64(n) })
	held := errors.Is(err, storage.ErrMassDisown) || errors.Is(err, storage.ErrIncarnation)
	w.mu.Lock()
	_, told := w.mu.held[api.Node()]
	if held {
		w.mu.held[api.Node()] = err.Error()
	} else if err == nil && len(ids) > 0 {
		delete(w.mu.held, api.Node())
	}
	w.mu.Unlock()
	switch {
	case held && !told:
		w.logger.Error().Err(err).Uint32("node", uint32(api.Node())).Int("shards", len(ids)).Msg("node refuses to disown shards until a person has looked")
		return nil
	case held:
		return nil
	case err != nil:
		return fmt.Errorf("disown on node %d: %w", api.Node(), err)
	}
	return nil
}

// chunks calls f with a page of ids at a time and counts them.
func (w *reconcile) chunks(ctx context.Context, ids []storage.ShardID, f func(context.Context, []storage.ShardID) error, count func(*Findings, int)) error {
	for len(ids) > 0 {
		n := min(page, len(ids))
		call, cancel := context.WithTimeout(ctx, nodeTimeout)
		err := f(call, ids[:n])
		cancel()
		if err != nil {
			return err
		}
		w.mu.Lock()
		count(&w.mu.found, n)
		w.mu.Unlock()
		ids = ids[n:]
	}
	return nil
}
