package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rs/zerolog"

	"holdfast/internal/compaction"
	"holdfast/internal/vfs"
)

func open(t *testing.T, fs vfs.FS, c Config) (*Guard, *pebble.DB) {
	t.Helper()
	c.Name, c.Logger = "test", zerolog.Nop()
	o := &pebble.Options{FS: fs, MemTableSize: 64 << 10, FormatMajorVersion: pebble.FormatNewest}
	o.Experimental.CompactionScheduler = compaction.New()
	g, db, err := Open("/db", o, c)
	if err != nil {
		t.Fatal(err)
	}
	return g, db
}

func put(g *Guard, db *pebble.DB, i int) error {
	return g.Do(func() error { return db.Set(fmt.Append(nil, i), make([]byte, 7000), pebble.NoSync) })
}

// within fails the test if the call does not come back.
func within(t *testing.T, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); call() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the call hangs")
	}
}

// TestDoAfterFailure takes a call for failed in which the log was lost, though
// Pebble took it for done.
func TestDoAfterFailure(t *testing.T) {
	t.Parallel()
	for range 50 {
		told := make(chan error, 2)
		g, _ := open(t, vfs.NewMem(), Config{OnFailure: func(err error) { told <- err }})
		err := g.Do(func() error { _ = g.Fail(syscall.EIO); return nil })
		if !errors.Is(err, syscall.EIO) || !errors.Is(g.Err(), syscall.EIO) || !strings.HasPrefix(err.Error(), "test: ") {
			t.Fatal(err)
		}
		_ = g.Fail(syscall.EINVAL) // only the first counts
		if err := g.Do(func() error { panic("called") }); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if err := <-told; !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		within(t, func() { <-g.Gone() })
	}
}

// TestDoPanics takes a panic with an error for a failure of the database, and
// passes on what is a fault of the program, in the caller's goroutine.
func TestDoPanics(t *testing.T) {
	t.Parallel()
	g, _ := open(t, vfs.NewMem(), Config{})
	var m map[int]int
	var got any
	func() {
		defer func() { got = recover() }()
		_ = g.Do(func() error { m[1] = 1; return nil })
	}()
	if s, _ := got.(string); !strings.Contains(s, "nil map") || !strings.Contains(s, "engine_test.go") {
		t.Fatalf("panicked with %v", got)
	}
	if err := g.Do(func() error { panic(syscall.EIO) }); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// TestStall lets flushes fail for ever with an error that is transient: writes
// go on until one would have to wait, and then all are answered. The flush is
// tried at an ever lower rate.
func TestStall(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	tries := make(chan time.Time, 6)
	fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
		if broken.Load() && op == vfs.OpCreate && strings.HasSuffix(path, ".sst") {
			select {
			case tries <- time.Now():
			default:
			}
			return syscall.ENOSPC
		}
		return nil
	})
	g, db := open(t, fs, Config{Transient: func(err error) bool { return errors.Is(err, syscall.ENOSPC) }})
	broken.Store(true)
	taken := 0
	within(t, func() {
		for taken < 1000 && put(g, db, taken) == nil {
			taken++
		}
	})
	if taken < 10 || taken == 1000 || !errors.Is(g.Err(), syscall.ENOSPC) {
		t.Fatalf("%d writes taken, then %v", taken, g.Err())
	}
	v, closer, err := db.Get([]byte("0"))
	if err != nil || len(v) != 7000 {
		t.Fatalf("cannot be read after the failure: %v", err)
	}
	_ = closer.Close()
	begin := <-tries
	var last time.Time
	within(t, func() {
		for range cap(tries) - 1 {
			last = <-tries
		}
	})
	// Each waits twice as long as the one before it, from 2 ms on.
	if d := last.Sub(begin); d < 60*time.Millisecond {
		t.Fatalf("%d tries in %v", cap(tries), d)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTransient goes on where a flush fails and then does not.
func TestTransient(t *testing.T) {
	t.Parallel()
	var left atomic.Int64
	fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
		if op == vfs.OpCreate && strings.HasSuffix(path, ".sst") && left.Add(-1) >= 0 {
			return syscall.EMFILE
		}
		return nil
	})
	g, db := open(t, fs, Config{Transient: vfs.NoDescriptors})
	left.Store(3)
	within(t, func() {
		for i := range 200 {
			if err := put(g, db, i); err != nil {
				t.Error(err)
				return
			}
			if i == 4 { // the flush fails three times before anybody waits
				if err := g.Do(db.Flush); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHeldReads reads a database whose manifest could not be written, and
// closes it: the worker that failed is held, its readers are not.
func TestHeldReads(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
		if broken.Load() && strings.Contains(path, "MANIFEST") {
			return syscall.EIO
		}
		return nil
	})
	g, db := open(t, fs, Config{})
	if err := put(g, db, 1); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	within(t, func() {
		if err := g.Do(db.Flush); !errors.Is(err, syscall.EIO) {
			t.Errorf("flush: %v", err)
		}
		snap := db.NewSnapshot()
		it, err := snap.NewIter(nil)
		if err != nil || !it.First() {
			t.Errorf("cannot be read: %v", err)
		}
		if err := it.Close(); err != nil {
			t.Error(err)
		}
		if err := g.Do(snap.Close); !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	if !g.Held() {
		t.Error("a database whose worker is held does not say so")
	}
	select {
	case <-g.Gone():
		t.Error("a database whose worker is held let go of its directory")
	default:
	}
}

// TestNoCompactions compacts nothing more once a compaction has failed as it
// was begun, though the database is still read.
func TestNoCompactions(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	var opened atomic.Int64
	fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
		if broken.Load() && op == vfs.OpOpen && strings.HasSuffix(path, ".sst") {
			opened.Add(1)
			return syscall.EIO
		}
		return nil
	})
	g, db := open(t, fs, Config{})
	broken.Store(true)
	for i := range 20 { // tables that overlap, so that they are compacted
		if put(g, db, i%3) != nil || g.Do(db.Flush) != nil {
			break
		}
	}
	within(t, func() { <-g.Failed() })
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
		runtime.Gosched() // where it is tried again, it is a thousand times a second
	}
	if n := opened.Load(); n > 10 {
		t.Fatalf("tables were opened %d times", n)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpenLetsGo leaves a directory that could not be opened as it was: it can
// be opened once the file system is well.
func TestOpenLetsGo(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	broken := true
	fs := vfs.WithHook(mem, func(op vfs.Op, path string) error {
		if broken && op == vfs.OpSync && strings.Contains(path, "MANIFEST") {
			return syscall.EIO
		}
		return nil
	})
	if _, _, err := Open("/db", &pebble.Options{FS: fs}, Config{Name: "test", Logger: zerolog.Nop()}); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	broken = false
	g, _ := open(t, fs, Config{})
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}
