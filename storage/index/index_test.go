package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/volume"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fs vfs.FS) *Index {
	t.Helper()
	x, err := Open(Options{FS: fs, Dir: "/index", Logger: zerolog.Nop()})
	must(t, err)
	t.Cleanup(func() { must(t, x.Close()) })
	return x
}

func mem(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	must(t, m.MkdirAll("/index", 0o700))
	must(t, m.SyncDir("/"))
	return m
}

func entry(i int) Entry {
	id := storage.ShardID{Blob: storage.MakeBlobID(1, 2, 3, uint64(i)), Index: uint8(i % 3), Gen: uint32(i)}
	e := Entry{ID: id, Kind: volume.Packed, Loc: Loc{1, int64(i) * 8192}, Seal: storage.Seal{Length: 5000, Sum: uint64(i)}, Expiry: 99}
	if i%4 == 3 {
		e.Kind, e.File, e.Seal.Length = volume.Filed, uint64(i), 3*frame.Stride+9
	}
	e.Seal.Frames, _ = frame.Count(e.Seal.Length)
	return e
}

func TestModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m := mem(t)
	x := open(t, m)
	model := map[storage.ShardID]Entry{}
	var all []Entry
	for step := range 400 {
		var ids []storage.ShardID
		for range rng.IntN(6) {
			if len(all) > 0 {
				ids = append(ids, all[rng.IntN(len(all))].ID)
			}
		}
		switch rng.IntN(4) {
		case 0:
			var puts []*Put
			for range 1 + rng.IntN(8) {
				e := entry(len(all))
				all = append(all, e)
				model[e.ID] = e
				puts = append(puts, &Put{Entry: e})
			}
			must(t, x.Append(puts, Loc{1, int64(len(all)) * 8192}))
		case 1:
			must(t, x.Delete(ids))
			for _, id := range ids {
				delete(model, id)
			}
		case 2:
			must(t, x.Quarantine(ids, int64(step+1)))
			for _, id := range ids {
				if e, ok := model[id]; ok && e.Quarantined == 0 {
					e.Quarantined = int64(step + 1)
					model[id] = e
				}
			}
		case 3:
			must(t, x.Revive(ids))
			for _, id := range ids {
				if e, ok := model[id]; ok {
					e.Quarantined = 0
					model[id] = e
				}
			}
		}
		if step%50 != 49 {
			continue
		}
		if step == 199 || step == 399 {
			must(t, x.Sync())
			m = m.CrashClone(0, nil)
			x = open(t, m)
		}
		check(t, x, model)
	}
}

func check(t *testing.T, x *Index, model map[storage.ShardID]Entry) {
	t.Helper()
	got := map[storage.ShardID]Entry{}
	var last storage.ShardID
	must(t, x.Scan(storage.IDRange{}, storage.ShardID{}, func(e *Entry) bool {
		got[e.ID] = *e
		last = e.ID
		return true
	}))
	if d := cmp.Diff(model, got); d != "" {
		t.Fatal(d)
	}
	must(t, x.Scan(storage.IDRange{}, last, func(e *Entry) bool { t.Error("after the last:", e.ID); return false }))
	var want Totals
	live := VolumeStat{}
	var q []storage.ShardID
	for id, e := range model {
		want.Shards++
		want.Bytes += e.Seal.Length
		live.Live += e.Span()
		live.Records++
		if e.Quarantined != 0 {
			want.Quarantined++
			q = append(q, id)
		}
	}
	if x.Totals() != want || x.Volume(1) != live {
		t.Fatalf("totals %+v, want %+v; volume %+v, want %+v", x.Totals(), want, x.Volume(1), live)
	}
	due, err := x.Quarantined(1000, 10000)
	must(t, err)
	if len(due) != len(q) {
		t.Fatalf("%d in quarantine, want %d", len(due), len(q))
	}
}

func TestFrees(t *testing.T) {
	t.Parallel()
	x := open(t, mem(t))
	packed, filed, small := entry(0), entry(3), entry(1)
	packed.Seal.Length, small.Seal.Length = 20000, 100
	must(t, x.Append([]*Put{{Entry: packed}, {Entry: filed}, {Entry: small}}, Loc{1, 1 << 20}))
	must(t, x.Delete([]storage.ShardID{packed.ID, filed.ID, small.ID, packed.ID}))
	fs, err := x.Frees(Free{}, 10)
	must(t, err)
	want := []Free{{ID: packed.ID, Loc: packed.Loc, Span: packed.Span()}, {ID: filed.ID, File: 3}}
	if d := cmp.Diff(want, fs); d != "" {
		t.Fatal(d)
	}
	if fs, err = x.Frees(fs[0], 10); err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	must(t, x.Freed(fs))
	must(t, x.DropVolume(1))
	if fs, err = x.Frees(Free{}, 10); err != nil || len(fs) != 0 {
		t.Fatal(fs, err)
	}
}

func TestMoves(t *testing.T) {
	t.Parallel()
	x := open(t, mem(t))
	e := entry(0)
	must(t, x.Append([]*Put{{Entry: e}}, Loc{1, 8192}))
	must(t, x.Quarantine([]storage.ShardID{e.ID}, 5))
	moved := &Put{Entry: e, Copy: true, From: e.Loc}
	moved.Loc = Loc{2, 4096}
	must(t, x.Append([]*Put{moved}, Loc{2, 8192}))
	again := &Put{Entry: e, Copy: true, From: e.Loc}
	again.Loc = Loc{2, 8192}
	must(t, x.Append([]*Put{again}, Loc{2, 12288}))
	got, ok, err := x.Get(e.ID)
	if err != nil || !ok || got.Loc != moved.Loc || got.Quarantined != 5 || !moved.Applied || again.Applied {
		t.Fatal(got, ok, err)
	}
	if x.Volume(1) != (VolumeStat{}) || x.Volume(2).Records != 1 {
		t.Fatal(x.Volumes())
	}
	// A copy of what was deleted meanwhile does not come back by a scan.
	must(t, x.Delete([]storage.ShardID{e.ID}))
	must(t, x.Recover(moved, Loc{2, 12288}, false))
	if _, ok, _ := x.Get(e.ID); ok {
		t.Fatal("deleted shard is back")
	}
	must(t, x.Recover(moved, Loc{2, 12288}, true))
	if _, ok, _ := x.Get(e.ID); !ok {
		t.Fatal("rebuild skipped a copy")
	}
}

// TestDurable cuts the power after each acknowledged change.
func TestDurable(t *testing.T) {
	t.Parallel()
	m := mem(t)
	x := open(t, m)
	var ids []storage.ShardID
	for i := range 8 {
		e := entry(i)
		ids = append(ids, e.ID)
		must(t, x.Append([]*Put{{Entry: e}}, Loc{1, int64(i+1) * 8192}))
	}
	state := func(fs *vfs.Mem) string {
		var s string
		must(t, open(t, fs).Scan(storage.IDRange{}, storage.ShardID{}, func(e *Entry) bool {
			s += fmt.Sprint(" ", e.ID.Gen, ":", e.Quarantined)
			return true
		}))
		return s
	}
	must(t, x.Delete(ids[:2]))
	if got := state(m.CrashClone(0, nil)); got != " 2:0 3:0 4:0 5:0 6:0 7:0" {
		t.Fatal(got)
	}
	must(t, x.Quarantine(ids[1:3], 7))
	must(t, x.Delete(ids[7:]))
	must(t, x.Delete(ids[7:]))
	if got := state(m.CrashClone(0, nil)); got != " 2:7 3:0 4:0 5:0 6:0" {
		t.Fatal(got)
	}
	must(t, x.DeleteQuarantined(ids, 6))
	must(t, x.DeleteQuarantined(ids[2:3], 7))
	must(t, x.SetMeta("a", []byte("b")))
	c := m.CrashClone(0, nil)
	if got := state(c); got != " 3:0 4:0 5:0 6:0" {
		t.Fatal(got)
	}
	if v, err := x.Meta("a"); err != nil || string(v) != "b" {
		t.Fatal(v, err)
	}
}

// TestFailure lets the disk fail under the index: the caller gets an error,
// the process goes on, and so do later calls.
func TestFailure(t *testing.T) {
	t.Parallel()
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		var armed atomic.Bool
		fs := vfs.WithHook(mem(t), func(o vfs.Op, path string) error {
			if armed.Load() && o == op {
				return syscall.EIO
			}
			return nil
		})
		x := open(t, fs)
		must(t, x.Append([]*Put{{Entry: entry(1)}}, Loc{1, 8192}))
		armed.Store(true)
		if err := x.Delete([]storage.ShardID{entry(1).ID}); !errors.Is(err, syscall.EIO) {
			t.Fatal(op, err)
		}
		if x.Err() == nil || x.Append(nil, Loc{}) == nil {
			t.Fatal("failed index goes on")
		}
		if _, _, err := x.Get(entry(1).ID); err != nil {
			t.Fatal("failed index cannot be read:", err)
		}
		must(t, x.Scan(storage.IDRange{}, storage.ShardID{}, func(*Entry) bool { return true }))
	}
}

func FuzzRows(f *testing.F) {
	for i := range 4 {
		e := entry(i)
		e.Quarantined = int64(i % 2)
		f.Add(freeKey(e.Loc), e.encode(nil))
	}
	f.Add(freeKey(Loc{1, 32}), append(counters(64), make([]byte, idSize)...))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if e, err := decodeEntry(storage.ShardID{}, v); err == nil && !slices.Equal(e.encode(nil), v) {
			// Bits that mean nothing are not kept; the entry must be.
			if again, err := decodeEntry(storage.ShardID{}, e.encode(nil)); err != nil || again != e {
				t.Fatal(e, again, err)
			}
		}
		_, _ = decodeFree(k, v)
	})
}

// TestRot spoils every table of an index and expects calls to answer with an
// error, not a caller whose goroutine is gone.
func TestRot(t *testing.T) {
	t.Parallel()
	fs := mem(t)
	for range 2 { // the second start makes tables of the first one's log
		x, err := Open(Options{FS: fs, Dir: "/index", Logger: zerolog.Nop()})
		must(t, err)
		for i := range 300 {
			must(t, x.Append([]*Put{{Entry: entry(i + 1)}}, Loc{1, 8192}))
		}
		must(t, x.Close())
	}
	names, err := fs.List("/index")
	must(t, err)
	tables := 0
	for _, n := range names {
		if !strings.HasSuffix(n, ".sst") {
			continue
		}
		tables++
		f, err := fs.OpenFile("/index/"+n, vfs.ReadWrite)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		_, err = f.WriteAt(make([]byte, size), 0)
		must(t, err)
		must(t, f.Close())
	}
	if tables == 0 {
		t.Fatal("no table was written")
	}
	answer := make(chan error)
	go func() {
		err := errors.New("the caller's goroutine ended")
		defer func() { answer <- err }()
		var x *Index
		if x, err = Open(Options{FS: fs, Dir: "/index", Logger: zerolog.Nop()}); err == nil {
			_, _, err = x.Get(entry(1).ID)
			_ = x.Close()
		}
	}()
	if err := <-answer; !pebble.IsCorruptionError(err) {
		t.Errorf("a rotten index answers %v", err)
	}
}
