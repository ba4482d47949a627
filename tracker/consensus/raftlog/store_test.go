package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

func mustOpen(t testing.TB, fs vfs.FS, opts Options) *Store {
	t.Helper()
	s, err := Open(fs, "log", opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(index, term uint64, size int) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: bytes.Repeat([]byte{byte(index)}, size)}
}

func mustStore(t testing.TB, s *Store, logs ...*raft.Log) {
	t.Helper()
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

// check compares bounds, entries and size with the entries that are expected.
func check(t testing.TB, s *Store, want []*raft.Log) {
	t.Helper()
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 {
		if first != 0 || last != 0 || s.Held() != 0 {
			t.Fatalf("log is [%d, %d] with %d bytes, want it empty", first, last, s.Held())
		}
		return
	}
	if first != want[0].Index || last != want[len(want)-1].Index {
		t.Fatalf("log is [%d, %d], want [%d, %d]", first, last, want[0].Index, want[len(want)-1].Index)
	}
	var held uint64
	for _, w := range want {
		held += uint64(len(w.Data) + rowOverhead)
		var l raft.Log
		if err := s.GetLog(w.Index, &l); err != nil {
			t.Fatal(err)
		}
		if l.Index != w.Index || l.Term != w.Term || l.Type != w.Type || !bytes.Equal(l.Data, w.Data) {
			t.Fatalf("entry %d is %+v", w.Index, l)
		}
	}
	if s.Held() != held {
		t.Fatalf("log holds %d bytes, want %d", s.Held(), held)
	}
	var l raft.Log
	for _, i := range []uint64{0, first - 1, last + 1} {
		if err := s.GetLog(i, &l); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, recent := range []int{0, 1000, 1 << 20} {
		t.Run(fmt.Sprint(recent), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			opts := Options{RecentBytes: recent}
			s := mustOpen(t, fs, opts)
			check(t, s, nil)
			var logs []*raft.Log
			for i := range uint64(20) {
				logs = append(logs, entry(i+1, i/5+1, int(i)*10))
			}
			mustStore(t, s, logs[0])
			mustStore(t, s, logs[1:10]...)
			check(t, s, logs[:10])
			if err := s.StoreLogs([]*raft.Log{logs[11]}); err == nil {
				t.Fatal("a gap was stored")
			}
			if err := s.StoreLogs([]*raft.Log{logs[9]}); err == nil {
				t.Fatal("an entry was stored again")
			}
			mustStore(t, s, logs[10:]...)
			reopen := func(want []*raft.Log) {
				t.Helper()
				check(t, s, want)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, fs, opts)
				check(t, s, want)
			}
			del := func(low, high uint64) {
				t.Helper()
				if err := s.DeleteRange(low, high); err != nil {
					t.Fatal(err)
				}
			}
			reopen(logs)
			del(16, 20) // suffix
			reopen(logs[:15])
			mustStore(t, s, entry(16, 9, 5))
			logs = append(logs[:15:15], entry(16, 9, 5))
			reopen(logs)
			del(1, 4) // prefix
			reopen(logs[4:])
			del(1, 6) // prefix that is partly gone
			reopen(logs[6:])
			del(30, 40) // nothing
			if err := s.DeleteRange(9, 10); err == nil {
				t.Fatal("a range inside was deleted")
			}
			del(7, 16)
			reopen(nil)
			far := []*raft.Log{entry(100, 10, 1), entry(101, 10, 2)}
			mustStore(t, s, far...)
			reopen(far)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestKeepAndPin(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem(), Options{KeepBytes: 10 * (100 + rowOverhead)})
	defer s.Close()
	var logs []*raft.Log
	for i := range uint64(100) {
		logs = append(logs, entry(i+1, 1, 100))
	}
	mustStore(t, s, logs...)
	if err := s.DeleteRange(1, 50); err != nil {
		t.Fatal(err)
	}
	check(t, s, logs[50:])
	release := s.Pin(61)
	if err := s.DeleteRange(51, 99); err != nil {
		t.Fatal(err)
	}
	check(t, s, logs[60:])
	if err := s.DeleteRange(61, 99); err != nil {
		t.Fatal(err)
	}
	check(t, s, logs[60:])
	release()
	if err := s.DeleteRange(61, 99); err != nil {
		t.Fatal(err)
	}
	check(t, s, logs[90:])
	s.Worth(5 * (100 + rowOverhead))
	if err := errors.Join(s.DeleteRange(91, 99), s.Tidy()); err != nil {
		t.Fatal(err)
	}
	check(t, s, logs[95:])
}

func TestStable(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, fs, Options{})
	if n, err := s.GetUint64(stableTerm); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := errors.Join(s.SetUint64(stableTerm, 7), s.SetUint64(stableVoteTerm, 7), s.Set(stableVoteCand, []byte("a"))); err != nil {
		t.Fatal(err)
	}
	// A crash between the two halves of a vote leaves the vote before it.
	if err := s.SetUint64(stableVoteTerm, 8); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s = mustOpen(t, crashed, Options{})
	defer s.Close()
	term, err1 := s.GetUint64(stableTerm)
	vote, err2 := s.GetUint64(stableVoteTerm)
	cand, err3 := s.Get(stableVoteCand)
	if err := errors.Join(err1, err2, err3); err != nil || term != 7 || vote != 7 || string(cand) != "a" {
		t.Fatal(term, vote, string(cand), err)
	}
}

func TestIdentityAndSnapshot(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, fs, Options{})
	id := &Identity{Cluster: "c", Voter: "v", Server: "v.1", State: "state", Vote: true}
	if err := s.Bootstrap(id, []byte("conf")); err != nil {
		t.Fatal(err)
	}
	if err := s.Bootstrap(id, []byte("conf")); err == nil {
		t.Fatal("bootstrapped twice")
	}
	snap := &Snapshot{Index: 9, Term: 3, ConfIndex: 1, Conf: []byte("conf")}
	if err := s.SetSnapshot(snap); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s = mustOpen(t, crashed, Options{})
	defer s.Close()
	got, err1 := s.Identity()
	n, err2 := s.Snapshot()
	if err := errors.Join(err1, err2); err != nil || *got != *id || n.Index != 9 || string(n.Conf) != "conf" {
		t.Fatalf("%+v %+v %v", got, n, err)
	}
	// The snapshot is past the log, so the log was left over by a crash.
	check(t, s, nil)
}

// What is committed stays so: the first entries after a restart, which a leader
// sends before anybody told it how far the group is, do not make it less.
func TestCommitStays(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	defer func() { _ = s.Close() }()
	stage := func(index uint64) {
		t.Helper()
		if err := s.StageCommitIndex(index); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func(want uint64) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, fs, Options{})
		if got := s.Committed(); got != want {
			t.Fatalf("committed up to %d, want %d", got, want)
		}
	}
	stage(2)
	mustStore(t, s, entry(1, 1, 10), entry(2, 1, 10), entry(3, 1, 10))
	reopen(2)
	mustStore(t, s, entry(4, 2, 10)) // nothing was said
	reopen(2)
	stage(0) // a leader that was started again says that it knows nothing
	mustStore(t, s, entry(5, 3, 10))
	reopen(2)
	stage(4)
	stage(3) // it knows less than the one before it
	mustStore(t, s, entry(6, 4, 10))
	reopen(4)
	// A log that was emptied under a snapshot goes on from there.
	if err := s.Recover(&goldenIdentity, &Snapshot{Index: 6, Term: 4}); err != nil {
		t.Fatal(err)
	}
	reopen(0)
	mustStore(t, s, entry(7, 5, 10))
	reopen(4)
	stage(7)
	mustStore(t, s, entry(8, 5, 10))
	reopen(7)
}

// What was stored is there after a crash, with a commit index that is never
// past it, whatever of the unsynced bytes survives.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewCrashableMem()
			s := mustOpen(t, fs, Options{})
			var want []*raft.Log // what must be there
			floor, next := uint64(1), uint64(1)
			for range 30 {
				for range 1 + rnd.IntN(10) {
					switch p := rnd.IntN(10); {
					case p < 7 || len(want) < 2:
						var batch []*raft.Log
						for range 1 + rnd.IntN(5) {
							batch = append(batch, entry(next, 1, rnd.IntN(2000)))
							next++
						}
						_ = s.StageCommitIndex(batch[0].Index + uint64(rnd.IntN(9)))
						mustStore(t, s, batch...)
						want = append(want, batch...)
					case p < 9:
						n := 1 + rnd.IntN(len(want)-1)
						if err := s.DeleteRange(want[0].Index, want[n-1].Index); err != nil {
							t.Fatal(err)
						}
						want = want[n:]
					default:
						n := 1 + rnd.IntN(len(want)-1)
						if err := s.DeleteRange(want[n].Index, next-1); err != nil {
							t.Fatal(err)
						}
						want = want[:n:n]
						next = want[n-1].Index + 1
						_ = s.StageCommitIndex(0)
					}
				}
				fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rnd})
				_ = s.Close()
				s = mustOpen(t, fs, Options{})
				// A prefix may have come back; it is cut again.
				first, _ := s.FirstIndex()
				if first < floor || first > want[0].Index {
					t.Fatalf("log begins at %d, want %d to %d", first, floor, want[0].Index)
				}
				if first < want[0].Index {
					if err := s.DeleteRange(first, want[0].Index-1); err != nil {
						t.Fatal(err)
					}
				}
				check(t, s, want)
				if c := s.Committed(); c > next-1 {
					t.Fatalf("commit index %d is past the last entry %d", c, next-1)
				}
			}
			_ = s.Close()
		})
	}
}

func TestCorrupt(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem(), Options{})
	defer s.Close()
	mustStore(t, s, entry(1, 1, 10), entry(2, 1, 10), entry(3, 1, 10))
	row, _, err := s.db.Get(entryKey(2), nil)
	if err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	for name, change := range map[string]func([]byte) []byte{
		"bit":       func(b []byte) []byte { b[30] ^= 1; return b },
		"cut":       func(b []byte) []byte { return b[:len(b)-1] },
		"empty":     func([]byte) []byte { return nil },
		"misplaced": func([]byte) []byte { b, _, _ := s.db.Get(entryKey(3), nil); return b },
	} {
		b := s.db.NewBatch(0)
		if err := errors.Join(b.Set(entryKey(2), change(bytes.Clone(row))), b.Commit(true)); err != nil {
			t.Fatal(err)
		}
		if err := s.GetLog(2, &l); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := s.db.NewBatch(0)
	if err := errors.Join(b.Delete(entryKey(2)), b.Commit(true)); err != nil {
		t.Fatal(err)
	}
	if err := s.GetLog(2, &l); !errors.Is(err, ErrCorrupt) {
		t.Errorf("missing: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	l := entry(5, 2, 20)
	b := make([]byte, recordSize(l))
	putRecord(b, l, 77)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		total, err := getRecord(b, 5, &l)
		if err != nil {
			return
		}
		c := make([]byte, recordSize(&l))
		putRecord(c, &l, total)
		if !bytes.Equal(b, c) {
			t.Fatalf("%x decodes, but encodes as %x", b, c)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add((&Identity{Cluster: "c", Voter: "v", Server: "s", State: "state"}).encode())
	f.Add((&Snapshot{Index: 1, Term: 2, ConfIndex: 3, Conf: []byte("x")}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := decodeSnapshot(b); err == nil && !bytes.Equal(n.encode(), b) {
			t.Fatalf("snapshot %x", b)
		}
		if id, err := decodeIdentity(b); err == nil {
			if again, err := decodeIdentity(id.encode()); err != nil || *again != *id {
				t.Fatalf("identity %x", b)
			}
		}
	})
}
