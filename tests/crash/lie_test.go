package crash

import (
	"fmt"
	"testing"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/vfs"
)

// liar is a file system that says it synced what belongs to one part of the
// server, and did not: as a server would be that forgot to.
type liar struct {
	vfs.FS
	about string // a kind
}

func (l *liar) lies(path string) bool { return kindOf(path) == l.about }

func (l *liar) Unwrap() pvfs.FS { return l.FS }

func (l *liar) SyncDir(dir string) error {
	if l.lies(dir) {
		return nil
	}
	return l.FS.SyncDir(dir)
}

func (l *liar) OpenFile(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := l.FS.OpenFile(name, flag)
	if err == nil && l.lies(name) {
		f = lazyOwn{f}
	}
	return f, err
}

func (l *liar) file(f pvfs.File, err error, name string) (pvfs.File, error) {
	if err == nil && l.lies(name) {
		f = lazy{f}
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

type lazyOwn struct{ vfs.File }

func (lazyOwn) SyncData() error { return nil }
func (lazyOwn) Sync() error     { return nil }

type lazy struct{ pvfs.File }

func (lazy) SyncData() error            { return nil }
func (lazy) Sync() error                { return nil }
func (lazy) SyncTo(int64) (bool, error) { return true, nil }

// TestSees lets one part of a server forget its syncs after each other, and
// expects that the crashes show it.
func TestSees(t *testing.T) {
	t.Parallel()
	for _, sh := range both {
		for _, about := range []string{"log", "volume", "blob"} {
			t.Run(fmt.Sprintf("%s of %s", about, sh.scheme), func(t *testing.T) {
				t.Parallel()
				x := newRun(t, sh, 1)
				x.start()
				x.halt()
				x.lie = func(fs vfs.FS) vfs.FS { return &liar{fs, about} }
				x.launch()
				x.record(func() {
					x.put("a", packed)
					x.put("b", x.shape.file())
				})
				x.halt()
				rep := report{}
				x.verifyAll(newRoom(), 1000, &rep)
				if len(x.wrong) == 0 {
					t.Errorf("%d crashes of a server that does not sync its %s, and nothing was found", rep.crashes, about)
				} else {
					t.Logf("found: %.300s", x.wrong[0])
				}
			})
		}
	}
}
