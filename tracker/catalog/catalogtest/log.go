// Package catalogtest gives tests a catalog without Raft: a serial log over a
// Pebble store in memory.
package catalogtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// Log implements consensus.Log: each proposal is applied at once, one after
// another. It is safe for concurrent use.
type Log struct {
	// Before, if set, is called with each command before it is applied; an
	// error is the answer, and nothing is applied. After is called with each
	// result; an error replaces it, as if the answer had been lost.
	Before func(cmd []byte) error
	After  func(cmd []byte, result any) error

	Store *kv.Store
	mu    struct {
		sync.Mutex
		machine *catalog.Machine
		index   uint64
		term    uint64
	}
}

// New returns a log that leads, over an empty store that ends with the test.
func New(tb testing.TB) *Log {
	tb.Helper()
	s, err := kv.Open(vfs.NewMem(), "state", kv.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	l := &Log{Store: s}
	l.mu.machine = catalog.NewMachine()
	l.mu.term = 1
	return l
}

// Lead sets whether this log leads, and under which term (0: it does not).
func (l *Log) Lead(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.term = term
}

// Index is the index of the last entry.
func (l *Log) Index() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.index
}

// Propose implements consensus.Log.
func (l *Log) Propose(ctx context.Context, cmd []byte, growth bool) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(cmd) > 4<<20 {
		return nil, tracker.ErrTooLarge
	}
	if l.Before != nil {
		if err := l.Before(cmd); err != nil {
			return nil, err
		}
	}
	results, err := l.Apply(cmd)
	if err != nil {
		return nil, err
	}
	if l.After != nil {
		if err := l.After(cmd, results[0]); err != nil {
			return nil, err
		}
	}
	return results[0], nil
}

// Apply applies commands as one entry.
func (l *Log) Apply(cmds ...[]byte) ([]any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.term == 0 {
		return nil, tracker.ErrNotLeader
	}
	l.mu.index++
	tx := l.Store.Begin()
	results, err := l.mu.machine.Apply(tx, l.mu.index, cmds)
	if err != nil {
		tx.Close()
		return nil, errors.Join(tracker.ErrUnavailable, err)
	}
	return results, tx.Commit(false)
}

// Read implements consensus.Log.
func (l *Log) Read(ctx context.Context) (kv.Reader, func(), error) {
	if _, leads := l.LeaderEpoch(); !leads {
		return nil, nil, tracker.ErrNotLeader
	}
	s := l.Store.Snapshot()
	return s, func() { _ = s.Close() }, nil
}

// LeaderEpoch implements consensus.Log.
func (l *Log) LeaderEpoch() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.term, l.mu.term > 0
}
