package worker

import (
	"bytes"

	"holdfast/storage"
)

// maxAgain bounds the blobs that are remembered to be looked at again. What
// does not fit, and what a change of leaders forgets, the whole pass finds.
const maxAgain = 10_000

// recheck has a blob compared once more when the fence has reached due, the
// expiry of a ticket under which a node may have a shard of it that nothing
// refers to: the ticket was renewed while its blob's id grew old, or is that
// of a repair that was given up.
func (w *reconcile) recheck(id storage.BlobID, due int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, ok := w.mu.again[id]; ok || len(w.mu.again) < maxAgain {
		w.mu.again[id] = max(was, due)
	}
}

// recheckLater notes the shards of an exchange that the fence has not passed,
// and that the walk over new ids does not come to any more.
func (w *reconcile) recheckLater(later []storage.ShardInfo, v View) {
	for i := range later {
		id := later[i].ID.Blob
		if end := w.groupStart(id.Group(), w.horizon(v)); bytes.Compare(id[:], end[:]) < 0 {
			w.recheck(id, later[i].Expiry)
		}
	}
}

// due takes one blob that the fence has come to; the mutex is held.
func (w *reconcile) due(v View) *walk {
	for id, at := range w.mu.again {
		if at <= v.Fence {
			delete(w.mu.again, id)
			return &walk{groups: []uint16{id.Group()}, at: id, only: true}
		}
	}
	return nil
}
