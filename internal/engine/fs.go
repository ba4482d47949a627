package engine

import (
	"runtime"
	"strings"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// shield is the file system of a database. It keeps from Pebble the errors
// over which one of its workers would panic, where nobody can recover that:
//
//   - An error of the manifest in a worker. Over most the worker calls Fatalf,
//     and if that ends its goroutine the manifest's lock is released over a
//     half-made version, at which the next worker panics; over a directory
//     that cannot be synced it panics itself.
//   - An error of Open once it has flushed what the log held. Open takes the
//     readers of tables away, also from workers that began beside it.
//
// Whoever meets such an error is held in that call for good, and the database
// fails. A worker has the manifest's lock there and no other, so the state
// stays what it was, for its readers. Other errors are returned: whatever
// Pebble makes of them, Do returns.
type shield struct {
	pvfs.FS
	g *Guard
}

// hold returns err if Pebble can live with it; state tells an error of the
// manifest or a directory.
func (s shield) hold(err error, state bool) error {
	if err == nil {
		return nil
	}
	beside, _ := s.g.work.beside()
	if called := throughDo(); called && !beside || !called && !state {
		return err
	}
	s.g.held.Store(true)
	_ = s.g.Fail(err)
	select {}
}

// throughDo reports whether this goroutine was started by Do.
func throughDo() bool {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "/engine.(*Guard).call") {
			return true
		}
		if !more {
			return false
		}
	}
}

// Create implements vfs.FS. Pebble makes a table without a lock.
func (s shield) Create(name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	if c == "pebble-memtable-flush" || c == "pebble-compaction" {
		s.g.work.pace()
	}
	f, err := s.FS.Create(name, c)
	state := c == "pebble-manifest" || strings.HasPrefix(s.PathBase(name), "marker.")
	if _, opening := s.g.work.beside(); !state && !opening {
		return f, err
	}
	if err := s.hold(err, state); err != nil {
		return nil, err
	}
	return shieldedFile{f, s, state}, nil
}

// OpenDir implements vfs.FS.
func (s shield) OpenDir(name string) (pvfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return shieldedFile{f, s, true}, nil
}

// Rename implements vfs.FS.
func (s shield) Rename(oldname, newname string) error {
	return s.hold(s.FS.Rename(oldname, newname), false)
}

// List implements vfs.FS.
func (s shield) List(dir string) ([]string, error) {
	names, err := s.FS.List(dir)
	return names, s.hold(err, false)
}

// Unwrap implements vfs.FS.
func (s shield) Unwrap() pvfs.FS { return s.FS }

// shieldedFile is a manifest, a marker of the one that counts or a directory,
// or else a file that was made while the database was opened.
type shieldedFile struct {
	pvfs.File
	s     shield
	state bool
}

func (f shieldedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.s.hold(err, f.state)
}

func (f shieldedFile) Sync() error     { return f.s.hold(f.File.Sync(), f.state) }
func (f shieldedFile) SyncData() error { return f.s.hold(f.File.SyncData(), f.state) }
func (f shieldedFile) Close() error    { return f.s.hold(f.File.Close(), f.state) }
