// Package memory bounds what a server takes: under parallel large transfers,
// with a directory missing, and idle.
package memory

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"holdfast/tests/harness"
)

const (
	loadLimit = 400 << 20
	idleLimit = 100 << 20
	parallel  = 16
)

func objectSize() int64 {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 1 << 30
	}
	return 128 << 20
}

func TestBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	s := harness.Start(t, harness.Options{Dirs: 4, Scheme: "rs-2+2"})
	idle(t, s)
	r := s.Raw()
	r.Must(t, 200, "PUT", "/memory", "", nil)
	object := func(i int) *harness.Pattern { return &harness.Pattern{Seed: uint64(i), N: objectSize()} }
	path := func(set string, i int) string { return fmt.Sprintf("/memory/%s-%d", set, i) }
	all(t, parallel, func(i int) error { return r.Upload(path("a", i), object(i)) })
	both := func(set string) {
		all(t, 2*parallel, func(i int) error {
			if i < parallel {
				return r.Upload(path(set, i), object(i))
			}
			return r.Verify(path("a", i-parallel), object(i-parallel))
		})
	}
	both("b")
	within(t, s, "16 uploads and 16 downloads")

	s.Stop()
	if err := os.Rename(s.Dirs[3], s.Dirs[3]+".away"); err != nil {
		t.Fatal(err)
	}
	s.Launch()
	s.WaitReady()
	both("c")
	within(t, s, "the same with one directory missing")
}

func all(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func within(t *testing.T, s *harness.Server, what string) {
	t.Helper()
	u := s.Usage()
	t.Logf("%s of %d MiB: peak RSS %d MiB", what, objectSize()>>20, u.PeakRSS>>20)
	if u.PeakRSS > loadLimit {
		t.Errorf("%s: peak RSS %d MiB is over %d MiB", what, u.PeakRSS>>20, loadLimit>>20)
	}
}

// idle measures a server that nobody asks anything, once the work of its start
// is done. The bound on its CPU is three times the promise, since the machine
// is shared.
func idle(t *testing.T, s *harness.Server) {
	t.Helper()
	select {
	case <-time.After(10 * time.Second):
	case <-t.Context().Done():
	}
	before := s.Usage()
	start := time.Now()
	select {
	case <-time.After(10 * time.Second):
	case <-t.Context().Done():
	}
	after := s.Usage()
	share := float64(after.CPU-before.CPU) / float64(time.Since(start))
	t.Logf("idle: RSS %d MiB, CPU %.2f %%", after.RSS>>20, 100*share)
	if after.RSS > idleLimit {
		t.Errorf("idle RSS %d MiB is over %d MiB", after.RSS>>20, idleLimit>>20)
	}
	if share > 0.03 {
		t.Errorf("idle CPU is %.2f %%", 100*share)
	}
}
