package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// Log is the catalog as service.Catalog gives it: commands that are asked
// until they are answered, and linearizable views.
type Log interface {
	Do(ctx context.Context, m tracker.Mutation, cmd catalog.Command, growth bool) (any, error)
	View(ctx context.Context, f func(kv.Reader) error) error
}

// Retention is how long the change log is kept.
type Retention struct {
	Changes time.Duration // at least, and until every cursor has passed
	Dead    time.Duration // at most, whatever the cursors say
}

// DefaultRetention is the usual configuration.
func DefaultRetention() Retention { return Retention{Changes: time.Hour, Dead: 7 * 24 * time.Hour} }

// CatalogStore is the Store over a catalog.
type CatalogStore struct {
	log  Log
	keep Retention
	mu   struct {
		sync.Mutex
		outcomes     []byte // where the look at ended uploads goes on
		outcomesNext int64  // catalog time at which the next round begins
	}
}

// NewStore returns the Store of a catalog.
func NewStore(log Log, keep Retention) *CatalogStore { return &CatalogStore{log: log, keep: keep} }

// view reads the group's state first and then calls f. The order matters: a
// view of the log need not be one snapshot, and the fence may only be older
// than the rows that are judged by it.
func (s *CatalogStore) view(ctx context.Context, f func(kv.Reader, View) error) (v View, err error) {
	err = s.log.View(ctx, func(r kv.Reader) error {
		st, err := catalog.ReadState(r)
		if err != nil {
			return err
		}
		v = View{Now: st.Now, Fence: st.Fence, Incarnation: st.Incarnation}
		if f == nil {
			return nil
		}
		return f(r, v)
	})
	return v, err
}

// View implements Store.
func (s *CatalogStore) View(ctx context.Context) (View, error) { return s.view(ctx, nil) }

func blobOf(b *catalog.BlobState) Blob {
	return Blob{ID: b.ID, Scheme: b.Scheme, Length: b.Length, Shards: b.Shards, Dying: b.Dying, Time: catalog.SeqTime(b.Seq)}
}

// Blobs implements Store.
func (s *CatalogStore) Blobs(ctx context.Context, ids storage.IDRange, max int) (out []Blob, v View, err error) {
	v, err = s.view(ctx, func(r kv.Reader, _ View) error {
		return catalog.Blobs(r, ids, func(b *catalog.BlobState) bool {
			out = append(out, blobOf(b))
			return len(out) < max
		})
	})
	return out, v, err
}

// Lookup implements Store.
func (s *CatalogStore) Lookup(ctx context.Context, ids []storage.BlobID) (out map[storage.BlobID]Blob, v View, err error) {
	out = make(map[storage.BlobID]Blob, len(ids))
	v, err = s.view(ctx, func(r kv.Reader, _ View) error {
		for _, id := range ids {
			b, ok, err := catalog.Blob(r, id)
			if err != nil {
				return err
			}
			if ok {
				out[id] = blobOf(&b)
			}
		}
		return nil
	})
	return out, v, err
}

func (s *CatalogStore) do(ctx context.Context, cmd catalog.Command) (any, error) {
	return s.log.Do(ctx, tracker.Mutation{}, cmd, false)
}

// Switch implements Store.
func (s *CatalogStore) Switch(ctx context.Context, w *Switch) error {
	_, err := s.do(ctx, catalog.SwitchShard{Blob: w.Blob, Index: w.Index, Old: w.Old, New: w.New, Expiry: w.Expiry})
	return err
}

// Adopt implements Store.
func (s *CatalogStore) Adopt(ctx context.Context, w *Switch) error {
	_, err := s.do(ctx, catalog.AdoptShard{Blob: w.Blob, Index: w.Index, New: w.New, Expiry: w.Expiry})
	return err
}

// Garbage implements Store.
func (s *CatalogStore) Garbage(ctx context.Context, max int) (out []Garbage, err error) {
	_, err = s.view(ctx, func(r kv.Reader, _ View) error {
		rows, err := catalog.GarbageRows(r, catalog.GarbageID{}, max)
		if err != nil {
			return err
		}
		out = make([]Garbage, 0, len(rows))
		for i := range rows {
			g, err := garbageOf(r, &rows[i])
			if err != nil {
				return err
			}
			out = append(out, g)
		}
		return nil
	})
	return out, err
}

// garbageOf finds the shards that a garbage row speaks of. The map of a dying
// blob does not change any more.
func garbageOf(r kv.Reader, row *catalog.Garbage) (Garbage, error) {
	g := Garbage{ID: row.GarbageID, Time: row.At, Sweep: row.Swept(), Blob: row.Blob}
	switch row.Kind {
	case catalog.GarbageShard:
		g.Shards = []Shard{{row.Place.Node, storage.ShardID{Blob: row.Blob, Index: row.Index, Gen: row.Place.Gen}}}
	case catalog.GarbageBlob:
		b, ok, err := catalog.Blob(r, row.Blob)
		if err != nil {
			return g, err
		}
		if !ok || !b.Dying {
			return g, nil // its row went in an earlier step
		}
		for i, p := range b.Shards {
			if p.Node != 0 {
				g.Shards = append(g.Shards, Shard{p.Node, storage.ShardID{Blob: row.Blob, Index: uint8(i), Gen: p.Gen}})
			}
		}
	}
	return g, nil
}

// droppedPage is how many garbage rows are read at a time.
const droppedPage = 4096

// Dropped implements Store.
func (s *CatalogStore) Dropped(ctx context.Context, ids storage.IDRange) (map[Shard]bool, error) {
	out := map[Shard]bool{}
	_, err := s.view(ctx, func(r kv.Reader, _ View) error {
		var after catalog.GarbageID
		for {
			rows, err := catalog.GarbageRows(r, after, droppedPage)
			if err != nil {
				return err
			}
			for i := range rows {
				if g := &rows[i]; g.Kind == catalog.GarbageShard && within(ids, g.Blob) {
					out[Shard{g.Place.Node, storage.ShardID{Blob: g.Blob, Index: g.Index, Gen: g.Place.Gen}}] = true
				}
			}
			if len(rows) < droppedPage {
				return nil
			}
			after = rows[len(rows)-1].GarbageID
		}
	})
	return out, err
}

func within(r storage.IDRange, id storage.BlobID) bool {
	return string(r.From[:]) <= string(id[:]) && (r.To == storage.BlobID{} || string(id[:]) < string(r.To[:]))
}

// steps repeats a command that takes bounded steps.
func (s *CatalogStore) step(ctx context.Context, cmd catalog.Command) (*catalog.Step, error) {
	res, err := s.do(ctx, cmd)
	if err != nil {
		return nil, err
	}
	st, ok := res.(*catalog.Step)
	if !ok {
		return nil, fmt.Errorf("the catalog answers %T to %T: %w", res, cmd, tracker.ErrUnavailable)
	}
	return st, nil
}

// DropGarbage implements Store.
func (s *CatalogStore) DropGarbage(ctx context.Context, upTo catalog.GarbageID) error {
	for {
		st, err := s.step(ctx, catalog.DropGarbage{UpTo: upTo})
		if err != nil || !st.More {
			return err
		}
	}
}

// Sweep implements Store.
func (s *CatalogStore) Sweep(ctx context.Context, id catalog.GarbageID) (bool, error) {
	st, err := s.step(ctx, catalog.Sweep{GarbageID: id})
	if err != nil {
		return false, err
	}
	return st.More, nil
}

// Job implements Store.
func (s *CatalogStore) Job(ctx context.Context, id string) (state []byte, err error) {
	_, err = s.view(ctx, func(r kv.Reader, _ View) error {
		state, err = catalog.Job(r, id)
		return err
	})
	return state, err
}

// SetJob implements Store.
func (s *CatalogStore) SetJob(ctx context.Context, id string, state []byte) error {
	_, err := s.do(ctx, catalog.SetJob{ID: id, State: state})
	return err
}
