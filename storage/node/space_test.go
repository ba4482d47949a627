package node_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
)

// allocated is the disk space of the shards of a directory: all but the index.
func allocated(t *testing.T, dir string) (bytes int64, inodes int) {
	t.Helper()
	for _, d := range []string{"volumes", "blobs"} {
		must(t, filepath.WalkDir(filepath.Join(dir, d), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			bytes += fi.Sys().(*syscall.Stat_t).Blocks * 512
			inodes++
			return nil
		}))
	}
	return bytes, inodes
}

// TestSpace deletes 90 % of what is stored, then all, and looks at the blocks
// that the file system really has given out.
func TestSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, vfs.OS(), dir, 1, func(c *node.Config) { c.Limits = node.Limits{VolumeSize: 16 << 20} })
	var mu sync.Mutex
	var ids []storage.ShardID
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 160 {
				k := g*1000 + i
				size := []int{4096, 16384, 4096, 16384, 65536, 300, 100_000, 16384}[i%8]
				if i%80 == 79 {
					size = 2<<20 + 5
				}
				if err := putOne(t, n, storagetest.ID(uint64(k)), storagetest.Payload(uint64(k), size)); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids = append(ids, storagetest.ID(uint64(k)))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	report := func(what string) (used, disk int64) {
		st, err := n.Status(t.Context())
		must(t, err)
		disk, inodes := allocated(t, dir)
		t.Logf("%s: %d shards, %d bytes, on disk %d (%.3f), %d files", what, st.Shards, st.Used, disk, float64(disk)/float64(st.Used), inodes)
		return st.Used, disk
	}
	if used, disk := report("written"); disk > used*105/100 {
		t.Error("packing wastes too much")
	}
	keep := slices.DeleteFunc(slices.Clone(ids), func(id storage.ShardID) bool { return id.Blob[15]%10 != 0 })
	must(t, n.Delete(t.Context(), slices.DeleteFunc(slices.Clone(ids), func(id storage.ShardID) bool { return id.Blob[15]%10 == 0 })))
	must(t, n.Maintain(t.Context(), time.UnixMilli(0)))
	if used, disk := report("90 % deleted"); disk > used*105/100 {
		t.Error("space is kept")
	}
	must(t, n.Delete(t.Context(), keep))
	must(t, n.Maintain(t.Context(), time.UnixMilli(0)))
	if _, disk := report("all deleted"); disk > 4096 {
		t.Error("space is kept")
	}
	must(t, putOne(t, n, ids[0], storagetest.Payload(1, 100)))
}

// TestPunch frees single large records while the volume stays.
func TestPunch(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	n := open(t, mem, "/node", 1, nil)
	var ids []storage.ShardID
	for i := range uint64(10) {
		ids = append(ids, storagetest.ID(i))
		must(t, putOne(t, n, ids[i], storagetest.Payload(i, 500_000)))
	}
	before := mem.Used()
	r, err := n.Open(t.Context(), ids[3], 0, -1)
	must(t, err)
	must(t, n.Delete(t.Context(), []storage.ShardID{ids[0], ids[3], ids[6]}))
	must(t, n.Maintain(t.Context(), time.UnixMilli(0)))
	if freed := before - mem.Used(); freed < 2*490_000 || freed > 2*510_000 {
		t.Errorf("freed %d with one reader left", freed)
	}
	got, err := storagetest.ReadAll(r)
	must(t, err)
	want, _ := storagetest.Frames(ids[3], storagetest.Payload(3, 500_000))
	if string(got) != string(want) {
		t.Error("punched under a reader")
	}
	must(t, r.Close())
	must(t, n.Maintain(t.Context(), time.UnixMilli(0)))
	if freed := before - mem.Used(); freed < 3*490_000 {
		t.Errorf("freed %d", freed)
	}
	// The index can still be rebuilt over the holes.
	must(t, n.Close())
	must(t, mem.RemoveAll("/node/index"))
	n = open(t, mem, "/node", 1, nil)
	st, err := n.Status(t.Context())
	must(t, err)
	if st.Shards != 7 {
		t.Errorf("%d shards after a rebuild", st.Shards)
	}
	wants(t, n, ids[9], storagetest.Payload(9, 500_000))
}

// TestAbortedUploads leave nothing behind.
func TestAbortedUploads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, vfs.OS(), dir, 1, nil)
	for i := range uint64(200) {
		id := storagetest.ID(i)
		run, seal := storagetest.Frames(id, storagetest.Payload(i, []int{1000, 3 << 20}[i%2]))
		w, err := n.Create(t.Context(), storagetest.Ticket(id.Blob, storage.OpWrite, 1, 4), id, seal.Length)
		must(t, err)
		_, err = w.Write(run[:min(len(run), 8*65544)])
		must(t, err)
		if i%3 == 0 {
			seal.Sum++
			if err := w.Seal(t.Context(), seal); !errors.Is(err, storage.ErrSeal) {
				t.Fatal(err)
			}
		}
		w.Abort()
	}
	if bytes, _ := allocated(t, dir); bytes > 8192 {
		t.Errorf("%d bytes are left", bytes)
	}
}

// TestScrub damages shards in every way there is and expects each to be found.
func TestScrub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var found []storage.ShardID
	set := func(c *node.Config) {
		c.Limits = node.Limits{VolumeSize: 8 << 20, ScrubRate: -1}
		c.Damage = func(d storage.Damage) { found = append(found, d.Shard) }
	}
	n := open(t, vfs.OS(), dir, 1, set)
	payload := func(i int) []byte {
		return storagetest.Payload(uint64(i), []int{3000, 200_000, 2 << 20, 70_000}[i%4])
	}
	for i := range 24 {
		must(t, putOne(t, n, storagetest.ID(uint64(i)), payload(i)))
	}
	must(t, n.Scrub(t.Context()))
	if len(found) != 0 {
		t.Fatal("sound shards are reported", found)
	}
	must(t, n.Close())
	damage := func(i int, how func(f *os.File, at, length int64) error) {
		run, _ := storagetest.Frames(storagetest.ID(uint64(i)), payload(i))
		path, at := locate(t, dir, storagetest.ID(uint64(i)), run)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		must(t, how(f, at, int64(len(run))))
	}
	flip := func(off func(length int64) int64) func(*os.File, int64, int64) error {
		return func(f *os.File, at, length int64) error {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, at+off(length)); err != nil {
				return err
			}
			b[0] ^= 0x10
			_, err := f.WriteAt(b, at+off(length))
			return err
		}
	}
	first := func(int64) int64 { return 0 }
	damage(0, flip(first))
	damage(1, flip(func(l int64) int64 { return l / 2 }))
	damage(2, flip(func(l int64) int64 { return l - 1 })) // of the last checksum
	damage(3, flip(func(int64) int64 { return -40 }))     // the record's header
	damage(5, func(f *os.File, at, length int64) error { _, err := f.WriteAt(make([]byte, length), at); return err })
	damage(6, func(f *os.File, _, length int64) error { return f.Truncate(length + 79) })
	damage(10, func(f *os.File, _, length int64) error { return os.Remove(f.Name()) })
	damage(14, flip(func(l int64) int64 { return l + 20 })) // the file's trailer
	n = open(t, vfs.OS(), dir, 1, set)
	for range 2 {
		found = nil
		must(t, n.Scrub(t.Context()))
		slices.SortFunc(found, func(a, b storage.ShardID) int { return int(a.Blob[15]) - int(b.Blob[15]) })
		want := []storage.ShardID{}
		for _, i := range []uint64{0, 1, 2, 3, 5, 6, 10, 14} {
			want = append(want, storagetest.ID(i))
		}
		if !slices.Equal(found, want) {
			t.Fatalf("found %v", found)
		}
	}
	st, err := n.Status(t.Context())
	must(t, err)
	if st.Bad != 16 || st.ScrubbedAt.IsZero() {
		t.Errorf("%+v", st)
	}
}

// TestScrubFindsDeletedFiles under a node that has them open.
func TestScrubFindsDeletedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	found := map[storage.ShardID]bool{}
	n := open(t, vfs.OS(), dir, 1, func(c *node.Config) {
		c.Limits = node.Limits{ScrubRate: -1}
		c.Damage = func(d storage.Damage) { found[d.Shard] = true }
	})
	for i, size := range []int{3000, 200_000, 2 << 20} {
		must(t, putOne(t, n, storagetest.ID(uint64(i)), storagetest.Payload(uint64(i), size)))
	}
	must(t, n.Scrub(t.Context()))
	for _, pattern := range []string{"blobs/0*/*", "volumes/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		must(t, err)
		for _, f := range files {
			must(t, os.Remove(f))
		}
	}
	must(t, n.Scrub(t.Context()))
	if len(found) != 3 {
		t.Errorf("of three shards whose files were deleted, %d were found missing", len(found))
	}
}

// locate finds the frames of a shard in the files of a node.
func locate(t *testing.T, dir string, id storage.ShardID, run []byte) (path string, at int64) {
	t.Helper()
	if files, _ := filepath.Glob(filepath.Join(dir, "blobs", "0*", id.Blob.String()+"*")); len(files) == 1 {
		return files[0], 0
	}
	vols, err := filepath.Glob(filepath.Join(dir, "volumes", "*"))
	must(t, err)
	for _, v := range vols {
		b, err := os.ReadFile(v)
		must(t, err)
		for at := 4096; at+len(run) <= len(b); at += 16 {
			if slices.Equal(b[at:at+64], run[:64]) {
				return v, int64(at)
			}
		}
	}
	t.Fatal("shard not found", id)
	return "", 0
}

// TestGroupCommit prints how many syncs a write costs with 64 writers.
func TestGroupCommit(t *testing.T) {
	n := open(t, vfs.OS(), t.TempDir(), 1, nil)
	payload := storagetest.Payload(1, 16384)
	var wg sync.WaitGroup
	start := time.Now()
	for g := range uint64(64) {
		wg.Go(func() {
			for i := range uint64(40) {
				if err := putOne(t, n, storagetest.ID(g<<20|i), payload); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	st, err := n.Status(t.Context())
	must(t, err)
	perWrite := float64(st.Syncs) / float64(st.Writes)
	t.Log(fmt.Sprintf("%d writes of 16 KiB, 64 at once: %.3f syncs a write, %.0f writes/s", st.Writes, perWrite, float64(st.Writes)/time.Since(start).Seconds()))
	if st.Writes != 64*40 || perWrite >= 0.2 {
		t.Errorf("%d syncs for %d writes", st.Syncs, st.Writes)
	}
}
