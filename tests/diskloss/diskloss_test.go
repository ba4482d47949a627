// Package diskloss empties, moves away and swaps a server's directories: all
// that was acknowledged is read back meanwhile, a replaced directory is
// refilled, nothing is formatted or deleted that a person did not ask for.
package diskloss

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// object is an acknowledged object.
type object struct {
	path string
	seed uint64
	size int64
}

func (o *object) pattern() *harness.Pattern { return &harness.Pattern{Seed: o.seed, N: o.size} }

// sizes are inline, packed, on the edges, a file each, and large.
var sizes = []int64{100, 3000, 8 << 10, 8<<10 + 1, 20_000, 100_000, 1 << 20, 1<<20 + 1, 3 << 20, 10 << 20}

const largest = 100 << 20

// store is a server and what it acknowledged.
type store struct {
	*harness.Server
	raw     *harness.Raw
	objects []object
	refused bool // writes were refused, which may leave shards without a reference for a ticket's life
}

func start(t *testing.T, o harness.Options) *store {
	t.Helper()
	s := &store{Server: harness.Start(t, o)}
	s.raw = s.Raw()
	s.raw.Must(t, 200, "PUT", "/loss", "", nil)
	return s
}

// write uploads objects of the sizes and remembers them.
func (s *store) write(t *testing.T, set string, sizes ...int64) {
	t.Helper()
	var fresh []object
	for i, n := range sizes {
		fresh = append(fresh, object{fmt.Sprintf("/loss/%s-%d-%d", set, i, n), uint64(len(s.objects) + i + 1), n})
	}
	each(t, len(fresh), func(i int) error { return s.raw.Upload(fresh[i].path, fresh[i].pattern()) })
	s.objects = append(s.objects, fresh...)
}

// verify reads everything back, byte for byte.
func (s *store) verify(t *testing.T, when string) {
	t.Helper()
	each(t, len(s.objects), func(i int) error {
		if err := s.raw.Verify(s.objects[i].path, s.objects[i].pattern()); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		return nil
	})
}

func each(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	room := make(chan struct{}, 4)
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := f(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// wipe removes everything in a directory, as a new disk mounted there, or
// none, would show it.
func wipe(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func isEmpty(t *testing.T, dir string) bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) == 0
}

// refilled waits until nothing is below its target. What is below must be
// known at once: a person who asks for the status right after the replacement
// must not read that all is well before anything was refilled.
func (s *store) refilled(t *testing.T) {
	t.Helper()
	now := s.Status()
	began, first := time.Now(), now.BlobsBelow
	if first == 0 && now.Queues["repair"].Done == 0 {
		t.Error("the status says that no blob is below its target, and a directory has just been replaced")
		harness.Until(t, 30*time.Second, "the status finds what is below", func() bool { return s.Status().BlobsBelow > 0 })
	}
	harness.Until(t, 90*time.Second, "refill", func() bool {
		st := s.Status()
		return st.BlobsBelow == 0 && st.Queues["repair"].Length == 0
	})
	t.Logf("%d blobs were below their target, none after %v", first, time.Since(began).Round(time.Millisecond))
}

// writable waits until the server takes writes with a directory missing.
func (s *store) writable(t *testing.T) {
	t.Helper()
	began := time.Now()
	harness.Until(t, 20*time.Second, "a write with a directory missing", func() bool {
		for i := range 4 {
			if err := s.raw.Upload(fmt.Sprintf("/loss/probe-%d", i), &harness.Pattern{Seed: 1, N: 20_000}); err != nil {
				s.refused = true
				return false
			}
		}
		return true
	})
	t.Logf("takes writes with a directory missing after %v", time.Since(began).Round(time.Millisecond))
}

// census stops the server, compares catalog and disks, and starts it again.
func (s *store) census(t *testing.T) {
	t.Helper()
	s.Stop()
	c := harness.TakeCensus(t, s.Dirs[0])
	if s.refused {
		c.Unknown = nil
	}
	c.Clean(t)
	s.Launch()
	s.WaitReady()
}

// TestAnyDirectoryLost empties each directory in turn, the catalog's own too.
func TestAnyDirectoryLost(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	for _, o := range []harness.Options{{Dirs: 4, Scheme: "rs-2+2"}, {Dirs: 3, Scheme: "rep-2"}, {Dirs: 2, Scheme: "rep-2"}} {
		t.Run(fmt.Sprintf("%s of %d", o.Scheme, o.Dirs), func(t *testing.T) {
			t.Parallel()
			s := start(t, o)
			s.write(t, "first", append(append(sizes, sizes...), largest)...)
			for i := range s.Dirs {
				s.lose(t, i, o.Dirs == 2)
			}
			s.verify(t, "after every directory was replaced")
		})
	}
}

// lose empties directory i, reads all back while it is empty, and refills it.
func (s *store) lose(t *testing.T, i int, alone bool) {
	t.Helper()
	dir := s.Dirs[i]
	s.Stop()
	wipe(t, dir)
	s.Launch()
	s.WaitReady()
	s.verify(t, fmt.Sprintf("directory %d is empty", i+1))
	if !isEmpty(t, dir) {
		t.Errorf("the empty directory %s was formatted without being asked", dir)
	}
	if alone {
		s.goAlone(t, dir)
	} else {
		s.writable(t)
		s.write(t, fmt.Sprintf("without-%d", i+1), 100, 20_000, 2<<20)
	}
	s.MustAdmin("disk", "replace", dir)
	s.refilled(t)
	s.write(t, fmt.Sprintf("with-%d", i+1), 100, 20_000, 2<<20)
	s.census(t)
}

// goAlone is two directories with one lost: reads only, until a person says
// that the other is lost for good.
func (s *store) goAlone(t *testing.T, dir string) {
	t.Helper()
	a, err := s.raw.Do("PUT", "/loss/refused", "", []byte("x"))
	if err != nil || a.Status != 503 {
		t.Errorf("a write with one of two directories lost: %+v, %v; want 503", a, err)
	}
	s.raw.Must(t, 404, "HEAD", "/loss/refused", "", nil)
	if out, err := s.Admin("catalog", "alone"); err == nil || !strings.Contains(out, "--lost-for-good") {
		t.Errorf("catalog alone without a word: %v: %s", err, out)
	}
	if out, err := s.Admin("disk", "replace", dir); err == nil {
		t.Errorf("a directory was replaced while the catalog may not change: %s", out)
	}
	if !isEmpty(t, dir) {
		t.Errorf("the refused replacement left something in %s", dir)
	}
	s.MustAdmin("catalog", "alone", "--lost-for-good")
}

// TestForget gives up a directory that will not come back.
func TestForget(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	t.Parallel()
	s := start(t, harness.Options{Dirs: 3, Scheme: "rep-2"})
	s.write(t, "first", append(sizes, sizes...)...)
	s.Stop()
	wipe(t, s.Dirs[1])
	s.Launch()
	s.WaitReady()
	s.MustAdmin("disk", "replace", "--forget", s.Dirs[1])
	s.refilled(t)
	if !isEmpty(t, s.Dirs[1]) {
		t.Error("the forgotten directory was used again")
	}
	s.write(t, "second", sizes...)
	s.Dirs = []string{s.Dirs[0], s.Dirs[2]}
	s.Restart()
	s.verify(t, "after one of three was forgotten")
	s.census(t)
	s.write(t, "third", 20_000)
}
