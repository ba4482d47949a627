package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
)

// ledger is what the node has acknowledged.
type ledger struct {
	sync.Mutex
	runs  map[storage.ShardID][]byte // of every shard ever tried
	acked map[storage.ShardID]bool   // sealed, and no delete begun
	gone  map[storage.ShardID]bool   // delete acknowledged
	held  map[storage.ShardID]bool   // quarantine acknowledged, no revive begun
}

func (l *ledger) copy() *ledger {
	l.Lock()
	defer l.Unlock()
	return &ledger{runs: maps.Clone(l.runs), acked: maps.Clone(l.acked), gone: maps.Clone(l.gone), held: maps.Clone(l.held)}
}

// cut is the file system at a power loss, and what was acknowledged before.
type cut struct {
	fs    *vfs.Mem
	at    string
	known *ledger
}

// crasher runs a scenario and takes a cut at each of its sync points, with
// none, half and all of what was not synced.
type crasher struct {
	*testing.T
	mem    *vfs.Mem
	rng    *rand.Rand
	limits node.Limits
	known  *ledger
	n      *node.Node
	mu     struct {
		sync.Mutex
		on   bool
		cuts []cut
	}
}

const crashDir = "/disk/node"

func newCrasher(t *testing.T, limits node.Limits) *crasher {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &crasher{T: t, mem: vfs.NewMem(), rng: rand.New(rand.NewPCG(seed, 0)), limits: limits}
	c.known = &ledger{runs: map[storage.ShardID][]byte{}, acked: map[storage.ShardID]bool{}, gone: map[storage.ShardID]bool{}, held: map[storage.ShardID]bool{}}
	must(t, c.mem.MkdirAll("/disk", 0o700))
	must(t, c.mem.SyncDir("/"))
	must(t, node.Format(c.mem, crashDir, node.Identity{Cluster: "test", Node: 1}))
	return c
}

func (c *crasher) hook(op vfs.Op, path string) error {
	if !op.IsSync() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.on {
		return nil
	}
	known := c.known.copy()
	for _, percent := range []int{0, 50, 100} {
		at := fmt.Sprintf("cut %d: %s %s, %d %% kept", len(c.mu.cuts), op, path, percent)
		c.mu.cuts = append(c.mu.cuts, cut{c.mem.CrashClone(percent, c.rng), at, known})
	}
	return nil
}

// record turns the taking of cuts on or off. The index's own goroutines sync
// at any time.
func (c *crasher) record(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.on = on
}

func (c *crasher) taken() []cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mu.cuts)
}

func openCrashed(t *testing.T, fs vfs.FS, limits node.Limits, damage func(storage.Damage)) (*node.Node, error) {
	return node.Open(t.Context(), node.Config{FS: fs, Dir: crashDir, Cluster: "test", Node: 1, Epoch: 1,
		Logger: zerolog.Nop(), Reserve: -1, Limits: limits, Damage: damage})
}

// run runs a scenario and verifies every cut; with -short every third and the
// last two, where nothing more is written.
func (c *crasher) run(scenario func()) {
	c.Helper()
	var err error
	c.n, err = openCrashed(c.T, vfs.WithHook(c.mem, c.hook), c.limits, nil)
	must(c.T, err)
	c.record(true)
	scenario()
	c.record(false)
	cuts := c.taken()
	cuts = append(cuts, cut{c.mem.CrashClone(0, nil), "at the end", c.known.copy()})
	must(c.T, c.n.Close())
	cuts = append(cuts, cut{c.mem.CrashClone(0, nil), "closed", c.known.copy()})
	c.Logf("%d cuts", len(cuts))
	if len(cuts) < 12 {
		c.Error("too few sync points to mean anything")
	}
	for i, k := range cuts {
		if testing.Short() && i%3 != 0 && i < len(cuts)-2 {
			continue
		}
		c.verify(k, i%5 == 0)
		if c.Failed() {
			return
		}
	}
}

// verify opens what a power loss left and checks all that was acknowledged;
// with deep also after the index was lost.
func (c *crasher) verify(k cut, deep bool) {
	c.Helper()
	n, err := openCrashed(c.T, k.fs, c.limits, func(d storage.Damage) { c.Errorf("%s: damage %+v", k.at, d) })
	if err != nil {
		c.Fatalf("%s: open: %v", k.at, err)
	}
	c.check(n, k, false)
	must(c.T, n.Maintain(c.Context(), time.UnixMilli(0)))
	c.check(n, k, false)
	id := storagetest.ID(1 << 40)
	t := storagetest.Ticket(id.Blob, storage.OpWrite, 1, 1)
	must(c.T, storagetest.Put(c.Context(), n, t, id, storagetest.Payload(1, 100000)))
	must(c.T, n.Scrub(c.Context()))
	c.checkFiles(n, k)
	must(c.T, n.Close())
	if !deep {
		return
	}
	must(c.T, k.fs.RemoveAll(crashDir+"/index"))
	n, err = openCrashed(c.T, k.fs, c.limits, func(d storage.Damage) { c.Errorf("%s: damage %+v", k.at, d) })
	if err != nil {
		c.Fatalf("%s: rebuild of the index: %v", k.at, err)
	}
	c.check(n, k, true)
	if _, err := n.Stat(c.Context(), id); err != nil {
		c.Fatalf("%s: rebuild of the index: %v", k.at, err)
	}
	must(c.T, n.Close())
}

// check compares a node with the ledger. A rebuilt index may have forgotten
// deletes and quarantine, never a shard.
func (c *crasher) check(n *node.Node, k cut, rebuilt bool) {
	c.Helper()
	var shards, used int64
	for id, run := range k.known.runs {
		got, err := storagetest.Get(c.Context(), n, id, 0, -1)
		switch {
		case errors.Is(err, storage.ErrNotHere):
			if k.known.acked[id] {
				c.Errorf("%s: acknowledged shard %s is lost", k.at, id)
			}
			continue
		case err != nil:
			c.Errorf("%s: shard %s: %v", k.at, id, err)
			continue
		case !bytes.Equal(got, run):
			c.Errorf("%s: shard %s differs or is cut", k.at, id)
		case k.known.gone[id] && !rebuilt:
			c.Errorf("%s: deleted shard %s is back", k.at, id)
		}
		info, err := n.Stat(c.Context(), id)
		must(c.T, err)
		if k.known.held[id] && info.Quarantined == 0 && !rebuilt {
			c.Errorf("%s: quarantine of %s is forgotten", k.at, id)
		}
		shards++
		used += info.Seal.Length
	}
	st, err := n.Status(c.Context())
	must(c.T, err)
	if !rebuilt && (st.Shards != shards || st.Used != used || st.Bad != 0) {
		c.Errorf("%s: status %+v, found %d shards of %d bytes", k.at, st, shards, used)
	}
}

// checkFiles looks for files that nothing refers to.
func (c *crasher) checkFiles(n *node.Node, k cut) {
	c.Helper()
	infos, err := n.List(c.Context(), storage.IDRange{}, storage.ShardID{}, 1000)
	must(c.T, err)
	large := 0
	for _, i := range infos {
		if i.Seal.Length > 1<<20 {
			large++
		}
	}
	files := 0
	dirs, err := k.fs.List(crashDir + "/blobs")
	must(c.T, err)
	for _, d := range dirs {
		names, err := k.fs.List(crashDir + "/blobs/" + d)
		must(c.T, err)
		files += len(names)
	}
	if files != large {
		c.Errorf("%s: %d files for %d large shards", k.at, files, large)
	}
}

func (c *crasher) put(n uint64, size int) storage.ShardID {
	c.Helper()
	id := storagetest.ID(n)
	run, seal := storagetest.Frames(id, storagetest.Payload(n, size))
	c.known.Lock()
	c.known.runs[id] = run
	c.known.Unlock()
	t := storagetest.Ticket(id.Blob, storage.OpWrite, 1, 1)
	if err := storagetest.PutRun(context.Background(), c.n, t, id, run, seal, seal.Length); err != nil {
		c.Error(err)
	}
	c.known.Lock()
	defer c.known.Unlock()
	c.known.acked[id] = true
	return id
}

func (c *crasher) delete(ids ...storage.ShardID) {
	c.Helper()
	c.known.Lock()
	for _, id := range ids {
		delete(c.known.acked, id)
		delete(c.known.held, id)
	}
	c.known.Unlock()
	if err := c.n.Delete(context.Background(), ids); err != nil {
		c.Error(err)
	}
	c.known.Lock()
	defer c.known.Unlock()
	for _, id := range ids {
		c.known.gone[id] = true
	}
}

func (c *crasher) maintain(now time.Time) {
	c.Helper()
	must(c.T, c.n.Maintain(c.Context(), now))
}

// smallest are limits under which volumes roll after 2 MiB.
func smallest() node.Limits { return node.Limits{VolumeSize: 1, ScrubRate: -1} }

func TestCrashPackedWrites(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	c.run(func() {
		for n, size := range []int{0, 1, 5000, 16384, 4000, 70000, 900000, 1 << 19, 3, 1 << 19, 1<<20 - 200, 40} {
			c.put(uint64(n), size)
		}
	})
}

func TestCrashFileWrites(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	c.run(func() {
		for n, size := range []int{1 << 20, 2 << 20, 100, 9 << 20} {
			c.put(uint64(n), size)
		}
	})
}

func TestCrashConcurrentWrites(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	c.run(func() {
		var wg sync.WaitGroup
		for g := range uint64(8) {
			wg.Go(func() {
				for i := range uint64(6) {
					id := c.put(g<<8|i, []int{20000, 100, 1 << 20, 300000, 8000, 1}[i]+int(g))
					if i == 2 {
						c.delete(id)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestCrashDelete(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	c.run(func() {
		var ids []storage.ShardID
		for n, size := range []int{5000, 16384, 2 << 20, 70000, 100, 1 << 20, 300000, 20} {
			ids = append(ids, c.put(uint64(n), size))
		}
		c.delete(ids[1], ids[2])
		c.maintain(time.UnixMilli(0))
		c.delete(ids[5])
		c.delete(ids[5], ids[6], ids[7])
		c.put(20, 1000)
		c.maintain(time.UnixMilli(0))
	})
}

func TestCrashRewrite(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	c.run(func() {
		var ids []storage.ShardID
		for n := range uint64(24) {
			ids = append(ids, c.put(n, 290000))
		}
		big := c.put(100, 1<<20+5)
		c.delete(ids[:5]...)
		c.delete(ids[7:12]...)
		c.maintain(time.UnixMilli(0))
		c.put(30, 1000)
		c.delete(ids[14:]...)
		c.maintain(time.UnixMilli(0))
		c.delete(big, ids[5])
		c.maintain(time.UnixMilli(0))
	})
}

// TestCrashRewriteUnderDeletes deletes what a rewrite is moving.
func TestCrashRewriteUnderDeletes(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	c.run(func() {
		var ids []storage.ShardID
		for n := range uint64(60) {
			ids = append(ids, c.put(n, 60000))
		}
		for n := range uint64(6) {
			ids = append(ids, c.put(100+n, 300000))
		}
		c.delete(ids[:20]...)
		var wg sync.WaitGroup
		wg.Go(func() { c.maintain(time.UnixMilli(0)) })
		for i := 20; i < 50; i += 3 {
			c.delete(ids[i : i+2]...)
		}
		wg.Wait()
		c.maintain(time.UnixMilli(0))
	})
}

func TestCrashQuarantine(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	now := time.UnixMilli(1 << 40)
	c.run(func() {
		var ids []storage.ShardID
		for n, size := range []int{5000, 16384, 2 << 20, 70000, 100, 1 << 20} {
			ids = append(ids, c.put(uint64(n), size))
		}
		must(t, c.n.Disown(t.Context(), ids[:4], now))
		c.known.Lock()
		for _, id := range ids[:4] {
			c.known.held[id] = true
		}
		delete(c.known.held, ids[1])
		c.known.Unlock()
		must(t, c.n.Revive(t.Context(), ids[1:2]))
		c.put(50, 10)
		c.known.Lock()
		ended := []storage.ShardID{ids[0], ids[2], ids[3]}
		for _, id := range ended {
			delete(c.known.acked, id)
			delete(c.known.held, id)
		}
		c.known.Unlock()
		c.maintain(now.Add(24 * time.Hour))
		c.known.Lock()
		for _, id := range ended {
			c.known.gone[id] = true
		}
		c.known.Unlock()
	})
}

// TestCrashTwice cuts the power again while a start repairs what the first
// cut left.
func TestCrashTwice(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	var err error
	c.n, err = openCrashed(t, vfs.WithHook(c.mem, c.hook), c.limits, nil)
	must(t, err)
	c.record(true)
	for n, size := range []int{5000, 2 << 20, 300000, 900000, 1 << 20, 900000, 10} {
		c.put(uint64(n), size)
	}
	c.delete(storagetest.ID(2))
	c.record(false)
	first := slices.DeleteFunc(c.taken(), func(k cut) bool { return !strings.Contains(k.at, " 50 %") })
	second := 0
	for i, k := range first {
		if testing.Short() && i%4 != 0 {
			continue
		}
		again := &crasher{T: t, mem: k.fs, rng: c.rng, limits: c.limits, known: k.known}
		again.record(true)
		n, err := openCrashed(t, vfs.WithHook(k.fs, again.hook), c.limits, nil)
		must(t, err)
		again.record(false)
		for _, kk := range again.taken() {
			kk.at = k.at + "; then " + kk.at
			again.verify(kk, false)
			second++
		}
		must(t, n.Close())
	}
	must(t, c.n.Close())
	t.Logf("%d second cuts", second)
	if second == 0 {
		t.Error("a start syncs nothing")
	}
}

// TestRebuildFromRot loses the index and finds every whole shard of volumes
// that are damaged in the middle.
func TestRebuildFromRot(t *testing.T) {
	t.Parallel()
	c := newCrasher(t, smallest())
	var err error
	c.n, err = openCrashed(t, c.mem, c.limits, nil)
	must(t, err)
	var ids []storage.ShardID
	for n := range uint64(30) {
		ids = append(ids, c.put(n, 3000+int(n)*5000))
	}
	large := c.put(90, 2<<20)
	must(t, c.n.Close())
	f, err := c.mem.OpenFile(crashDir+"/volumes/00000001.vol", vfs.ReadWrite)
	must(t, err)
	// Shard 0 loses its header, a shard in the middle a frame.
	_, err = f.WriteAt(make([]byte, 8), 4096+32)
	must(t, err)
	_, err = f.WriteAt([]byte("rot"), 1<<20)
	must(t, err)
	must(t, f.Close())
	// The large shard's record, the last, too.
	f, err = c.mem.OpenFile(crashDir+"/volumes/00000002.vol", vfs.ReadWrite)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	_, err = f.WriteAt(make([]byte, 96), size-96)
	must(t, err)
	must(t, f.Close())
	must(t, c.mem.RemoveAll(crashDir+"/index"))
	n, err := openCrashed(t, c.mem, c.limits, nil)
	must(t, err)
	defer n.Close()
	var lost []storage.ShardID
	for _, id := range ids {
		got, err := storagetest.Get(t.Context(), n, id, 0, -1)
		if err == nil && bytes.Equal(got, c.known.runs[id]) {
			continue
		}
		lost = append(lost, id)
	}
	if len(lost) != 2 || !slices.Contains(lost, ids[0]) {
		t.Errorf("lost %v", lost)
	}
	wants(t, n, large, storagetest.Payload(90, 2<<20)) // its file says what it is
	must(t, n.Scrub(t.Context()))
	wants(t, n, large, storagetest.Payload(90, 2<<20))
}
