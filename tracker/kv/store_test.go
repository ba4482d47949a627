package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func open(t testing.TB, fs vfs.FS, opts Options) *Store {
	t.Helper()
	s, err := Open(fs, "db", opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t testing.TB, s *Store, sync bool, pairs ...string) {
	t.Helper()
	b := s.NewBatch(64)
	for i := 0; i < len(pairs); i += 2 {
		if err := b.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(sync); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, r Reader, key string) string {
	t.Helper()
	v, ok, err := r.Get([]byte(key), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "-"
	}
	return string(v)
}

func TestGetReusesBuffer(t *testing.T) {
	t.Parallel()
	s := open(t, vfs.NewMem(), Options{})
	defer s.Close()
	set(t, s, false, "k", "value")
	buf := make([]byte, 3, 64)
	v, ok, err := s.Get([]byte("k"), buf)
	if err != nil || !ok || string(v) != "value" || &v[0] != &buf[0] {
		t.Fatalf("got %q, %v, %v in another buffer", v, ok, err)
	}
}

func TestDurability(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, wal := range []bool{false, true} {
		for _, percent := range []int{0, 50, 100} {
			t.Run(fmt.Sprintf("wal=%v/unsynced=%d", wal, percent), func(t *testing.T) {
				t.Parallel()
				mem := vfs.NewCrashableMem()
				s := open(t, mem, Options{WAL: wal})
				set(t, s, true, "synced", "1")
				set(t, s, false, "flushed", "2")
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				set(t, s, false, "lost", "3")
				crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, crashed, Options{WAL: wal, MustExist: true})
				defer s.Close()
				if a, b := get(t, s, "synced"), get(t, s, "flushed"); a != "1" || b != "2" {
					t.Fatalf("after the crash synced is %s and flushed is %s", a, b)
				}
			})
		}
	}
}

func TestCheckpointAndSnapshot(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := open(t, fs, Options{})
	set(t, s, false, "a", "1")
	snap := s.Snapshot()
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	set(t, s, false, "a", "2")
	if got := get(t, snap, "a"); got != "1" {
		t.Fatalf("snapshot sees %s", got)
	}
	if err := errors.Join(snap.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := Open(fs, "copy", Options{MustExist: true, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := get(t, c, "a"); got != "1" {
		t.Fatalf("checkpoint holds %s", got)
	}
}

// A failing disk must end the store with an error: never the process, and
// never a commit that is taken for done.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	for _, wal := range []bool{false, true} {
		t.Run(fmt.Sprintf("wal=%v", wal), func(t *testing.T) {
			t.Parallel()
			var broken atomic.Bool
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					return errorfs.ErrInjected
				}
				return nil
			})
			told := make(chan error, 1)
			s := open(t, errorfs.Wrap(vfs.NewMem(), inject), Options{WAL: wal, OnFailure: func(err error) { told <- err }})
			set(t, s, true, "a", "1")
			broken.Store(true)
			b := s.NewBatch(0)
			_ = b.Set([]byte("b"), []byte("2"))
			if err := b.Commit(true); !errors.Is(err, errorfs.ErrInjected) {
				t.Fatalf("commit on a broken disk: %v", err)
			}
			if err := <-told; !errors.Is(err, errorfs.ErrInjected) {
				t.Fatalf("owner was told %v", err)
			}
			broken.Store(false)
			b = s.NewBatch(0)
			_ = b.Set([]byte("c"), []byte("3"))
			if err := b.Commit(false); !errors.Is(err, errorfs.ErrInjected) {
				t.Fatalf("a failed store took a commit: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestRot spoils every table of a store and expects reads to answer with an
// error, and the owner to be told: not a caller whose goroutine is gone.
func TestRot(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := open(t, fs, Options{})
	for i := range 500 {
		set(t, s, false, fmt.Sprintf("k%04d", i), fmt.Sprintf("value %d", i))
	}
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, n := range names {
		if !strings.HasSuffix(n, ".sst") {
			continue
		}
		tables++
		fi, err := fs.Stat(fs.PathJoin("db", n))
		if err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create(fs.PathJoin("db", n), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, fi.Size())); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if tables == 0 {
		t.Fatal("no table was written")
	}
	told := make(chan error, 1)
	s, err = Open(fs, "db", Options{OnFailure: func(err error) { told <- err }})
	if err != nil {
		return // found at once
	}
	answers := make(chan error)
	for _, read := range []func() error{
		func() error { _, _, err := s.Get([]byte("k0001"), nil); return err },
		func() error {
			it, err := s.Iter([]byte("k"), []byte("l"))
			if err != nil {
				return err
			}
			it.First()
			return it.Close()
		},
	} {
		go func() {
			err := errors.New("the reader's goroutine ended")
			defer func() { answers <- err }()
			err = read()
		}()
		if err := <-answers; !pebble.IsCorruptionError(err) {
			t.Errorf("read of a rotten store: %v", err)
		}
	}
	if err := <-told; !pebble.IsCorruptionError(err) {
		t.Errorf("owner was told %v", err)
	}
	if err := s.Close(); err != nil {
		t.Log(err)
	}
}

// TestNoDescriptors answers reads with an error while no table can be opened,
// and goes on when one can.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, ".sst") {
			return &os.PathError{Op: "open", Path: op.Path, Err: syscall.EMFILE}
		}
		return nil
	}))
	s := open(t, fs, Options{})
	set(t, s, true, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	broken.Store(true) // before the engine has opened the table for its statistics
	s = open(t, fs, Options{})
	defer s.Close()
	if _, _, err := s.Get([]byte("a"), nil); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("get: %v", err)
	}
	it, err := s.Iter([]byte("a"), []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	it.First()
	if err := it.Close(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("iterator: %v", err)
	}
	broken.Store(false)
	for deadline := time.Now().Add(time.Minute); ; { // the engine may be about to fail at it once more
		v, _, err := s.Get([]byte("a"), nil)
		if string(v) == "1" {
			break
		}
		if !errors.Is(err, syscall.EMFILE) || time.Now().After(deadline) {
			t.Fatalf("%q, %v", v, err)
		}
	}
	set(t, s, true, "b", "2")
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}
