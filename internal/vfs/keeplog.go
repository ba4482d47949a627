package vfs

import (
	"os"
	"sync/atomic"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// KeepLog returns fs for one Pebble database, whose write-ahead log then never
// fails before Pebble's eyes. Pebble panics over an error of its log, and where
// it changes from one file of the log to the next it does so with a lock that
// its deferred calls then release twice: that ends the process, and no recover
// helps.
//
// The first error of the log is given to fail instead, and only then does the
// call that met it return as if it had done its work. From then on nothing of
// the log is written or synced any more, so that its files hold a prefix of
// what was committed. Pebble goes on and knows nothing: whoever commits must
// ask after each commit, and before it is acknowledged, whether fail was
// called, and take the commit for failed if it was.
func KeepLog(fs pvfs.FS, fail func(error)) pvfs.FS { return &logKeeper{FS: fs, fail: fail} }

// logCategory is how Pebble marks the files of its log.
const logCategory = pvfs.DiskWriteCategory("pebble-wal")

type logKeeper struct {
	pvfs.FS
	fail func(error)
	lost atomic.Bool
	// dir is the log's directory. Pebble has several handles of one directory,
	// and only an error of the log's may be kept from it: tables that are not
	// durable must not enter the manifest. It opens the log's last before it
	// makes the first file of the log.
	dir, opened atomic.Pointer[keptDir]
}

// Unwrap implements vfs.FS.
func (k *logKeeper) Unwrap() pvfs.FS { return k.FS }

// try makes a call for the log, unless that is lost. fail comes before lost:
// who finds the log lost and pretends must not be ahead of the news.
func (k *logKeeper) try(call func() error) {
	if k.lost.Load() {
		return
	}
	if err := call(); err != nil {
		k.fail(err)
		k.lost.Store(true)
	}
}

func (k *logKeeper) make(create func() (pvfs.File, error)) (pvfs.File, error) {
	k.dir.CompareAndSwap(nil, k.opened.Load())
	f := &keptFile{File: noFile{}, k: k}
	k.try(func() error {
		made, err := create()
		if err == nil {
			f.File = made
		}
		return err
	})
	return f, nil
}

// Create implements vfs.FS.
func (k *logKeeper) Create(name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	if c != logCategory {
		return k.FS.Create(name, c)
	}
	return k.make(func() (pvfs.File, error) { return k.FS.Create(name, c) })
}

// ReuseForWrite implements vfs.FS.
func (k *logKeeper) ReuseForWrite(oldname, newname string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	if c != logCategory {
		return k.FS.ReuseForWrite(oldname, newname, c)
	}
	return k.make(func() (pvfs.File, error) { return k.FS.ReuseForWrite(oldname, newname, c) })
}

// OpenDir implements vfs.FS.
func (k *logKeeper) OpenDir(name string) (pvfs.File, error) {
	f, err := k.FS.OpenDir(name)
	if err != nil || k.dir.Load() != nil {
		return f, err
	}
	d := &keptDir{f, k}
	k.opened.Store(d)
	return d, nil
}

// keptDir is a directory, perhaps the log's.
type keptDir struct {
	pvfs.File
	k *logKeeper
}

func (d *keptDir) Sync() error {
	if d.k.dir.Load() != d {
		return d.File.Sync()
	}
	d.k.try(d.File.Sync)
	return nil
}

// keptFile is a file of the log. Pebble does not mind if Preallocate fails, so
// that is not kept from it.
type keptFile struct {
	pvfs.File
	k *logKeeper
}

func (f *keptFile) Write(b []byte) (int, error) {
	f.k.try(func() error { _, err := f.File.Write(b); return err })
	return len(b), nil
}

func (f *keptFile) Sync() error {
	f.k.try(f.File.Sync)
	return nil
}

func (f *keptFile) SyncData() error {
	f.k.try(f.File.SyncData)
	return nil
}

func (f *keptFile) SyncTo(n int64) (full bool, err error) {
	f.k.try(func() (err error) { full, err = f.File.SyncTo(n); return err })
	return full, nil
}

func (f *keptFile) Stat() (info pvfs.FileInfo, err error) {
	info = noInfo{}
	f.k.try(func() error {
		i, err := f.File.Stat()
		if err == nil {
			info = i
		}
		return err
	})
	return info, nil
}

func (f *keptFile) Close() error {
	err := f.File.Close() // also of a log that is lost
	f.k.try(func() error { return err })
	return nil
}

// noFile stands for a file that could not be made.
type noFile struct{}

func (noFile) Read([]byte) (int, error)                  { return 0, os.ErrNotExist }
func (noFile) ReadAt([]byte, int64) (int, error)         { return 0, os.ErrNotExist }
func (noFile) Write(b []byte) (int, error)               { return len(b), nil }
func (noFile) WriteAt(b []byte, _ int64) (int, error)    { return len(b), nil }
func (noFile) Preallocate(int64, int64) error            { return nil }
func (noFile) Stat() (pvfs.FileInfo, error)              { return noInfo{}, nil }
func (noFile) Sync() error                               { return nil }
func (noFile) SyncTo(int64) (bool, error)                { return false, nil }
func (noFile) SyncData() error                           { return nil }
func (noFile) Prefetch(offset int64, length int64) error { return nil }
func (noFile) Fd() uintptr                               { return pvfs.InvalidFd }
func (noFile) Close() error                              { return nil }

// noInfo describes it.
type noInfo struct{}

func (noInfo) Name() string            { return "" }
func (noInfo) Size() int64             { return 0 }
func (noInfo) Mode() os.FileMode       { return 0 }
func (noInfo) ModTime() time.Time      { return time.Time{} }
func (noInfo) IsDir() bool             { return false }
func (noInfo) Sys() any                { return nil }
func (noInfo) DeviceID() pvfs.DeviceID { return pvfs.DeviceID{} }
