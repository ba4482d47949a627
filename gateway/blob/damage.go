package blob

import (
	"errors"
	"fmt"

	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// maxRefreshes bounds how often one read asks for its blob's map.
const maxRefreshes = 16

// suspect notes a shard that was bad or missing, to ask the catalog about.
func (f *fetcher) suspect(i int, err error) {
	l := &f.lanes[i]
	l.why = err
	if l.reported != l.place {
		f.suspects = append(f.suspects, i)
	}
}

// settle asks for the present map where shards are suspect. What the map has
// elsewhere by now is read from there (true is returned); what it still has
// in the place that failed is damage.
func (f *fetcher) settle() (moved bool) {
	if len(f.suspects) == 0 {
		return false
	}
	suspects := f.suspects
	f.suspects = f.suspects[:0]
	now := f.blob
	if f.o.Refresh != nil {
		fresh, ok := f.refresh()
		if !ok {
			return false // unknown: scrub will find it if it is rot
		}
		now = fresh
	}
	for _, i := range suspects {
		l := &f.lanes[i]
		if now.Shards[i] != l.place || l.reported == l.place {
			continue
		}
		l.reported = l.place
		if f.o.Damage != nil {
			id := storage.ShardID{Blob: f.blob.ID, Index: uint8(i), Gen: l.place.Gen}
			f.o.Damage(storage.Damage{Shard: id, Node: l.place.Node, Reason: l.why.Error()})
		}
	}
	return f.adopt(now)
}

// refresh asks for the blob's row.
func (f *fetcher) refresh() (tracker.Blob, bool) {
	if f.o.Refresh == nil || f.refreshes == maxRefreshes {
		return tracker.Blob{}, false
	}
	f.refreshes++
	b, err := f.o.Refresh(f.ctx)
	if err != nil {
		if fault.KindOf(err) == fault.NotFound {
			f.gone = err
		}
		return tracker.Blob{}, false
	}
	ok := b.ID == f.blob.ID && b.Scheme == f.blob.Scheme && b.Length == f.blob.Length && len(b.Shards) == len(f.lanes)
	return b, ok
}

// adopt takes a new map. Streams that are open go on; shards that were moved
// are sound again.
func (f *fetcher) adopt(b tracker.Blob) (moved bool) {
	for i, p := range b.Shards {
		l := &f.lanes[i]
		if p == l.place {
			continue
		}
		moved = true
		l.place, l.fate, l.tried = p, sound, 0
		f.rank(i)
	}
	f.blob.Shards = b.Shards
	return moved
}

// lastResort asks for the present map where nothing is left to read.
func (f *fetcher) lastResort() bool {
	b, ok := f.refresh()
	return ok && f.adopt(b)
}

// hopeless is the error of a window that cannot be filled: corruption if too
// many shards are bad, missing or holes, else nodes that do not answer.
func (f *fetcher) hopeless(w *window) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	lost, errs := 0, []error(nil)
	for i := range f.lanes {
		l := &f.lanes[i]
		if l.place.Node == 0 || l.fate == bad || l.fate == missing {
			lost++
		}
		if l.op != nil && l.why == nil {
			l.why = ErrStalled
		}
		if l.why != nil {
			errs = append(errs, fmt.Errorf("shard %d.%d on node %d: %w", i, l.place.Gen, l.place.Node, l.why))
		}
	}
	sentinel := storage.ErrOffline
	switch {
	case f.gone != nil:
		sentinel = storage.ErrNotHere
		errs = append(errs, f.gone)
	case lost > int(f.blob.Scheme.Parity):
		sentinel = storage.ErrCorrupt
	}
	if len(errs) == 0 {
		return fmt.Errorf("blob %s, stripe %d: %w", f.blob.ID, w.First, sentinel)
	}
	return fmt.Errorf("blob %s, stripe %d: %w: %w", f.blob.ID, w.First, sentinel, errors.Join(errs...))
}
