package crash

import (
	"fmt"
	"sync/atomic"
	"testing"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/cmd/allinone"
	"holdfast/internal/vfs"
)

// liar is a file system that says it synced what belongs to one part of the
// server, and did not: as a server would be that forgot to.
type liar struct {
	vfs.FS
	about string // a kind
	on    *atomic.Bool
}

func (l *liar) lies(path string) bool { return kindOf(path) == l.about }

func (l *liar) Unwrap() pvfs.FS { return l.FS }

func (l *liar) SyncDir(dir string) error {
	if l.lies(dir) && l.on.Load() {
		return nil
	}
	return l.FS.SyncDir(dir)
}

func (l *liar) OpenFile(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := l.FS.OpenFile(name, flag)
	if err == nil && l.lies(name) {
		f = lazyOwn{f, l.on}
	}
	return f, err
}

func (l *liar) file(f pvfs.File, err error, name string) (pvfs.File, error) {
	if err == nil && l.lies(name) {
		f = lazy{f, l.on}
	}
	return f, err
}

func (l *liar) Create(name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	f, err := l.FS.Create(name, c)
	return l.file(f, err, name)
}

func (l *liar) OpenReadWrite(name string, c pvfs.DiskWriteCategory, o ...pvfs.OpenOption) (pvfs.File, error) {
	f, err := l.FS.OpenReadWrite(name, c, o...)
	return l.file(f, err, name)
}

func (l *liar) ReuseForWrite(old, name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	f, err := l.FS.ReuseForWrite(old, name, c)
	return l.file(f, err, name)
}

type lazyOwn struct {
	vfs.File
	on *atomic.Bool
}

func (f lazyOwn) SyncData() error {
	if f.on.Load() {
		return nil
	}
	return f.File.SyncData()
}

func (f lazyOwn) Sync() error {
	if f.on.Load() {
		return nil
	}
	return f.File.Sync()
}

type lazy struct {
	pvfs.File
	on *atomic.Bool
}

func (f lazy) SyncData() error {
	if f.on.Load() {
		return nil
	}
	return f.File.SyncData()
}

func (f lazy) Sync() error {
	if f.on.Load() {
		return nil
	}
	return f.File.Sync()
}

func (f lazy) SyncTo(n int64) (bool, error) {
	if f.on.Load() {
		return true, nil
	}
	return f.File.SyncTo(n)
}

// TestSees has a server that forgets one kind of sync, one kind after the
// other, and expects that a crash shows it. The node's index is left out: what
// it forgets a start finds again in the volumes, as a rule.
func TestSees(t *testing.T) {
	t.Parallel()
	writes := func(x *run) {
		x.put("a", packed)
		x.put("b", x.shape.file())
	}
	for _, lie := range []struct {
		about string
		tell  func(x *run)
		tune  func(*allinone.Tune)
	}{
		{"log", writes, nil},
		{"volume", writes, nil},
		{"blob", writes, nil},
		{"state", snapshots, func(t *allinone.Tune) { t.SnapshotBytes, t.KeepBytes = 16<<10, 8<<10 }},
	} {
		for _, sh := range both {
			if testing.Short() && sh != single {
				continue
			}
			t.Run(fmt.Sprintf("%s of %s", lie.about, sh.scheme), func(t *testing.T) {
				t.Parallel()
				x := newRun(t, sh, 1)
				if lie.tune != nil {
					lie.tune(&x.tune)
				}
				on := new(atomic.Bool)
				x.lie = func(fs vfs.FS) vfs.FS { return &liar{fs, lie.about, on} }
				x.start()
				on.Store(true)
				x.record(func() { lie.tell(x) })
				x.halt()
				rep := report{}
				x.verifyAll(newRoom(), 90, &rep)
				if len(x.wrong) == 0 {
					t.Errorf("%d crashes of a server that does not sync its %s, and nothing was found", rep.crashes, lie.about)
				} else {
					t.Logf("found: %.300s", x.wrong[0])
				}
			})
		}
	}
}
