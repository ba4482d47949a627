package consensus

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
)

// guard stands between Raft and the log. Raft panics on some errors of its
// stores and would take the process with it, so an error never reaches it:
// the voter is told, and the calling goroutine, which is Raft's, ends. Raft's
// deferred calls then answer what was in flight.
//
// It also measures the running write for the watchdog, and once it is off,
// keeps what is left of Raft from a log that is being closed.
type guard struct {
	*raftlog.Store
	fail    func(error)
	grown   func(bytes uint64) // called after each append
	resumed func()             // called after an append that the watchdog noticed
	now     func() time.Time
	since   atomic.Int64 // UnixNano of the running append, 0 if there is none
	slow    atomic.Bool  // set by the watchdog while it holds the append for hanging
	off     atomic.Bool
	mu      sync.RWMutex // read-held by calls to the log
}

func (g *guard) enter() {
	g.mu.RLock()
	if g.off.Load() {
		g.mu.RUnlock()
		runtime.Goexit()
	}
}

// leave ends a call that returned err, and the goroutine if that is an I/O error.
func (g *guard) leave(err error) {
	g.mu.RUnlock()
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return
	}
	g.fail(err)
	runtime.Goexit()
}

// use runs read on the log from outside Raft.
func (g *guard) use(read func()) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.off.Load() {
		return false
	}
	read()
	return true
}

// shut keeps later calls out and waits for running ones; it may wait for a
// hanging disk.
func (g *guard) shut() {
	g.off.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
}

// GetLog implements raft.LogStore.
func (g *guard) GetLog(index uint64, l *raft.Log) error {
	g.enter()
	err := g.Store.GetLog(index, l)
	g.leave(err)
	return err
}

// StoreLog implements raft.LogStore.
func (g *guard) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (g *guard) StoreLogs(logs []*raft.Log) error {
	g.enter()
	before := g.Store.Bytes()
	g.since.Store(g.now().UnixNano())
	err := g.Store.StoreLogs(logs)
	g.since.Store(0)
	if g.slow.CompareAndSwap(true, false) {
		g.resumed()
	}
	if err == nil {
		g.grown(g.Store.Bytes() - before)
	}
	g.leave(err)
	return err
}

// DeleteRange implements raft.LogStore.
func (g *guard) DeleteRange(low, high uint64) error {
	g.enter()
	err := g.Store.DeleteRange(low, high)
	g.leave(err)
	return err
}

// Set implements raft.StableStore.
func (g *guard) Set(key, val []byte) error {
	g.enter()
	err := g.Store.Set(key, val)
	g.leave(err)
	return err
}

// Get implements raft.StableStore.
func (g *guard) Get(key []byte) ([]byte, error) {
	g.enter()
	v, err := g.Store.Get(key)
	g.leave(err)
	return v, err
}

// SetUint64 implements raft.StableStore.
func (g *guard) SetUint64(key []byte, val uint64) error {
	g.enter()
	err := g.Store.SetUint64(key, val)
	g.leave(err)
	return err
}

// GetUint64 implements raft.StableStore.
func (g *guard) GetUint64(key []byte) (uint64, error) {
	g.enter()
	v, err := g.Store.GetUint64(key)
	g.leave(err)
	return v, err
}
