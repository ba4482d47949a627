package kv

import (
	"bytes"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
)

// Tx is the Store's Txn: one Pebble batch, committed at once or not at all.
// It serves one goroutine. The state below it must not be written meanwhile
// by others if its reads are to hold at the commit.
//
// Point reads of its own writes go through a map over the batch's memory,
// which spares the index of Pebble's indexed batch; the first iterator
// turns the batch into an indexed one.
type Tx struct {
	s       *Store
	b       *pebble.Batch // where writes go
	plain   *pebble.Batch // the batch before the first iterator; over points into it
	over    map[string]entry
	ranges  []span // deleted ranges; over holds what was set in them later
	indexed bool
}

type entry struct {
	val  []byte
	live bool
}

type span struct{ lower, upper []byte }

// Begin returns an empty transaction. Commit or Close must end it.
func (s *Store) Begin() *Tx {
	t := s.txns.Get().(*Tx)
	t.b = s.db.NewBatch()
	return t
}

// Get implements Reader: the transaction's own write, or the store's value.
func (t *Tx) Get(key, buf []byte) (val []byte, ok bool, err error) {
	if e, hit := t.over[unsafe.String(unsafe.SliceData(key), len(key))]; hit {
		if !e.live {
			return nil, false, nil
		}
		return append(buf[:0], e.val...), true, nil
	}
	for _, r := range t.ranges {
		if bytes.Compare(r.lower, key) <= 0 && bytes.Compare(key, r.upper) < 0 {
			return nil, false, nil
		}
	}
	return t.s.get(t.s.db, key, buf)
}

// Iter implements Reader. The iterator sees the transaction's writes before
// this call; it must be closed before the transaction ends.
func (t *Tx) Iter(lower, upper []byte) (Iterator, error) {
	if !t.indexed {
		if t.b.Empty() {
			return t.s.iter(t.s.db, lower, upper)
		}
		indexed := t.s.db.NewIndexedBatch()
		if err := indexed.Apply(t.b, nil); err != nil {
			_ = indexed.Close()
			return nil, t.s.fail(err)
		}
		t.plain, t.b, t.indexed = t.b, indexed, true
	}
	return t.s.iter(t.b, lower, upper)
}

// Set implements Txn.
func (t *Tx) Set(key, val []byte) error {
	op := t.b.SetDeferred(len(key), len(val))
	copy(op.Key, key)
	copy(op.Value, val)
	k, v := op.Key, op.Value
	if err := op.Finish(); err != nil {
		return t.s.fail(err)
	}
	t.over[unsafe.String(unsafe.SliceData(k), len(k))] = entry{v, true}
	return nil
}

// Delete implements Txn.
func (t *Tx) Delete(key []byte) error {
	op := t.b.DeleteDeferred(len(key))
	copy(op.Key, key)
	k := op.Key
	if err := op.Finish(); err != nil {
		return t.s.fail(err)
	}
	t.over[unsafe.String(unsafe.SliceData(k), len(k))] = entry{}
	return nil
}

// DeleteRange implements Txn.
func (t *Tx) DeleteRange(lower, upper []byte) error {
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	if err := t.b.DeleteRange(lower, upper, nil); err != nil {
		return t.s.fail(err)
	}
	lo, hi := string(lower), string(upper)
	for k := range t.over {
		if lo <= k && k < hi {
			delete(t.over, k)
		}
	}
	t.ranges = append(t.ranges, span{[]byte(lo), []byte(hi)})
	return nil
}

// Len returns the size in bytes of what Commit will write.
func (t *Tx) Len() int { return t.b.Len() }

// Commit makes the writes visible and ends the transaction. With sync they
// are durable on nil: through the WAL, or by a flush where there is none.
// After an error the store has ended.
func (t *Tx) Commit(sync bool) error {
	s := t.s
	err := s.apply(t.b, sync)
	if err != nil {
		// The engine may still hold the batch, so it is not used again.
		t.b, t.plain = nil, nil
	}
	t.Close()
	return err
}

// Close ends the transaction; what was not committed is dropped. The Tx must
// not be used afterwards.
func (t *Tx) Close() {
	if t.b != nil {
		_ = t.b.Close()
	}
	if t.plain != nil {
		_ = t.plain.Close()
	}
	t.b, t.plain, t.indexed = nil, nil, false
	if len(t.over) > 16<<10 {
		t.over = make(map[string]entry, 64)
	} else {
		clear(t.over)
	}
	t.ranges = t.ranges[:0]
	t.s.txns.Put(t)
}

// apply commits b.
func (s *Store) apply(b *pebble.Batch, sync bool) error {
	how := pebble.NoSync
	if sync && s.wal {
		how = pebble.Sync
	}
	if err := s.guard.Do(func() error { return b.Commit(how) }); err != nil {
		return s.fail(err)
	}
	if sync && !s.wal {
		return s.Flush()
	}
	return nil
}
