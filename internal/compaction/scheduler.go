// Package compaction decides when a Pebble store may compact. Pebble's own
// scheduler asks its store ten times a second whether it waits, also where
// nothing was written for days; a server has up to ten stores, and those
// questions were most of what it did when idle. This one asks only when the
// answer can have changed.
//
// It knows nothing of what a store holds, and has no files. Goroutines: a
// short one where a store may compact more than before in the middle of a
// flush; Unregister waits for it.
package compaction

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Scheduler is a pebble.CompactionScheduler for one store: it grants what the
// store's own limit (CompactionConcurrencyRange) allows, at once. It is not
// shared, so that a store whose disk hangs in a compaction holds up no other.
//
// A store that was refused waits, and does not ask again by itself. It is
// refused only while it has a compaction running, and is granted the next
// when one of those ends, or when its limit rises in between, which it tells.
// So whoever waits has something running that will end the wait.
type Scheduler struct {
	db pebble.DBForCompaction // set by Register, before any other call
	mu struct {
		sync.Mutex
		running  int  // granted and not done
		waiting  bool // the store may want more than it was granted
		granting bool // somebody is in grant, which serves all
		closed   bool
	}
	granted sync.Cond // signalled when granting becomes false
}

var _ pebble.CompactionScheduler = (*Scheduler)(nil)

// New returns a scheduler for one store.
func New() *Scheduler {
	s := &Scheduler{}
	s.granted.L = &s.mu
	return s
}

// Register implements pebble.CompactionScheduler.
func (s *Scheduler) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// Unregister implements pebble.CompactionScheduler: afterwards nothing is
// granted, and the store is not called.
func (s *Scheduler) Unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for s.mu.granting {
		s.granted.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler. The store holds its
// lock, which grant's call into the store takes: so a refusal is noted before
// the store can be asked whether it waits.
func (s *Scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false, nil
	}
	if !s.room() {
		s.mu.waiting = true
		return false, nil
	}
	s.mu.running++
	return true, (*handle)(s)
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler. It
// is called at the end of each flush, with the store's lock held: what there
// is to grant is granted on a goroutine.
func (s *Scheduler) UpdateGetAllowedWithoutPermission() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.due() || s.mu.granting {
		return
	}
	s.mu.granting = true
	go func() {
		s.mu.Lock()
		s.grant()
		s.mu.Unlock()
	}()
}

// room tells whether one more compaction may run. s.mu is held.
func (s *Scheduler) room() bool { return s.mu.running < s.db.GetAllowedWithoutPermission() }

// due tells whether the store should be asked. s.mu is held.
func (s *Scheduler) due() bool { return s.mu.waiting && !s.mu.closed && s.room() }

// grant offers the store compactions while it may run more and takes them.
// s.mu is held and granting is set; s.mu is released during the store's call,
// which takes the store's lock. A place is taken before the call, so that the
// limit holds; whoever is refused for it sets waiting and is asked again. A
// store that fails in the call may end the goroutine, so no Unlock is
// deferred around it.
func (s *Scheduler) grant() {
	for s.due() {
		s.mu.running++
		s.mu.waiting = false
		s.mu.Unlock()
		took := s.db.Schedule((*handle)(s))
		s.mu.Lock()
		if took {
			s.mu.waiting = true // it says so only when it is asked once more
		} else {
			s.mu.running--
		}
	}
	s.mu.granting = false
	s.granted.Broadcast()
}

// handle is what a running compaction holds of its scheduler.
type handle Scheduler

// Started implements pebble.CompactionGrantHandle.
func (*handle) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (*handle) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (*handle) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle. The store holds no lock.
func (h *handle) Done() {
	s := (*Scheduler)(h)
	s.mu.Lock()
	s.mu.running--
	if !s.mu.granting { // else the one that grants looks again
		s.mu.granting = true
		s.grant()
	}
	s.mu.Unlock()
}
