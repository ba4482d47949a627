package engine

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// background is how a database's flushes and compactions go.
type background struct {
	sync.Mutex
	failures int  // in a row
	waiting  int  // who wait for a flush or a compaction
	opening  bool // Pebble has not returned the database yet
	begun    bool // a table was begun
}

// wait counts one more who waits, or with -1 one less.
func (w *background) wait(more int) {
	w.Lock()
	defer w.Unlock()
	w.waiting += more
}

func (w *background) opened() {
	w.Lock()
	defer w.Unlock()
	w.opening = false
	w.waiting--
}

// beside reports whether workers may run beside the one who opens the
// database, and whether it is still being opened at all.
func (w *background) beside() (workers, opening bool) {
	w.Lock()
	defer w.Unlock()
	return w.opening && w.begun, w.opening
}

func (g *Guard) listener() *pebble.EventListener {
	w := &g.work
	return &pebble.EventListener{
		BackgroundError: g.backgroundError,
		FlushEnd:        func(i pebble.FlushInfo) { g.ended(i.Err) },
		CompactionEnd:   func(i pebble.CompactionInfo) { g.ended(i.Err) },
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { w.wait(1) },
		WriteStallEnd:   func() { w.wait(-1) },
		// Rot that a read meets is that read's error; by default Pebble would
		// call Fatalf, and the reader's goroutine would end without a word.
		DataCorruption: func(i pebble.DataCorruptionInfo) { _ = g.Fail(i.Details) },
	}
}

func (g *Guard) transient(err error) bool { return g.cfg.Transient != nil && g.cfg.Transient(err) }

// mostTries is how often a flush or a compaction is tried while somebody
// waits: with the pauses of pace for a quarter of a second, and longer where
// opening a file is patient itself.
const mostTries = 8

// ended is told how a flush or a compaction ended. Who waits for it might wait
// for ever, so then an error is transient a few times only. What is no error
// of a file system, such as a table without rows, is passed over;
// backgroundError tells the rest.
func (g *Guard) ended(err error) {
	w := &g.work
	w.Lock()
	defer w.Unlock()
	switch {
	case err == nil:
		w.failures = 0
	case g.transient(err):
		w.failures++
		if w.waiting > 0 && w.failures >= mostTries {
			_ = g.Fail(err)
		} else if w.failures == 1 {
			g.cfg.Logger.Warn().Err(err).Str("store", g.cfg.Name).Msg("flush or compaction failed and is tried again")
		}
	}
}

// backgroundError is told of everything that failed in a worker.
func (g *Guard) backgroundError(err error) {
	if g.transient(err) || errors.Is(err, pebble.ErrCancelledCompaction) {
		return
	}
	_ = g.Fail(err)
	g.work.Lock()
	defer g.work.Unlock()
	g.work.failures++
}

// slowest is the longest time between two tries.
const slowest = time.Second

// pace is called as a table is begun. It lets flushes and compactions begin
// slower while they fail: Pebble tries again at once and for ever, a flush also
// in a database that has ended and is still read.
func (w *background) pace() {
	w.Lock()
	w.begun = true
	n := w.failures
	w.Unlock()
	if n > 0 {
		time.Sleep(min(time.Millisecond<<min(n, 20), slowest))
	}
}
