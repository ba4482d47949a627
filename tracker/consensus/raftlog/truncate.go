package raftlog

import (
	"errors"

	"github.com/hashicorp/raft"
)

// DeleteRange implements raft.LogStore for the ranges that Raft deletes: a
// prefix after a snapshot, a suffix that conflicts with the leader's log, and
// all of it once a snapshot was taken over. Of a prefix it keeps the newest
// KeepBytes, within the bound of Worth, and what is pinned; with TrailingLogs of 1 a prefix is never all.
// A prefix that is still there after a crash does no harm, so only the others
// are synced. The lock is held over the writes because the bounds and the
// rows must agree for readers; they take no longer than one sync.
func (s *Store) DeleteRange(low, high uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.first == 0 || high < s.mu.first || low > s.mu.last || low > high {
		return nil
	}
	low, high = max(low, s.mu.first), min(high, s.mu.last)
	switch {
	case low == s.mu.first && high == s.mu.last:
		return s.deleteAll()
	case high == s.mu.last:
		return s.deleteSuffix(low)
	case low == s.mu.first:
		return s.deletePrefix(high)
	}
	return errors.New("raftlog: a range inside the log cannot be deleted")
}

func (s *Store) deleteAll() error {
	b := s.db.NewBatch(64)
	// Not past the last entry: another may be on its way into the store.
	if err := b.DeleteRange(entriesLow, entryKey(s.mu.last+1)); err != nil {
		return err
	}
	if err := s.sync(b); err != nil {
		return err
	}
	s.mu.first, s.mu.last, s.mu.before = 0, 0, s.mu.total
	s.mu.ring.clear()
	return nil
}

func (s *Store) deleteSuffix(low uint64) error {
	var l raft.Log
	total, err := s.read(low-1, &l)
	if err != nil {
		return err
	}
	b := s.db.NewBatch(64)
	if err := b.DeleteRange(entryKey(low), entriesHigh); err != nil {
		return err
	}
	if err := s.sync(b); err != nil {
		return err
	}
	s.mu.last, s.mu.total = low-1, total
	s.mu.ring.clear()
	return nil
}

func (s *Store) deletePrefix(high uint64) error {
	high, total, err := s.cut(high)
	if err != nil || high < s.mu.first {
		return err
	}
	b := s.db.NewBatch(64)
	if err := b.DeleteRange(entriesLow, entryKey(high+1)); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	s.mu.first, s.mu.before = high+1, total
	return nil
}

// cut returns the last entry to delete, at most high, and the running total
// there, so that KeepBytes and the pins stay.
func (s *Store) cut(high uint64) (uint64, uint64, error) {
	for _, pin := range s.mu.pins {
		if pin <= s.mu.first {
			return 0, 0, nil
		}
		high = min(high, pin-1)
	}
	var l raft.Log
	low, total := s.mu.first-1, s.mu.before // low can always go: it is gone
	for low < high {
		mid := high - (high-low)/2
		at, err := s.read(mid, &l)
		if err != nil {
			return 0, 0, err
		}
		if s.mu.total-at >= min(s.keep, s.mu.worth) {
			low, total = mid, at
		} else {
			high = mid - 1
		}
	}
	return low, total, nil
}

// Worth bounds KeepBytes by what it costs a voter to catch up without the log.
func (s *Store) Worth(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.worth = bytes
}

// Tidy gives back the space of entries that were deleted: until the deletion
// is flushed, they stay in the tables that they were flushed to.
func (s *Store) Tidy() error { return s.db.Flush() }

// Keep changes KeepBytes.
func (s *Store) Keep(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = bytes
}

// Pin keeps the entries from index on until release is called, for a voter
// that is being seeded.
func (s *Store) Pin(index uint64) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.mu.nextPin
	s.mu.nextPin++
	s.mu.pins[n] = index
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.pins, n)
	}
}

// ring holds the newest entries within a limit of bytes.
type ring struct {
	limit int
	size  int
	logs  []*raft.Log // consecutive
}

func (r *ring) add(logs []*raft.Log) {
	if r.limit == 0 {
		return
	}
	if n := len(r.logs); n > 0 && r.logs[n-1].Index+1 != logs[0].Index {
		r.clear()
	}
	for _, l := range logs {
		r.logs = append(r.logs, l)
		r.size += len(l.Data) + 128
	}
	drop := 0
	for ; drop < len(r.logs) && (r.size > r.limit || len(r.logs)-drop > 1024); drop++ {
		r.size -= len(r.logs[drop].Data) + 128
		r.logs[drop] = nil
	}
	r.logs = r.logs[drop:]
}

func (r *ring) get(index uint64, l *raft.Log) bool {
	if len(r.logs) == 0 || index < r.logs[0].Index {
		return false
	}
	if i := index - r.logs[0].Index; i < uint64(len(r.logs)) {
		*l = *r.logs[i]
		return true
	}
	return false
}

func (r *ring) clear() { r.logs, r.size = nil, 0 }
