// Package raftlog keeps a voter's Raft log, votes, snapshot metadata and
// identity in one synced Pebble. It knows nothing of what an entry means.
//
// Every StoreLogs is one batch and one sync, which also carries the highest
// commit index known by then, so that a restarted voter can apply what was committed
// before it meets a leader. The log is bounded in bytes, not in entries.
package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"holdfast/tracker/kv"
)

// ErrCorrupt is returned for bytes that do not match their checksum.
var ErrCorrupt = errors.New("raftlog: corrupt")

var (
	keyIdentity = []byte("i")
	keySnapshot = []byte("n")
	keyCommit   = []byte("c")
	entriesLow  = []byte("e")
	entriesHigh = []byte("f")
)

func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'e'}, index)
}

// Store is the log of one voter. It implements raft.LogStore,
// raft.CommitTrackingLogStore, raft.MonotonicLogStore and raft.StableStore
// and is safe for concurrent use.
type Store struct {
	db    *kv.Store
	syncs atomic.Uint64
	bytes atomic.Uint64

	mu struct {
		sync.RWMutex
		first, last uint64 // 0, 0 if there is no entry
		total       uint64 // running total of bytes at last
		before      uint64 // running total before first
		worth       uint64 // see Worth
		pins        map[int]uint64
		nextPin     int
		ring        ring
		vote        []byte // term of a vote whose candidate is not yet stored
	}
	staged atomic.Uint64 // the highest commit index that is known; it goes into the next batch
	commit uint64        // as found by Open
	keep   uint64
}

// Options says how a log is kept.
type Options struct {
	kv.Options
	// KeepBytes is how much of the log stays after a snapshot for voters that
	// are behind. 0 keeps nothing that the snapshot holds.
	KeepBytes uint64
	// RecentBytes bounds the newest entries kept in memory for followers.
	RecentBytes int
}

// Open opens the log in dir, making an empty one unless opts.MustExist.
func Open(fs vfs.FS, dir string, opts Options) (*Store, error) {
	o := opts.Options
	o.WAL, o.NoFilters, o.NoCompression = true, true, true
	db, err := kv.Open(fs, dir, o)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, keep: opts.KeepBytes}
	s.mu.pins, s.mu.worth = make(map[int]uint64), math.MaxUint64
	s.mu.ring.limit = opts.RecentBytes
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: open %s: %w", dir, err), db.Close())
	}
	return s, nil
}

func (s *Store) load() error {
	commit, ok, err := s.db.Get(keyCommit, nil)
	if err != nil {
		return err
	}
	if ok && len(commit) == 8 {
		s.commit = binary.LittleEndian.Uint64(commit)
		s.staged.Store(s.commit)
	}
	if err := s.loadBounds(); err != nil {
		return err
	}
	snap, err := s.Snapshot()
	if err != nil || snap == nil || s.mu.last == 0 || snap.Index <= s.mu.last {
		return err
	}
	// A snapshot was taken over and the crash came before the old log went.
	return s.DeleteRange(s.mu.first, s.mu.last)
}

func (s *Store) loadBounds() error {
	it, err := s.db.Iter(entriesLow, entriesHigh)
	if err != nil {
		return err
	}
	var first []byte
	if it.First() {
		first = append(first, it.Key()...)
	}
	if err := it.Close(); err != nil {
		return err
	}
	last, ok, err := s.db.LastKey(entriesLow, entriesHigh)
	if err != nil || !ok || len(first) == 0 {
		return err
	}
	if len(first) != 9 || len(last) != 9 {
		return fmt.Errorf("key of an entry: %w", ErrCorrupt)
	}
	s.mu.first, s.mu.last = binary.BigEndian.Uint64(first[1:]), binary.BigEndian.Uint64(last[1:])
	var l raft.Log
	total, err := s.read(s.mu.first, &l)
	if err != nil {
		return err
	}
	s.mu.before = total - uint64(len(l.Data)+rowOverhead)
	s.mu.total, err = s.read(s.mu.last, &l)
	return err
}

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.first, nil
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.last, nil
}

// GetLog implements raft.LogStore. The entry's data must not be changed.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	s.mu.RLock()
	inside := index >= s.mu.first && index <= s.mu.last && index != 0
	hit := inside && s.mu.ring.get(index, l)
	s.mu.RUnlock()
	if hit {
		return nil
	}
	if !inside {
		return raft.ErrLogNotFound
	}
	_, err := s.read(index, l)
	return err
}

func (s *Store) read(index uint64, l *raft.Log) (total uint64, err error) {
	b, ok, err := s.db.Get(entryKey(index), nil)
	if err != nil {
		return 0, err
	}
	if !ok {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if index < s.mu.first || index > s.mu.last {
			return 0, raft.ErrLogNotFound // truncated meanwhile
		}
		return 0, fmt.Errorf("entry %d is missing: %w", index, ErrCorrupt)
	}
	return getRecord(b, index, l)
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: entries follow the last one, or start
// an empty log anywhere. They are durable on nil, with the staged commit index.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	return s.store(logs, nil)
}

func (s *Store) store(logs []*raft.Log, more func(*kv.Batch) error) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.RLock()
	last, total := s.mu.last, s.mu.total
	s.mu.RUnlock()
	size := 64
	for i, l := range logs {
		if (last != 0 || i > 0) && l.Index != last+1 || l.Index == 0 || len(l.Extensions) != 0 {
			return fmt.Errorf("raftlog: entry %d does not follow %d", l.Index, last)
		}
		last = l.Index
		size += recordSize(l) + 32
	}
	b := s.db.NewBatch(size)
	before := total
	for _, l := range logs {
		total += uint64(len(l.Data) + rowOverhead)
		rec, err := b.SetIn(entryKey(l.Index), recordSize(l))
		if err != nil {
			return err
		}
		putRecord(rec, l, total)
	}
	if err := b.Set(keyCommit, binary.LittleEndian.AppendUint64(nil, min(s.staged.Load(), last))); err != nil {
		return err
	}
	if more != nil {
		if err := more(b); err != nil {
			return err
		}
	}
	if err := s.sync(b); err != nil {
		return err
	}
	s.bytes.Add(total - before)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.first == 0 {
		s.mu.first, s.mu.before = logs[0].Index, before
	}
	s.mu.last, s.mu.total = last, total
	s.mu.ring.add(logs)
	return nil
}

func (s *Store) sync(b *kv.Batch) error {
	s.syncs.Add(1)
	return b.Commit(true)
}

// IsMonotonic implements raft.MonotonicLogStore: there are no gaps.
func (s *Store) IsMonotonic() bool { return true }

// StageCommitIndex implements raft.CommitTrackingLogStore. What is committed
// stays so, but Raft begins at 0 after each start: an index that is lower than
// what is known, from before Open too, changes nothing.
func (s *Store) StageCommitIndex(index uint64) error {
	for old := s.staged.Load(); index > old && !s.staged.CompareAndSwap(old, index); {
		old = s.staged.Load()
	}
	return nil
}

// GetCommitIndex implements raft.CommitTrackingLogStore with the answer that
// nothing is known. Raft would replay up to the index before its state
// machine runs, through a queue of 128 batches that nobody empties, and would
// then skip the configurations it replayed. The voter asks Committed and
// replays by itself.
func (s *Store) GetCommitIndex() (uint64, error) { return 0, nil }

// Committed returns the commit index that was durable when the log was
// opened, at most the last index.
func (s *Store) Committed() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return min(s.commit, s.mu.last)
}

// Syncs returns how often the log was synced, Bytes how much was appended.
func (s *Store) Syncs() uint64 { return s.syncs.Load() }

// Bytes returns the bytes appended since Open.
func (s *Store) Bytes() uint64 { return s.bytes.Load() }

// Held returns the bytes of the entries in the log.
func (s *Store) Held() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mu.first == 0 {
		return 0
	}
	return s.mu.total - s.mu.before
}

// DB returns the store below, for its figures and its failure.
func (s *Store) DB() *kv.Store { return s.db }

// Close releases the log; again it does nothing.
func (s *Store) Close() error { return s.db.Close() }
