package allinone

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/gateway"
	"holdfast/internal/fault"
	"holdfast/internal/vfs"
	"holdfast/tracker"
)

// testConfig is that of a server in memory.
func testConfig(t *testing.T, fs vfs.FS, dirs ...string) Config {
	t.Helper()
	keys, err := auth.NewStatic("root-of-test", "secret-of-test")
	if err != nil {
		t.Fatal(err)
	}
	return Config{FS: fs, Dirs: dirs, Keys: keys, Gateway: gateway.DefaultConfig(), Log: zerolog.Nop(), Tune: Tune{Ballast: -1, Reserve: -1}}
}

// open opens a server and runs it; stop ends it, once.
func open(t *testing.T, cfg Config) (s *Server, stop func()) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	var once atomic.Bool
	stop = func() {
		if !once.CompareAndSwap(false, true) {
			return
		}
		cancel()
		if err := <-ran; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// make4 leaves the directories of a stopped server of four.
func make4(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	dirs := []string{"/d1", "/d2", "/d3", "/d4"}
	_, stop := open(t, testConfig(t, fs, dirs...))
	stop()
	return dirs
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// well counts the catalog copies that work, and all.
func well(t *testing.T, s *Server) (well, all int) {
	t.Helper()
	for _, v := range s.log.Status().Voters {
		if all++; v.Err == "" {
			well++
		}
	}
	return well, all
}

// failing fails what is done to paths under its prefixes.
type failing struct{ prefixes atomic.Pointer[[]string] }

func (f *failing) set(prefixes ...string) { f.prefixes.Store(&prefixes) }

func (f *failing) hook(_ vfs.Op, path string) error {
	p := f.prefixes.Load()
	if p != nil && slices.ContainsFunc(*p, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
		return &os.PathError{Op: "io", Path: path, Err: syscall.EIO}
	}
	return nil
}

// TestVoterComesBack fails the disk under a copy of the catalog for a moment.
// The copy stops; replacing the directory seeds it again without a restart.
func TestVoterComesBack(t *testing.T) {
	t.Parallel()
	var disk failing
	cfg := testConfig(t, vfs.WithHook(vfs.NewMem(), disk.hook), "/d1", "/d2", "/d3", "/d4")
	s, _ := open(t, cfg)
	disk.set("/d2/catalog")
	bucket := func(name string) {
		t.Helper()
		if _, err := s.Catalog().CreateBucket(t.Context(), &tracker.CreateBucket{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	bucket("first")
	until(t, "the copy to stop", func() bool { n, all := well(t, s); return n == 2 && all == 3 })
	if err := s.ReplaceDisk(t.Context(), "/d2"); err == nil {
		t.Error("a copy was seeded on a disk that fails")
	}
	disk.set()
	if err := s.ReplaceDisk(t.Context(), "/d2"); err != nil {
		t.Fatal(err)
	}
	if n, all := well(t, s); n != 3 || all != 3 {
		t.Errorf("%d of %d copies are well: %+v", n, all, s.log.Status().Voters)
	}
	bucket("second")
	if err := s.ReplaceDisk(t.Context(), "/d2"); !errors.Is(err, errNotLost) {
		t.Errorf("a second replacement: %v", err)
	}
}

// TestTwoVotersComeBack fails two of three copies at once. Until a person says
// that they are lost, nothing of them is removed: one of them may be the only
// whole one. Then each directory gets its copy back on a word.
func TestTwoVotersComeBack(t *testing.T) {
	t.Parallel()
	var disk failing
	fs := vfs.NewMem()
	s, _ := open(t, testConfig(t, vfs.WithHook(fs, disk.hook), "/d1", "/d2", "/d3", "/d4"))
	disk.set("/d1/catalog", "/d2/catalog")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := s.Catalog().CreateBucket(ctx, &tracker.CreateBucket{Name: "first"})
	if err == nil {
		t.Fatal("a bucket was made with one of three copies")
	}
	until(t, "the copies to stop", func() bool { n, _ := well(t, s); return n == 1 })
	disk.set()
	for _, d := range []string{"/d1", "/d2"} {
		if err := s.ReplaceDisk(t.Context(), d); !errors.Is(err, errNoQuorum) {
			t.Errorf("%s: %v; want %v", d, err, errNoQuorum)
		}
		if !hasCatalog(fs, d) {
			t.Errorf("the refused replacement removed the catalog in %s", d)
		}
	}
	if err := s.ForgetDisk(t.Context(), "/d1"); !errors.Is(err, errNoQuorum) {
		t.Errorf("forget: %v", err)
	}
	if err := s.GoOnAlone(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"/d1", "/d2"} {
		if !hasCatalog(fs, d) {
			t.Errorf("going on alone removed the catalog in %s", d)
		}
		if err := s.ReplaceDisk(t.Context(), d); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
	if n, all := well(t, s); n != 3 || all != 3 {
		t.Errorf("%d of %d copies are well: %+v", n, all, s.log.Status().Voters)
	}
	if _, err := s.Catalog().CreateBucket(t.Context(), &tracker.CreateBucket{Name: "second"}); err != nil {
		t.Error(err)
	}
}

// TestReplaceEmptiedWhileRunning takes everything out of a directory under a
// running server: its replacement is a new node, not just a copy of the
// catalog in a directory that is nobody's.
func TestReplaceEmptiedWhileRunning(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, _ := open(t, testConfig(t, fs, "/d1", "/d2", "/d3", "/d4"))
	if err := fs.RemoveAll("/d2"); err != nil {
		t.Fatal(err)
	}
	until(t, "the copy to stop", func() bool { n, _ := well(t, s); return n == 2 })
	if err := s.ReplaceDisk(t.Context(), "/d2"); err != nil {
		t.Fatal(err)
	}
	if m := s.mu.layout.member("/d2"); m == nil || m.Node != 5 || !s.holds("/d2", 5) {
		t.Errorf("/d2 is of %+v; want a new node", m)
	}
	if n, all := well(t, s); n != 3 || all != 3 {
		t.Errorf("%d of %d copies are well: %+v", n, all, s.log.Status().Voters)
	}
}

// TestReplaceOccupied replaces a lost directory whose place is taken: each is
// refused with what is there, and stays as it is.
func TestReplaceOccupied(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	dirs := make4(t, mem)
	l, err := readLayout(mem, "/d4")
	if err != nil {
		t.Fatal(err)
	}
	empties(t, mem, "/d4")
	s, _ := open(t, testConfig(t, mem, dirs...))
	for _, tc := range []struct {
		name string
		d    disk
		want string
	}{
		{"a file", disk{names: []string{"letter.txt"}}, "not empty"},
		{"a copy of one in use", disk{layout: l, id: 2}, "/d4 is a copy of /d2 (node 2), which is in use: empty it"},
		{"the lost one is back", disk{layout: l, id: 4}, "/d4 holds node 4 again: restart the server to use it as it is, or empty it"},
		{"a node that is not known", disk{layout: l, id: 9}, "/d4 holds node 9 of server " + l.Cluster},
		{"one of another server", disk{layout: l, id: 4, other: true}, "/d4 holds node 4 of server other"},
	} {
		empties(t, mem, "/d4")
		tc.d.cluster = l.Cluster
		tc.d.make(t, mem, "/d4")
		before := tree(t, mem, "/d4")
		if err := s.ReplaceDisk(t.Context(), "/d4"); fault.KindOf(err) != fault.Precondition || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q in it", tc.name, err, tc.want)
		}
		if d := cmp.Diff(before, tree(t, mem, "/d4")); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
	empties(t, mem, "/d4")
	if err := s.ReplaceDisk(t.Context(), "/d4"); err != nil {
		t.Fatal(err)
	}
	if m := s.mu.layout.member("/d4"); m == nil || m.Node != 5 {
		t.Errorf("/d4 is of %+v, want a new node", m)
	}
}

// TestReplaceDenied: a replacement in a directory that may not be written to
// says what right is missing, and the lost node stays a member.
func TestReplaceDenied(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	dirs := make4(t, mem)
	empties(t, mem, "/d4")
	var deny atomic.Bool
	s, _ := open(t, testConfig(t, vfs.WithHook(mem, func(op vfs.Op, path string) error {
		if deny.Load() && op == vfs.OpCreate && strings.HasPrefix(path, "/d4/") {
			return &os.PathError{Op: op.String(), Path: path, Err: os.ErrPermission}
		}
		return nil
	}), dirs...))
	deny.Store(true)
	if err := s.ReplaceDisk(t.Context(), "/d4"); !errors.Is(err, errDirectory) || !strings.Contains(err.Error(), "chown -R") {
		t.Errorf("got %v; want what to do with /d4", err)
	}
	if m := s.mu.layout.member("/d4"); m == nil || m.Node != 4 {
		t.Errorf("/d4 is of %+v, want node 4 as before", m)
	}
	deny.Store(false)
	if err := s.ReplaceDisk(t.Context(), "/d4"); err != nil {
		t.Error(err)
	}
}
