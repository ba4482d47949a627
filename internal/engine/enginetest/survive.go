// Package enginetest holds what every store on Pebble must live through: an
// error of any one call of its file system, or of all from some call on. The
// process goes on, no call hangs, the owner is told, and what was acknowledged
// is there after a restart on a file system that is well again.
package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/vfs"
)

// Store is a store under test.
type Store interface {
	// Put writes item i, durable on nil.
	Put(i int) error
	// Has reports whether item i is there and whole.
	Has(i int) (bool, error)
	// Err returns the error that ended the store.
	Err() error
	Close() error
}

// Subject is a kind of store and how it is worked on.
type Subject struct {
	Open    func(fs vfs.FS) (Store, error)
	Writers int                               // at once; of n items, shared out among them in turn
	Items   int                               // enough to make the store change its log, flush and compact
	Only    func(op vfs.Op, path string) bool // what may fail; nil is everything
}

// patience bounds any call of a store. None of them waits for a disk here.
const patience = 2 * time.Minute

// Survive lets the first call of the file system fail, then the second, and
// so on until the work is done before the failure comes: of a new store, and
// of one that was used, which makes its manifest beside its work.
func Survive(t *testing.T, s Subject) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	t.Run("new", func(t *testing.T) {
		t.Parallel()
		survive(t, s, rand.New(rand.NewPCG(seed, 0)), vfs.NewMem(), 0)
	})
	t.Run("used", func(t *testing.T) {
		t.Parallel()
		mem := vfs.NewMem()
		used, err := s.Open(mem)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Items / 2 {
			if err := used.Put(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := used.Close(); err != nil {
			t.Fatal(err)
		}
		survive(t, s, rand.New(rand.NewPCG(seed, 1)), mem, s.Items/2)
	})
}

// survive tries a store on copies of mem, which holds the first items.
func survive(t *testing.T, s Subject, rnd *rand.Rand, mem *vfs.Mem, first int) {
	calls, ended := 0, 0
	for missed := 0; missed < 3; {
		calls++
		r := &run{Subject: s, T: t, mem: mem.CrashClone(100, nil), first: first, n: calls, always: rnd.IntN(2) == 0,
			err: []error{syscall.EIO, os.ErrNotExist, syscall.EMFILE}[rnd.IntN(3)]}
		switch met, failed := r.run(rnd); {
		case t.Failed():
			t.Fatalf("at call %s", r)
		case !met:
			missed++
		case failed:
			ended++
		}
	}
	t.Logf("%d calls failed, %d of them ended the store", calls, ended)
}

// run is one try.
type run struct {
	Subject
	*testing.T
	mem    *vfs.Mem
	first  int // item to put
	n      int
	always bool
	err    error

	mu    sync.Mutex
	seen  int
	fault string // the first call that failed
	off   bool
	acked map[int]bool
}

// String says what failed.
func (r *run) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d (%s: %v, always %v)", r.n, r.fault, r.err, r.always)
}

func (r *run) hook(op vfs.Op, path string) error {
	if r.Only != nil && !r.Only(op, path) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return nil
	}
	if r.seen++; r.seen == r.n {
		r.fault = op.String() + " " + path
	}
	if r.seen == r.n || r.always && r.seen > r.n {
		return &os.PathError{Op: op.String(), Path: path, Err: r.err}
	}
	return nil
}

// within makes a call, and fails the test if it does not come back or takes
// its goroutine along.
func (r *run) within(what string, call func()) {
	r.Helper()
	done := make(chan bool, 1)
	go func() {
		back := false
		defer func() { done <- back }()
		call()
		back = true
	}()
	select {
	case back := <-done:
		if !back {
			r.Fatalf("%s ended its caller's goroutine at call %s", what, r)
		}
	case <-time.After(patience):
		r.Fatalf("%s hangs at call %s", what, r)
	}
}

// run reports whether the fault was met, and whether it ended the store.
func (r *run) run(rnd *rand.Rand) (met, failed bool) {
	r.acked = map[int]bool{}
	for i := range r.first {
		r.acked[i] = true
	}
	var s Store
	var err error
	r.within("open", func() { s, err = r.Open(vfs.WithHook(r.mem, r.hook)) })
	if err == nil {
		r.work(s)
		failed = s.Err() != nil
		if rnd.IntN(4) == 0 { // power is cut while the store may still be at work
			r.check(r.mem.CrashClone(rnd.IntN(101), rnd))
		}
		r.within("close", func() { err = s.Close() })
	}
	r.mu.Lock()
	r.off, met = true, r.fault != ""
	r.mu.Unlock()
	if err != nil && !met {
		r.Errorf("without a fault: %v", err)
	}
	r.check(r.mem.CrashClone(100*rnd.IntN(2), nil))
	return met, failed || err != nil
}

// work puts the items. Once a put has failed, all later ones must.
func (r *run) work(s Store) {
	var wg sync.WaitGroup
	for w := range r.Writers {
		wg.Go(func() {
			failed := 0
			for i := r.first + w; i < r.Items && failed < 5; i += r.Writers {
				err := s.Put(i)
				switch {
				case err == nil && failed > 0:
					r.Errorf("put %d was taken after one had failed", i)
				case err == nil:
					r.mu.Lock()
					r.acked[i] = true
					r.mu.Unlock()
				case !errors.Is(err, r.err):
					r.Errorf("put %d does not say what failed: %v", i, err)
				default:
					if failed++; s.Err() == nil {
						r.Errorf("put %d failed, and the store says it is well: %v", i, err)
					}
				}
			}
		})
	}
	r.within("put", wg.Wait)
}

// check opens the store again and looks for what was acknowledged. Of what
// was not, each writer's is there up to some item and no further.
func (r *run) check(fs vfs.FS) {
	r.Helper()
	s, err := r.Open(fs)
	if err != nil {
		if len(r.acked) > 0 {
			r.Errorf("%d items acknowledged, and the store does not open: %v", len(r.acked), err)
		}
		return
	}
	gone := make([]bool, r.Writers)
	for i := range r.Items {
		ok, err := s.Has(i)
		switch w := max(i-r.first, 0) % r.Writers; {
		case err != nil:
			r.Errorf("item %d: %v", i, err)
		case !ok && r.acked[i]:
			r.Errorf("acknowledged item %d was lost", i)
		case ok && gone[w]:
			r.Errorf("item %d is there, and one put before it is not", i)
		case !ok:
			gone[w] = true
		}
	}
	if err := s.Close(); err != nil {
		r.Error(err)
	}
}
