package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
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

func putOne(t *testing.T, n *node.Node, id storage.ShardID, payload []byte) error {
	t.Helper()
	return storagetest.Put(t.Context(), n, storagetest.Ticket(id.Blob, storage.OpWrite, n.Node(), 4), id, payload)
}

func wants(t *testing.T, n *node.Node, id storage.ShardID, payload []byte) {
	t.Helper()
	run, _ := storagetest.Frames(id, payload)
	got, err := storagetest.Get(t.Context(), n, id, 0, -1)
	if err != nil || !bytes.Equal(got, run) {
		t.Fatalf("shard %s: %d bytes, %v", id, len(got), err)
	}
}

// TestWriteErrors lets each step of a write fail: the writer is told, what
// was there stays, the node says why it takes no more, and the failed shard
// is not there after a restart.
func TestWriteErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op   vfs.Op
		path string
		size int
	}{
		{vfs.OpWrite, "/volumes/", 1000},
		{vfs.OpSync, "/volumes/", 1000},
		{vfs.OpCreate, "/blobs/tmp/", 2 << 20},
		{vfs.OpPreallocate, "/blobs/tmp/", 2 << 20},
		{vfs.OpWrite, "/blobs/tmp/", 2 << 20},
		{vfs.OpSync, "/blobs/tmp/", 2 << 20},
		{vfs.OpTruncate, "/blobs/tmp/", 2 << 20},
		{vfs.OpRename, "/blobs/", 2 << 20},
		{vfs.OpSyncDir, "/blobs/", 2 << 20},
		{vfs.OpWrite, "/volumes/", 2 << 20},
		{vfs.OpSync, "/volumes/", 2 << 20},
	} {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
			if errno == syscall.EMFILE && c.op != vfs.OpCreate && c.op != vfs.OpSyncDir {
				continue // opens nothing
			}
			t.Run(fmt.Sprintf("%s %s %d %s", c.op, c.path, c.size, errno.Error()), func(t *testing.T) {
				t.Parallel()
				mem := vfs.NewMem()
				var armed atomic.Bool
				fs := vfs.WithHook(mem, func(op vfs.Op, path string) error {
					if op == c.op && strings.Contains(path, c.path) && armed.CompareAndSwap(true, false) {
						return &os.PathError{Op: op.String(), Path: path, Err: errno}
					}
					return nil
				})
				n := open(t, fs, "/node", 1, nil)
				old, lost, later := storagetest.ID(1), storagetest.ID(2), storagetest.ID(3)
				must(t, putOne(t, n, old, storagetest.Payload(1, 5000)))
				armed.Store(true)
				err := putOne(t, n, lost, storagetest.Payload(2, c.size))
				if armed.Load() {
					t.Fatal("the fault was not met")
				}
				if c.op == vfs.OpPreallocate && errno == syscall.ENOSPC {
					must(t, err) // what is left may do
					return
				}
				want := storage.ErrOffline
				if errno == syscall.ENOSPC {
					want = storage.ErrNoSpace
				}
				if !errors.Is(err, want) || !errors.Is(err, errno) {
					t.Fatalf("write: %v", err)
				}
				wants(t, n, old, storagetest.Payload(1, 5000))
				st, err := n.Status(t.Context())
				must(t, err)
				err = putOne(t, n, later, storagetest.Payload(3, 100))
				if errno != syscall.EIO {
					must(t, err)
					wants(t, n, later, storagetest.Payload(3, 100))
				} else if !errors.Is(err, storage.ErrOffline) || !st.ReadOnly || st.Err == "" {
					t.Fatalf("after the error: %v, %+v", err, st)
				}
				must(t, n.Delete(t.Context(), []storage.ShardID{old}))
				for _, percent := range []int{0, 100} {
					n := open(t, mem.CrashClone(percent, nil), "/node", 1, nil)
					for _, id := range []storage.ShardID{old, lost} {
						if _, err := n.Stat(t.Context(), id); !errors.Is(err, storage.ErrNotHere) {
							t.Errorf("%s after a restart: %v", id, err)
						}
					}
					must(t, putOne(t, n, lost, storagetest.Payload(2, c.size)))
				}
			})
		}
	}
}

// TestReadErrors are told as damage, not as the end of the data.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
		if armed.Load() && op == vfs.OpRead && !strings.Contains(path, "index") {
			return &os.PathError{Op: "read", Path: path, Err: syscall.EIO}
		}
		return nil
	})
	var damage []storage.Damage
	n := open(t, fs, "/node", 1, func(c *node.Config) { c.Damage = func(d storage.Damage) { damage = append(damage, d) } })
	id := storagetest.ID(1)
	must(t, putOne(t, n, id, storagetest.Payload(1, 5000)))
	armed.Store(true)
	if _, err := storagetest.Get(t.Context(), n, id, 0, -1); !errors.Is(err, storage.ErrCorrupt) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	st, err := n.Status(t.Context())
	must(t, err)
	if len(damage) != 1 || damage[0].Shard != id || st.ReadErrors != 1 || st.Bad != 1 {
		t.Fatalf("%+v %+v", damage, st)
	}
}

// TestNoDescriptors lets no file be opened for a while, as where a process has
// as many open as it may: that is no damage and no disk's failure, and ends
// with the shortage.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
		if armed.Load() && (op == vfs.OpOpen || op == vfs.OpCreate) && !strings.Contains(path, "index") {
			return &os.PathError{Op: "open", Path: path, Err: syscall.EMFILE}
		}
		return nil
	})
	short, long := storagetest.Payload(1, 5000), storagetest.Payload(2, 2<<20)
	n := open(t, fs, "/node", 1, nil)
	must(t, putOne(t, n, storagetest.ID(1), short))
	must(t, putOne(t, n, storagetest.ID(2), long))
	must(t, n.Close())
	n = open(t, fs, "/node", 1, func(c *node.Config) { c.Damage = func(d storage.Damage) { t.Errorf("told of %+v", d) } })
	armed.Store(true)
	for what, err := range map[string]error{
		"read": func() error { _, err := storagetest.Get(t.Context(), n, storagetest.ID(2), 0, -1); return err }(),
		"put":  putOne(t, n, storagetest.ID(3), long),
	} {
		if !errors.Is(err, storage.ErrOffline) || !errors.Is(err, syscall.EMFILE) || errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := n.Scrub(t.Context()); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("scrub: %v", err)
	}
	armed.Store(false)
	st, err := n.Status(t.Context())
	must(t, err)
	if st.ReadOnly || st.Bad != 0 || st.ReadErrors != 0 {
		t.Errorf("%+v", st)
	}
	must(t, putOne(t, n, storagetest.ID(3), long))
	must(t, n.Scrub(t.Context()))
	for id, payload := range map[uint64][]byte{1: short, 2: long, 3: long} {
		wants(t, n, storagetest.ID(id), payload)
	}
}

// TestFullDisk fills the disk to the reserve, then really: reads and deletes
// go on, writes are refused, and come back when space does.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	const disk = 256 << 20
	mem.SetCapacity(disk)
	n := open(t, mem, "/node", 1, func(c *node.Config) {
		c.Reserve = 0
		c.Limits = node.Limits{VolumeSize: 8 << 20, ScrubRate: -1}
	})
	var ids []storage.ShardID
	size := func(i int) int { return []int{100_000, 3 << 20, 16384}[i%3] }
	fill := func(from uint64) error {
		for i := from; ; i++ {
			id := storagetest.ID(i)
			if err := putOne(t, n, id, storagetest.Payload(i, size(int(i)))); err != nil {
				return err
			}
			ids = append(ids, id)
		}
	}
	if err := fill(0); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatal(err)
	}
	if free := disk - mem.Used(); free < disk/25 {
		t.Errorf("reserve is used: %d of %d bytes free", free, disk)
	}
	st, err := n.Status(t.Context())
	must(t, err)
	// Something else takes the rest.
	hog, err := mem.OpenFile("/hog", vfs.CreateNew)
	must(t, err)
	_, err = hog.WriteAt(make([]byte, disk), 0)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := fill(1 << 20); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatal(err)
	}
	if st, err = n.Status(t.Context()); err != nil || !st.ReadOnly || st.Free != 0 {
		t.Fatalf("%+v %v", st, err)
	}
	for _, i := range []int{0, len(ids) / 2, len(ids) - 1} {
		wants(t, n, ids[i], storagetest.Payload(uint64(i), size(i)))
	}
	must(t, n.Delete(t.Context(), ids[:len(ids)/2]))
	for i := len(ids) / 2; i < len(ids); i += 7 {
		wants(t, n, ids[i], storagetest.Payload(uint64(i), size(i)))
	}
	must(t, n.Maintain(t.Context(), time.UnixMilli(0)))
	if free := disk - mem.Used(); free < disk/3 {
		t.Errorf("%d bytes free after deleting half", free)
	}
	must(t, putOne(t, n, storagetest.ID(1<<30), storagetest.Payload(1, 4<<20)))
	must(t, n.Scrub(t.Context()))
	if st, err = n.Status(t.Context()); err != nil || st.ReadOnly || st.Bad != 0 {
		t.Fatalf("%+v %v", st, err)
	}
}

// TestRandomFullDisk meets ENOSPC at random calls, anywhere but in the index,
// and never loses or half-writes a shard.
func TestRandomFullDisk(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	mem := vfs.NewMem()
	var mu sync.Mutex
	armed := false
	arm := func(on bool) {
		mu.Lock()
		defer mu.Unlock()
		armed = on
	}
	fs := vfs.WithHook(mem, func(op vfs.Op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		grows := op == vfs.OpCreate || op == vfs.OpWrite || op == vfs.OpSync || op == vfs.OpPreallocate || op == vfs.OpRename
		if armed && grows && !strings.Contains(path, "index") && rng.IntN(6) == 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	set := func(c *node.Config) { c.Limits = smallest() }
	n := open(t, fs, "/node", 1, set)
	kept := map[uint64]int{}
	failed := 0
	for i := range uint64(300) {
		mu.Lock()
		size := []int{100, 5000, 70_000, 600_000, 2 << 20}[rng.IntN(5)]
		mu.Unlock()
		arm(true)
		err := putOne(t, n, storagetest.ID(i), storagetest.Payload(i, size))
		arm(false)
		switch {
		case err == nil:
			kept[i] = size
		case errors.Is(err, storage.ErrNoSpace):
			failed++
		default:
			t.Fatal(err)
		}
	}
	if failed == 0 || len(kept) == 0 {
		t.Fatal("nothing was tested", failed, len(kept))
	}
	must(t, n.Close())
	n = open(t, mem.CrashClone(0, nil), "/node", 1, set)
	for i, size := range kept {
		wants(t, n, storagetest.ID(i), storagetest.Payload(i, size))
	}
	st, err := n.Status(t.Context())
	must(t, err)
	if st.Shards != int64(len(kept)) {
		t.Errorf("%d shards, %d acknowledged", st.Shards, len(kept))
	}
}

// TestBallast lets the index meet a full disk: the ballast makes room, and
// the delete is durable.
func TestBallast(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	mem.SetCapacity(1 << 30)
	var full atomic.Bool
	fs := vfs.WithHook(mem, func(op vfs.Op, path string) error {
		if strings.HasSuffix(path, "/ballast") && op == vfs.OpRemove {
			full.Store(false)
		}
		if full.Load() && op == vfs.OpWrite && strings.Contains(path, "/index/") {
			return &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
		}
		return nil
	})
	n := open(t, fs, "/node", 1, func(c *node.Config) { c.Reserve = 0 })
	fi, err := mem.Stat("/node/ballast")
	must(t, err)
	if fi.Size() != 0 || mem.Used() < 5<<20 {
		t.Fatal("ballast takes", mem.Used())
	}
	id := storagetest.ID(1)
	must(t, putOne(t, n, id, storagetest.Payload(1, 1000)))
	full.Store(true)
	must(t, n.Delete(t.Context(), []storage.ShardID{id}))
	if full.Load() {
		t.Fatal("ballast was not needed")
	}
	crashed := open(t, mem.CrashClone(0, nil), "/node", 1, nil)
	if _, err := crashed.Stat(t.Context(), id); !errors.Is(err, storage.ErrNotHere) {
		t.Error(err)
	}
	must(t, n.Maintain(t.Context(), time.UnixMilli(0)))
	if _, err := mem.Stat("/node/ballast"); err != nil {
		t.Error("ballast does not come back:", err)
	}
}
