package kv

import "github.com/cockroachdb/pebble/v2"

// Batch is a set of writes without reads, cheaper than a Tx. It serves one
// goroutine. Arguments are copied.
type Batch struct {
	s *Store
	b *pebble.Batch
}

// NewBatch returns an empty batch with room for size bytes.
func (s *Store) NewBatch(size int) *Batch { return &Batch{s, s.db.NewBatchWithSize(size)} }

// Set writes a row.
func (b *Batch) Set(key, val []byte) error { return b.b.Set(key, val, nil) }

// SetIn makes a row and returns where its value of n bytes must be written
// before the next call.
func (b *Batch) SetIn(key []byte, n int) ([]byte, error) {
	op := b.b.SetDeferred(len(key), n)
	copy(op.Key, key)
	return op.Value, op.Finish()
}

// Delete removes a row.
func (b *Batch) Delete(key []byte) error { return b.b.Delete(key, nil) }

// DeleteRange removes [lower, upper).
func (b *Batch) DeleteRange(lower, upper []byte) error { return b.b.DeleteRange(lower, upper, nil) }

// Commit writes the batch and ends it; see Tx.Commit.
func (b *Batch) Commit(sync bool) error {
	if err := b.s.apply(b.b, sync); err != nil {
		return err
	}
	return b.b.Close()
}

// Close drops a batch that was not committed.
func (b *Batch) Close() error { return b.b.Close() }
