package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// syncPoints takes a copy of a disk, as a power cut would leave it, just
// before some of its syncs and renames.
type syncPoints struct {
	mu     sync.Mutex
	mem    *vfs.MemFS
	rnd    *rand.Rand
	every  int // one of so many
	seen   int
	note   func() any
	points []syncPoint
}

type syncPoint struct {
	op   string
	disk *vfs.MemFS
	note any
}

func (p *syncPoints) fs() vfs.FS {
	return errorfs.Wrap(p.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpRename, errorfs.OpCreate, errorfs.OpRemoveAll:
		default:
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.seen++; p.seen%p.every == 0 && p.note != nil {
			note := p.note() // before the copy: all of it must be in it
			clone := p.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * p.rnd.IntN(3), RNG: p.rnd})
			p.points = append(p.points, syncPoint{fmt.Sprintf("%d: %v %s", p.seen, op.Kind, op.Path), clone, note})
		}
		return nil
	}))
}

func newSyncPoints(t *testing.T, every int) *syncPoints {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &syncPoints{mem: vfs.NewCrashableMem(), rnd: rand.New(rand.NewPCG(seed, 1)), every: every}
}

// A crash at any sync of a bootstrap leaves what the next bootstrap finishes.
func TestBootstrapCrash(t *testing.T) {
	t.Parallel()
	p := newSyncPoints(t, 3)
	p.note = func() any { return nil }
	cfg := group(t, 3, oneFS(p.fs()))
	cfg.Bootstrap, cfg.BallastBytes = true, -1
	mustClose(t, mustOpen(t, cfg))
	for _, at := range p.points {
		for i := range cfg.Voters {
			cfg.Voters[i].FS = at.disk
		}
		cfg.Bootstrap = true
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		l, err := OpenLocal(ctx, cfg)
		if err != nil { // it had been finished
			t.Logf("crash at %s: bootstrap again: %v", at.op, err)
			cfg.Bootstrap = false
			l, err = OpenLocal(ctx, cfg)
		}
		cancel()
		if err != nil {
			t.Fatalf("crash at %s: %v", at.op, err)
		}
		if st := l.Status(); len(st.Empty) != 0 || !st.Quorum {
			t.Fatalf("crash at %s: %+v", at.op, st)
		}
		fill(t, l, "a", 3)
		checkEqual(t, l)
		mustClose(t, l)
	}
	t.Logf("%d crashes", len(p.points))
}

// A crash at any sync under load, with snapshots and truncations at work,
// loses nothing that was acknowledged.
func TestSyncPointCrash(t *testing.T) {
	t.Parallel()
	p := newSyncPoints(t, 7)
	cfg := group(t, 1, oneFS(p.fs()))
	cfg.Bootstrap, cfg.SnapshotBytes = true, 16<<10
	l := mustOpen(t, cfg)
	d := &load{stop: make(chan struct{})}
	p.mu.Lock()
	p.note = func() any {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.acked)
	}
	p.mu.Unlock()
	for i := range 400 {
		key := fmt.Sprintf("%-16d", i)
		mustPropose(t, l, key+strings.Repeat("x", 100))
		d.mu.Lock()
		d.acked = append(d.acked, key)
		d.mu.Unlock()
	}
	snapshots := l.Metrics().Snapshots
	mustClose(t, l)
	cfg.Bootstrap = false
	for _, at := range p.points {
		cfg.Voters[0].FS = at.disk
		l := mustOpen(t, cfg)
		checkAcked(t, l, d.acked[:at.note.(int)])
		mustClose(t, l)
	}
	t.Logf("%d crashes, %d snapshots", len(p.points), snapshots)
}

// A crash at any sync of seeding leaves a group that serves, and seeding can
// be done again.
func TestReplaceCrash(t *testing.T) {
	t.Parallel()
	p := newSyncPoints(t, 3)
	cfg := group(t, 3, oneFS(p.fs()))
	cfg.Bootstrap, cfg.BallastBytes = true, -1
	l := mustOpen(t, cfg)
	fill(t, l, "a", 30)
	mustClose(t, l)
	if err := p.mem.RemoveAll(cfg.Voters[2].Dir); err != nil {
		t.Fatal(err)
	}
	cfg.Bootstrap = false
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l = mustOpen(t, cfg)
	p.mu.Lock()
	p.note = func() any { return nil }
	p.mu.Unlock()
	if err := l.ReplaceVoter(ctx, "v2", cfg.Voters[2]); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.note = nil
	p.mu.Unlock()
	mustClose(t, l)
	refused := 0
	for _, at := range p.points {
		for i := range cfg.Voters {
			cfg.Voters[i].FS = at.disk
		}
		l := mustOpen(t, cfg)
		checkFilled(t, l, "a", 30)
		st := l.Status()
		switch {
		case st.Voters[2].Err == "":
		case len(st.Empty) == 1:
			if err := l.ReplaceVoter(ctx, "v2", cfg.Voters[2]); err != nil {
				t.Fatalf("crash at %s: %v", at.op, err)
			}
		default: // between its claim of a vote and the vote
			refused++
		}
		checkEqual(t, l)
		mustClose(t, l)
	}
	t.Logf("%d crashes, %d need a person", len(p.points), refused)
}

// A follower that was away for longer than the log is kept takes the state
// over in band.
func TestInBandSnapshot(t *testing.T) {
	t.Parallel()
	disks := []*vfs.MemFS{vfs.NewCrashableMem(), vfs.NewCrashableMem(), vfs.NewCrashableMem()}
	cfg := group(t, 3, func(i int) vfs.FS { return disks[i] })
	cfg.Bootstrap, cfg.SnapshotBytes, cfg.KeepBytes = true, 16<<10, 1
	cfg.SlowWrite, cfg.DeadWrite = time.Hour, time.Hour // the test suspends
	l := mustOpen(t, cfg)
	fill(t, l, "a", 20)
	away := l.voters()[0]
	if away == l.lead.Load() {
		away = l.voters()[1]
	}
	away.suspended.Store(true)
	l.disconnect(away)
	away.interrupt()
	pad := strings.Repeat("x", 1000)
	// Until none of the others can lead away on with its log alone, whichever
	// leads then and however late it took its snapshots.
	cut := func() bool {
		for _, v := range l.voters() {
			if first, err := v.store.FirstIndex(); v != away && (err != nil || first <= away.fsm.applied.Load()+1) {
				return false
			}
		}
		return true
	}
	for i := 0; i < 100 || !cut(); i++ {
		mustPropose(t, l, fmt.Sprintf("%-16d%s", i, pad))
	}
	away.suspended.Store(false)
	l.connect(away)
	fill(t, l, "b", 20)
	checkEqual(t, l)
	if away.id.State == "state" {
		t.Fatal("the state was not taken over")
	}
	state := away.path("state")
	eventually(t, "the old state is removed", func() bool { _, err := away.FS.Stat(state); return err != nil })
	// It is durable as it stands.
	for i := range disks {
		cfg.Voters[i].FS = disks[i].CrashClone(vfs.CrashCloneCfg{})
	}
	mustClose(t, l)
	cfg.Bootstrap = false
	l = mustOpen(t, cfg)
	defer mustClose(t, l)
	if st := l.Status(); st.Voters[0].Err != "" || st.Voters[1].Err != "" {
		t.Fatalf("status: %+v", st)
	}
	checkFilled(t, l, "b", 20)
	checkEqual(t, l)
}

// A state store that was rolled back behind its promise is refused.
func TestRolledBackState(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	cfg := group(t, 1, oneFS(fs))
	cfg.Bootstrap = true
	l := mustOpen(t, cfg)
	fill(t, l, "a", 3)
	if err := l.voters()[0].fsm.state.Load().Checkpoint("/backup"); err != nil {
		t.Fatal(err)
	}
	fill(t, l, "b", 3)
	v := l.voters()[0]
	if err := v.wait(v.raft.Snapshot()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	dir := cfg.Voters[0].Dir + "/state"
	if err := errors.Join(fs.RemoveAll(dir), fs.Rename("/backup", dir)); err != nil {
		t.Fatal(err)
	}
	cfg.Bootstrap = false
	if l, err := OpenLocal(context.Background(), cfg); err == nil {
		_ = l.Close()
		t.Fatal("a state that was rolled back was opened")
	}
}

func FuzzStream(f *testing.F) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/src", 0o755); err != nil {
		f.Fatal(err)
	}
	for i, size := range []int{0, 10, 3000} {
		w, err := fs.Create(fmt.Sprintf("/src/%d", i), vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = w.Write(bytes.Repeat([]byte{byte(i)}, size))
			err = errors.Join(err, w.Close())
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	s, err := newStream(fs, "/src")
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := b.ReadFrom(s); err != nil || n != s.size {
		f.Fatal(n, s.size, err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		out := vfs.NewMem()
		if err := receive(bytes.NewReader(in), out, "/dst"); err != nil {
			return
		}
		s, err := newStream(out, "/dst")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var again bytes.Buffer
		if _, err := again.ReadFrom(s); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add(appendCommand(appendCommand([]byte{entryVersion}, []byte("one")), nil))
	f.Add([]byte{entryVersion, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		cmds, err := splitEntry(b, nil)
		if err != nil {
			return
		}
		again := []byte{entryVersion}
		for _, c := range cmds {
			again = appendCommand(again, c)
		}
		if got, err := splitEntry(again, nil); err != nil || len(got) != len(cmds) {
			t.Fatalf("%x: %d commands, then %d (%v)", b, len(cmds), len(got), err)
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add((&position{1, 2, 3, []byte("conf")}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePosition(b); err == nil && !bytes.Equal(p.append(nil), b) {
			t.Fatalf("%x", b)
		}
	})
}
