package consensus

import (
	"errors"
	"os"
	"path"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestLogRotationFails lets a voter find no descriptor, or no directory, as it
// begins the next file of its log: that voter stops and the others go on.
func TestLogRotationFails(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"descriptors": syscall.EMFILE, "directory": os.ErrNotExist} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var broken [3]atomic.Bool
			cfg := group(t, 3, func(i int) vfs.FS {
				return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if broken[i].Load() && path.Ext(op.Path) == ".log" && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) {
						return &os.PathError{Op: "open", Path: op.Path, Err: cause}
					}
					return nil
				}))
			})
			cfg.Bootstrap, cfg.SnapshotBytes = true, 64<<10
			type stop struct {
				id  string
				err error
			}
			stopped := make(chan stop, 3)
			cfg.OnStop = func(id string, err error, _ bool) { stopped <- stop{id, err} }
			l := mustOpen(t, cfg)
			defer mustClose(t, l)
			d := startLoad(t, l, "a", 4, 4000)
			eventually(t, "load", func() bool { return d.count() >= 100 })
			broken[1].Store(true)
			if s := <-stopped; s.id != cfg.Voters[1].ID || !errors.Is(s.err, cause) {
				t.Errorf("voter %s stopped: %v", s.id, s.err)
			}
			at := d.count()
			eventually(t, "load goes on", func() bool { return d.count() > at+100 })
			checkAcked(t, l, d.cut())
		})
	}
}

// TestNoDescriptors lets the state open no table for a while: entries are
// applied once it can, and no voter stops.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	var left atomic.Int64
	cfg := group(t, 3, func(i int) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpOpen && path.Ext(op.Path) == ".sst" && left.Add(-1) >= 0 {
				return &os.PathError{Op: "open", Path: op.Path, Err: syscall.EMFILE}
			}
			return nil
		}))
	})
	cfg.Bootstrap, cfg.SnapshotBytes = true, 64<<10
	cfg.OnStop = func(id string, err error, _ bool) { t.Errorf("voter %s stopped: %v", id, err) }
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	d := startLoad(t, l, "a", 4, 1000)
	for range 5 {
		left.Store(3)
		eventually(t, "tables are opened", func() bool { return left.Load() <= 0 })
		at := d.count()
		eventually(t, "load goes on", func() bool { return d.count() > at+50 })
	}
	checkAcked(t, l, d.cut())
	checkEqual(t, l)
}
