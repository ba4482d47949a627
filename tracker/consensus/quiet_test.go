package consensus

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/clock"
)

// A log that was filled is saved and given back once writing has come to
// rest, also what was written before a restart.
func TestQuietLogIsCut(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	cfg := group(t, 1, oneFS(fs))
	clk := clock.NewManual(time.Unix(1e9, 0))
	cfg.Bootstrap, cfg.Clock = true, clk
	cfg.SlowWrite, cfg.DeadWrite = time.Hour, 2*time.Hour // the clock jumps
	l := mustOpen(t, cfg)
	pad := strings.Repeat("x", 64<<10)
	fill := func() {
		for range 2 * quietBytes / len(pad) {
			mustPropose(t, l, "the one key of it"+pad)
		}
	}
	quiet := func() {
		t.Helper()
		eventually(t, "the log is cut", func() bool {
			clk.Advance(quietEvery)
			m := l.Metrics()
			return m.Snapshots > 0 && m.HeldBytes < quietBytes/4
		})
	}
	fill()
	if m := l.Metrics(); m.Snapshots != 0 || m.HeldBytes < 2*quietBytes {
		t.Fatalf("before it is quiet: %+v", m)
	}
	quiet()
	fill()
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, l)
	cfg.Bootstrap, cfg.Voters[0].FS = false, crashed
	l = mustOpen(t, cfg)
	quiet()
	if got := lookup(t, l, "the one key of i"); !strings.HasPrefix(got, "the one key") {
		t.Errorf("%.40q", got)
	}
	mustClose(t, l)
}

// slowSync is a disk whose syncs take a while.
type slowSync struct {
	vfs.FS
	take time.Duration
}

type slowFile struct {
	vfs.File
	take time.Duration
}

func (f slowFile) Sync() error     { time.Sleep(f.take); return f.File.Sync() }
func (f slowFile) SyncData() error { time.Sleep(f.take); return f.File.SyncData() }

func (s slowSync) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return slowFile{f, s.take}, err
}

func (s slowSync) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name, c)
	return slowFile{f, s.take}, err
}

// Disks that are slow when a machine has just started do not keep a group
// from opening, although a call would not wait for them.
func TestOpensOnSlowDisks(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	cfg := group(t, 3, oneFS(fs))
	cfg.Bootstrap = true
	mustClose(t, mustOpen(t, cfg))
	cfg.Bootstrap, cfg.patience = false, time.Millisecond
	for i := range cfg.Voters {
		cfg.Voters[i].FS = slowSync{fs, 100 * time.Millisecond}
	}
	mustClose(t, mustOpen(t, cfg))
}
