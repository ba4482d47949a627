package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/engine"
	hfs "holdfast/internal/vfs"
)

// ErrClosed is what a closed store answers.
var ErrClosed = errors.New("kv: store is closed")

// Store is an ordered store on Pebble. It is a Reader of its newest state,
// and safe for concurrent use; Close must come after every other call has
// returned and every iterator, snapshot and transaction was closed.
//
// The first error of the engine ends the store for good: from then on every
// write answers that error, and reads are best effort. Pebble itself would
// end the process; here the owner decides (see Options.OnFailure).
type Store struct {
	dir    string
	guard  *engine.Guard
	db     *pebble.DB
	wal    bool
	closed atomic.Bool
	txns   sync.Pool
}

// Open opens the store in dir, making it unless opts.MustExist. The parent
// directory must exist durably; dir itself is locked against other owners.
func Open(fs vfs.FS, dir string, opts Options) (s *Store, err error) {
	s = &Store{dir: dir, wal: opts.WAL}
	s.guard, s.db, err = engine.Open(dir, opts.pebble(fs), engine.Config{
		Name: "kv: store " + dir, Logger: opts.Logger, OnFailure: opts.OnFailure, Transient: hfs.NoDescriptors})
	if err != nil {
		return nil, err
	}
	s.txns.New = func() any { return &Tx{s: s, over: make(map[string]entry, 64)} }
	return s, nil
}

// Err returns the error that ended the store, nil while it is well.
func (s *Store) Err() error { return s.guard.Err() }

// Failed is closed once the store has ended by an error.
func (s *Store) Failed() <-chan struct{} { return s.guard.Failed() }

// Gone is closed once the store was closed and holds its directory no more;
// after a failure that may be a while after Close, or never.
func (s *Store) Gone() <-chan struct{} { return s.guard.Gone() }

// fail ends the store with err and returns the error that ended it first.
func (s *Store) fail(err error) error { return s.guard.Fail(err) }

// failRead ends the store with an error of a read, unless that says nothing of
// the store.
func (s *Store) failRead(err error) error {
	if hfs.NoDescriptors(err) {
		return fmt.Errorf("kv: store %s: %w", s.dir, err)
	}
	return s.fail(err)
}

// Dir returns the directory the store was opened in.
func (s *Store) Dir() string { return s.dir }

// Get implements Reader.
func (s *Store) Get(key, buf []byte) (val []byte, ok bool, err error) {
	return s.get(s.db, key, buf)
}

func (s *Store) get(r pebble.Reader, key, buf []byte) (val []byte, ok bool, err error) {
	v, closer, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.failRead(err)
	}
	val = append(buf[:0], v...)
	if err := closer.Close(); err != nil {
		return nil, false, s.failRead(err)
	}
	return val, true, nil
}

// Iter implements Reader. The iterator sees the state as of this call.
func (s *Store) Iter(lower, upper []byte) (Iterator, error) { return s.iter(s.db, lower, upper) }

func (s *Store) iter(r pebble.Reader, lower, upper []byte) (Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, s.failRead(err)
	}
	return &iterator{Iterator: it, s: s}, nil
}

// LastKey returns a copy of the greatest key in [lower, upper).
func (s *Store) LastKey(lower, upper []byte) (key []byte, ok bool, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, false, s.failRead(err)
	}
	if ok = it.Last(); ok {
		key = bytes.Clone(it.Key())
	}
	if err := it.Close(); err != nil {
		return nil, false, s.failRead(err)
	}
	return key, ok, nil
}

type iterator struct {
	*pebble.Iterator
	s *Store
}

func (it *iterator) Close() error {
	if err := it.Iterator.Close(); err != nil {
		return it.s.failRead(err)
	}
	return nil
}

// Snapshot is a Reader of one state for any number of reads. It holds back
// compaction of what it sees, so it must be closed soon.
type Snapshot struct {
	s    *Store
	snap *pebble.Snapshot
}

// Snapshot returns a reader of the present state.
func (s *Store) Snapshot() *Snapshot { return &Snapshot{s, s.db.NewSnapshot()} }

// Get implements Reader.
func (n *Snapshot) Get(key, buf []byte) ([]byte, bool, error) { return n.s.get(n.snap, key, buf) }

// Iter implements Reader.
func (n *Snapshot) Iter(lower, upper []byte) (Iterator, error) { return n.s.iter(n.snap, lower, upper) }

// Close releases the snapshot.
func (n *Snapshot) Close() error { return n.s.guard.Do(n.snap.Close) }

// Flush makes durable everything committed before the call.
func (s *Store) Flush() error {
	if err := s.guard.Flush(); err != nil {
		return s.fail(err)
	}
	return nil
}

// Checkpoint flushes, then makes dir, which must not exist on the store's
// file system, an openable copy of a state no older than the call. Tables are
// hard links where the file system has them.
func (s *Store) Checkpoint(dir string) error {
	if err := s.Flush(); err != nil {
		return err
	}
	if err := s.guard.Do(func() error { return s.db.Checkpoint(dir) }); err != nil {
		return fmt.Errorf("kv: checkpoint %s: %w", dir, err)
	}
	return nil
}

// Compact rewrites [lower, upper) so that deleted rows give their space back.
func (s *Store) Compact(ctx context.Context, lower, upper []byte) error {
	return s.guard.Do(func() error { return s.db.Compact(ctx, lower, upper, false) })
}

// Metrics is what a store tells of itself; sizes are in bytes.
type Metrics struct {
	DiskBytes      uint64 // tables, logs and manifests, also those being removed
	MemTableBytes  uint64
	CompactionDebt uint64
	ReadAmp        int
	CacheHits      int64
	CacheMisses    int64
	Flushes        int64
	Compactions    int64
}

// Metrics returns the store's figures, none of a store that has ended. It
// takes tens of microseconds.
func (s *Store) Metrics() Metrics {
	m, ok := s.metrics()
	if !ok {
		return Metrics{}
	}
	return Metrics{
		DiskBytes:      m.DiskSpaceUsage(),
		MemTableBytes:  m.MemTable.Size,
		CompactionDebt: m.Compact.EstimatedDebt,
		ReadAmp:        m.ReadAmp(),
		CacheHits:      m.BlockCache.Hits,
		CacheMisses:    m.BlockCache.Misses,
		Flushes:        m.Flush.Count,
		Compactions:    m.Compact.Count,
	}
}

// DiskUsage returns the bytes the store takes on its file system; 0 of a store
// that has ended.
func (s *Store) DiskUsage() uint64 {
	m, ok := s.metrics()
	if !ok {
		return 0
	}
	return m.DiskSpaceUsage()
}

// metrics asks the engine, which may hold its locks for ever once it failed.
func (s *Store) metrics() (*pebble.Metrics, bool) {
	got := make(chan *pebble.Metrics, 1)
	if s.guard.Do(func() error { got <- s.db.Metrics(); return nil }) != nil {
		return nil, false
	}
	return <-got, true
}

// Close releases the store. It flushes nothing: without a WAL, what was not
// flushed is gone. A store that failed may not be able to release its lock.
// Closing again does nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.guard.Close()
}
