package node_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
)

// sick is a disk that fails writes and syncs of some paths while it is ill.
type sick struct {
	ill  atomic.Bool
	path string
}

func (s *sick) hook(op vfs.Op, path string) error {
	if !s.ill.Load() || !strings.Contains(path, s.path) {
		return nil
	}
	switch op {
	case vfs.OpOpen, vfs.OpRead, vfs.OpClose, vfs.OpRemove:
		return nil
	}
	return &os.PathError{Op: op.String(), Path: path, Err: syscall.EIO}
}

// kept is a node that Keep keeps.
type kept struct {
	now   atomic.Pointer[node.Node]
	swaps atomic.Int32
}

// keep runs a node until the test ends.
func keep(t *testing.T, fs vfs.FS, swap func(k *kept) bool) *kept {
	t.Helper()
	k := &kept{}
	n := open(t, fs, "/node", 1, func(c *node.Config) { c.Limits.ReopenEvery = 5 * time.Millisecond })
	k.now.Store(n)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := node.Keep(ctx, n, func(old, fresh *node.Node) bool {
			k.swaps.Add(1)
			if !swap(k) {
				return false
			}
			if !k.now.CompareAndSwap(old, fresh) {
				t.Error("another node was in its place")
			}
			return true
		}); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
		must(t, k.now.Load().Close())
	})
	return k
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what, "did not happen")
		}
	}
}

// TestNodeRecovers lets a disk fail writes for a while: the node is read-only
// so long, and takes writes again when the disk does, without a restart.
func TestNodeRecovers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		path string
		size int
	}{
		{"/volumes/", 1000},
		{"/blobs/", 2 << 20},
		{"/index/", 1000},
		{"", 1000},
		{"", 2 << 20},
	} {
		t.Run(strings.Trim(tc.path, "/"), func(t *testing.T) {
			t.Parallel()
			disk := &sick{path: tc.path}
			k := keep(t, vfs.WithHook(vfs.NewMem(), disk.hook), func(*kept) bool { return true })
			k.now.Load().RaiseEpoch(4)
			old, lost := storagetest.ID(1), storagetest.ID(2)
			must(t, putOne(t, k.now.Load(), old, storagetest.Payload(1, 5000)))
			for round := range 3 {
				disk.ill.Store(true)
				err := putOne(t, k.now.Load(), lost, storagetest.Payload(2, tc.size))
				for id := uint64(10_000 * (round + 1)); err == nil && tc.path == "/index/"; id++ { // it is synced later
					err = putOne(t, k.now.Load(), storagetest.ID(id), storagetest.Payload(4, 100))
				}
				if !errors.Is(err, storage.ErrOffline) || !errors.Is(err, syscall.EIO) && tc.path != "/index/" {
					t.Fatalf("write: %v", err)
				}
				if tc.path == "" { // no probe passes, so it stays as it is, and is read
					st, err := k.now.Load().Status(t.Context())
					must(t, err)
					if !st.ReadOnly || !strings.Contains(st.Err, "until its disk takes writes again") {
						t.Fatalf("%+v", st)
					}
					wants(t, k.now.Load(), old, storagetest.Payload(1, 5000))
				}
				disk.ill.Store(false)
				later := storagetest.ID(uint64(10 + round))
				eventually(t, "a write after the disk was well again", func() bool {
					return putOne(t, k.now.Load(), later, storagetest.Payload(3, tc.size)) == nil
				})
				wants(t, k.now.Load(), old, storagetest.Payload(1, 5000))
				wants(t, k.now.Load(), later, storagetest.Payload(3, tc.size))
				if st, err := k.now.Load().Status(t.Context()); err != nil || st.ReadOnly || st.Err != "" {
					t.Fatalf("%+v, %v", st, err)
				}
				// What was not acknowledged is there whole or not at all.
				if _, err := k.now.Load().Stat(t.Context(), lost); err == nil {
					wants(t, k.now.Load(), lost, storagetest.Payload(2, tc.size))
				}
				must(t, k.now.Load().Delete(t.Context(), []storage.ShardID{lost}))
			}
			if n := k.swaps.Load(); n < 3 {
				t.Errorf("the node was opened anew %d times", n)
			}
		})
	}
}

// TestNodeRecoversToNothing: a node that has no place any more, since its
// directory was given up, stays closed.
func TestNodeRecoversToNothing(t *testing.T) {
	t.Parallel()
	disk := &sick{path: "/volumes/"}
	k := keep(t, vfs.WithHook(vfs.NewMem(), disk.hook), func(*kept) bool { return false })
	disk.ill.Store(true)
	if err := putOne(t, k.now.Load(), storagetest.ID(1), storagetest.Payload(1, 5000)); err == nil {
		t.Fatal("no error")
	}
	disk.ill.Store(false)
	eventually(t, "a try to open it anew", func() bool { return k.swaps.Load() == 1 })
	if err := putOne(t, k.now.Load(), storagetest.ID(1), storagetest.Payload(1, 5000)); !errors.Is(err, storage.ErrOffline) {
		t.Fatal(err)
	}
}

// TestNodeStaysEmptied does not make a node of a directory that lost its
// identity.
func TestNodeStaysEmptied(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var looked atomic.Int32
	k := keep(t, vfs.WithHook(mem, func(op vfs.Op, path string) error {
		if op == vfs.OpOpen && strings.HasSuffix(path, "holdfast.id") {
			looked.Add(1)
		}
		return nil
	}), func(*kept) bool { return true })
	must(t, mem.Rename("/node/holdfast.id", "/node/away"))
	st, err := k.now.Load().Status(t.Context())
	must(t, err)
	if !st.ReadOnly {
		t.Fatalf("%+v", st)
	}
	from := looked.Load()
	eventually(t, "looks for its identity", func() bool { return looked.Load() > from+3 })
	if n := k.swaps.Load(); n != 0 {
		t.Fatal("the node was opened anew in a directory without its identity")
	}
	must(t, mem.Rename("/node/away", "/node/holdfast.id"))
	eventually(t, "a write once the directory is back", func() bool {
		return putOne(t, k.now.Load(), storagetest.ID(1), storagetest.Payload(1, 5000)) == nil
	})
}
