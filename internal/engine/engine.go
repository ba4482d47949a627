// Package engine keeps the failures of a Pebble database from ending the
// process. Pebble calls Logger.Fatalf or panics over an I/O error it cannot go
// on with; a Guard turns that into an error that ends the database alone, and
// tells its owner.
//
// It knows nothing of what a database holds. Goroutines: one per guarded call,
// which the caller waits for unless the database fails meanwhile, and one that
// closes a failed database.
package engine

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
)

// Config says what is guarded.
type Config struct {
	Name   string // begins the text of the error that ends the database
	Logger zerolog.Logger
	// OnFailure is called once, on its own goroutine, with the error that ended
	// the database. It may be nil.
	OnFailure func(error)
	// Transient tells errors of flushes and compactions that do not end the
	// database at once: Pebble tries the work again, a few times if somebody
	// waits for it, be it a write that is held back, else for ever. It may be
	// nil.
	Transient func(error) bool
}

// Guard stands between one Pebble database and its owner. The first error that
// Pebble cannot go on with ends the database for good: calls through Do answer
// that error, and reads, which go past the guard, are best effort.
type Guard struct {
	cfg     Config
	db      *pebble.DB
	failure atomic.Pointer[error]
	failed  chan struct{}
	once    sync.Once
	calls   sync.WaitGroup // in the engine, also those that nobody waits for
	work    background
	held    atomic.Bool
	gone    chan struct{} // closed once the engine has let go of the directory
}

// Open opens the database in dir with o. It wraps o's FS and compaction scheduler,
// and sets its Logger and EventListener. The guard and the database are nil on an error.
func Open(dir string, o *pebble.Options, c Config) (*Guard, *pebble.DB, error) {
	g := &Guard{cfg: c, failed: make(chan struct{}), gone: make(chan struct{})}
	o.FS = shield{vfs.KeepLog(vfs.Ordered(o.FS), func(err error) { _ = g.Fail(err) }), g}
	if below := o.Experimental.CompactionScheduler; below != nil {
		o.Experimental.CompactionScheduler = scheduler{below, g}
	}
	o.Logger = logger{g}
	o.EventListener = g.listener()
	g.work.opening, g.work.waiting = true, 1 // Open waits for flushes of what the log held
	var db atomic.Pointer[pebble.DB]
	err := g.Do(func() error {
		d, err := pebble.Open(dir, o)
		if err != nil {
			return err
		}
		db.Store(d)
		g.work.opened()
		return nil
	})
	if err != nil {
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			g.calls.Wait()
			if d := db.Load(); d != nil {
				g.discard(d)
			}
		}()
		select { // so that the directory is free again, unless the engine is held
		case <-gone:
		case <-time.After(time.Second):
		}
		if g.Err() == nil {
			err = fmt.Errorf("%s: open: %w", c.Name, err)
		}
		return nil, nil, err
	}
	g.db = db.Load()
	return g, g.db, nil
}

// Err returns the error that ended the database, nil while it is well.
func (g *Guard) Err() error {
	if p := g.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Held reports whether the engine will never let go of the directory: one of
// its workers is held for good (see shield).
func (g *Guard) Held() bool { return g.held.Load() }

// Gone is closed once the database was closed and holds its directory no more.
// After a failure that may be a while after Close, or never.
func (g *Guard) Gone() <-chan struct{} { return g.gone }

// Failed is closed once the database has ended by an error.
func (g *Guard) Failed() <-chan struct{} { return g.failed }

// Fail ends the database with err and returns the error that ended it first.
func (g *Guard) Fail(err error) error {
	g.once.Do(func() {
		err := fmt.Errorf("%s: %w", g.cfg.Name, err)
		g.failure.Store(&err)
		close(g.failed)
		if g.cfg.OnFailure != nil {
			go g.cfg.OnFailure(err)
		}
	})
	<-g.failed
	return g.Err()
}

// outcome is how a call ended: with err, or with the text of a panic that is
// no I/O error but a fault of the program.
type outcome struct {
	err   error
	panic string
}

// Do makes a call of the engine that changes the database. On nil it was done
// and the database is well: what a commit wrote and synced is durable. An
// error of the call is returned as it is. Once the database has failed there
// are no more calls, and those under way are let go at once with the failure,
// though the engine may hold them for ever; so what a call works on must not
// be used again after an error.
func (g *Guard) Do(call func() error) error {
	if err := g.Err(); err != nil {
		return err
	}
	done := make(chan outcome, 1)
	g.calls.Add(1)
	go g.call(call, done)
	select {
	case o := <-done:
		if o.panic != "" {
			panic(o.panic)
		}
		// An error of the log does not reach the call; see vfs.KeepLog.
		if err := g.Err(); err != nil {
			return err
		}
		return o.err
	case <-g.failed:
		return g.Err()
	}
}

func (g *Guard) call(call func() error, done chan<- outcome) {
	var o outcome
	back := false
	defer func() {
		switch r := recover().(type) {
		case nil:
			if !back { // Fatalf ended this goroutine
				o.err = g.Err()
			}
		case runtime.Error:
			o.panic = fmt.Sprintf("%v\n\n%s", r, debug.Stack())
		case error:
			o.err = g.Fail(r)
		default:
			o.panic = fmt.Sprintf("%v\n\n%s", r, debug.Stack())
		}
		done <- o
		g.calls.Done()
	}()
	o.err = call()
	back = true
}

// Flush makes durable what was committed before the call.
func (g *Guard) Flush() error {
	g.work.wait(1)
	defer g.work.wait(-1)
	return g.Do(g.db.Flush)
}

// Close closes the database, once no other call is under way and none will
// come. After a failure the engine may hold locks for ever, so nobody waits
// for it, and the directory's lock may stay.
func (g *Guard) Close() error {
	if g.Err() == nil {
		err := g.Do(g.db.Close)
		if g.Err() == nil {
			close(g.gone)
			return err
		}
		go func() {
			defer close(g.gone)
			g.calls.Wait()
		}()
		return err
	}
	go func() {
		defer close(g.gone)
		g.calls.Wait()
		g.discard(g.db)
	}()
	return nil
}

// discard closes a database that has failed.
func (g *Guard) discard(db *pebble.DB) {
	done := make(chan outcome, 1)
	g.calls.Add(1)
	g.call(db.Close, done)
}

// logger is Pebble's way to talk. Pebble calls Fatalf where it cannot go on,
// and takes what failed for done if Fatalf returns, so it never does: it ends
// the goroutine, which is one of Pebble's workers or that of a call through Do.
type logger struct{ g *Guard }

// Infof implements pebble.Logger.
func (l logger) Infof(format string, args ...any) {
	if e := l.g.cfg.Logger.Trace(); e.Enabled() {
		e.Str("store", l.g.cfg.Name).Str("text", fmt.Sprintf(format, args...)).Msg("database reports")
	}
}

// Errorf implements pebble.Logger.
func (l logger) Errorf(format string, args ...any) {
	l.g.cfg.Logger.Warn().Str("store", l.g.cfg.Name).Str("text", fmt.Sprintf(format, args...)).Msg("database reports an error")
}

// Fatalf implements pebble.Logger; it does not return.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if e, ok := a.(error); ok {
			err = fmt.Errorf("%s: %w", err, e)
			break
		}
	}
	_ = l.g.Fail(err)
	runtime.Goexit()
}
