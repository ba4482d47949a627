package vfs

import (
	"errors"
	"io"
	"os"
	"sync"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// Op is a kind of file system call, for hooks.
type Op uint8

// The kinds. Close and Stat are hooked for Pebble's files, not for our own.
const (
	OpCreate Op = 1 + iota // a file or directory that is new, or may be
	OpOpen                 // of what exists
	OpRead
	OpWrite
	OpSync    // Sync, SyncData, SyncTo
	OpSyncDir // of a directory
	OpRename  // and link
	OpRemove
	OpTruncate
	OpPreallocate
	OpPunch
	OpLock
	OpUsage
	OpStat
	OpList
	OpClose // an error is returned after the file was closed
)

// String names the kind.
func (o Op) String() string {
	return [...]string{"?", "create", "open", "read", "write", "sync", "syncdir", "rename", "remove",
		"truncate", "preallocate", "punch", "lock", "usage", "stat", "list", "close"}[o]
}

// IsSync reports whether the call makes something durable: a sync point of a
// crash test.
func (o Op) IsSync() bool { return o == OpSync || o == OpSyncDir }

// Hook is called before each call on the file system, with the path as the
// caller gave it; a rename is told by its new name. An error is returned in
// place of the call. A hook is called from many goroutines at once and may
// itself take a CrashClone.
type Hook func(op Op, path string) error

// WithHook returns fs with every call shown to hook first.
func WithHook(fs FS, hook Hook) FS { return &hookFS{fs, hook} }

// FailNth returns a hook that fails the n-th call (1 is the first) for which
// match holds, and every later one if always is set, with err.
func FailNth(n int, always bool, err error, match func(op Op, path string) bool) Hook {
	var mu sync.Mutex
	seen := 0
	return func(op Op, path string) error {
		if !match(op, path) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == n || always && seen > n {
			return &os.PathError{Op: op.String(), Path: path, Err: err}
		}
		return nil
	}
}

type hookFS struct {
	FS
	hook Hook
}

func (h *hookFS) Unwrap() pvfs.FS { return h.FS }

func (h *hookFS) file(f pvfs.File, err error, name string, dir bool) (pvfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &hookFile{f, h.hook, name, dir}, nil
}

func (h *hookFS) OpenFile(name string, flag Flag) (File, error) {
	op := OpOpen
	if flag == CreateNew {
		op = OpCreate
	}
	if err := h.hook(op, name); err != nil {
		return nil, err
	}
	f, err := h.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &hookOwn{f, h.hook, name}, nil
}

func (h *hookFS) SyncDir(dir string) error {
	if err := h.hook(OpSyncDir, dir); err != nil {
		return err
	}
	return h.FS.SyncDir(dir)
}

func (h *hookFS) Create(name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	if err := h.hook(OpCreate, name); err != nil {
		return nil, err
	}
	f, err := h.FS.Create(name, c)
	return h.file(f, err, name, false)
}

func (h *hookFS) Open(name string, opts ...pvfs.OpenOption) (pvfs.File, error) {
	if err := h.hook(OpOpen, name); err != nil {
		return nil, err
	}
	f, err := h.FS.Open(name, opts...)
	return h.file(f, err, name, false)
}

func (h *hookFS) OpenReadWrite(name string, c pvfs.DiskWriteCategory, opts ...pvfs.OpenOption) (pvfs.File, error) {
	if err := h.hook(OpCreate, name); err != nil {
		return nil, err
	}
	f, err := h.FS.OpenReadWrite(name, c, opts...)
	return h.file(f, err, name, false)
}

func (h *hookFS) OpenDir(name string) (pvfs.File, error) {
	if err := h.hook(OpOpen, name); err != nil {
		return nil, err
	}
	f, err := h.FS.OpenDir(name)
	return h.file(f, err, name, true)
}

func (h *hookFS) ReuseForWrite(oldname, newname string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	if err := h.hook(OpRename, newname); err != nil {
		return nil, err
	}
	f, err := h.FS.ReuseForWrite(oldname, newname, c)
	return h.file(f, err, newname, false)
}

func (h *hookFS) Link(oldname, newname string) error {
	if err := h.hook(OpRename, newname); err != nil {
		return err
	}
	return h.FS.Link(oldname, newname)
}

func (h *hookFS) Rename(oldname, newname string) error {
	if err := h.hook(OpRename, newname); err != nil {
		return err
	}
	return h.FS.Rename(oldname, newname)
}

func (h *hookFS) Remove(name string) error {
	if err := h.hook(OpRemove, name); err != nil {
		return err
	}
	return h.FS.Remove(name)
}

func (h *hookFS) RemoveAll(name string) error {
	if err := h.hook(OpRemove, name); err != nil {
		return err
	}
	return h.FS.RemoveAll(name)
}

func (h *hookFS) MkdirAll(name string, perm os.FileMode) error {
	if err := h.hook(OpCreate, name); err != nil {
		return err
	}
	return h.FS.MkdirAll(name, perm)
}

func (h *hookFS) Lock(name string) (io.Closer, error) {
	if err := h.hook(OpLock, name); err != nil {
		return nil, err
	}
	return h.FS.Lock(name)
}

func (h *hookFS) List(name string) ([]string, error) {
	if err := h.hook(OpList, name); err != nil {
		return nil, err
	}
	return h.FS.List(name)
}

func (h *hookFS) Stat(name string) (pvfs.FileInfo, error) {
	if err := h.hook(OpStat, name); err != nil {
		return nil, err
	}
	return h.FS.Stat(name)
}

func (h *hookFS) GetDiskUsage(name string) (pvfs.DiskUsage, error) {
	if err := h.hook(OpUsage, name); err != nil {
		return pvfs.DiskUsage{}, err
	}
	return h.FS.GetDiskUsage(name)
}

type hookFile struct {
	pvfs.File
	hook Hook
	name string
	dir  bool
}

func (f *hookFile) Read(b []byte) (int, error) {
	if err := f.hook(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

func (f *hookFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.hook(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *hookFile) Write(b []byte) (int, error) {
	if err := f.hook(OpWrite, f.name); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f *hookFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.hook(OpWrite, f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func (f *hookFile) sync() error {
	if f.dir {
		return f.hook(OpSyncDir, f.name)
	}
	return f.hook(OpSync, f.name)
}

func (f *hookFile) Sync() error {
	if err := f.sync(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *hookFile) SyncData() error {
	if err := f.sync(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *hookFile) SyncTo(n int64) (bool, error) {
	if err := f.sync(); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}

func (f *hookFile) Stat() (pvfs.FileInfo, error) {
	if err := f.hook(OpStat, f.name); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *hookFile) Close() error {
	return errors.Join(f.File.Close(), f.hook(OpClose, f.name))
}

func (f *hookFile) Preallocate(off, n int64) error {
	if err := f.hook(OpPreallocate, f.name); err != nil {
		return err
	}
	return f.File.Preallocate(off, n)
}

type hookOwn struct {
	File
	hook Hook
	name string
}

func (f *hookOwn) ReadAt(b []byte, off int64) (int, error) {
	if err := f.hook(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *hookOwn) SendTo(w io.Writer, off, n int64) (int64, error) {
	if err := f.hook(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.SendTo(w, off, n)
}

func (f *hookOwn) WriteAt(b []byte, off int64) (int, error) {
	if err := f.hook(OpWrite, f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func (f *hookOwn) WriteVec(bufs [][]byte, off int64) (int64, error) {
	if err := f.hook(OpWrite, f.name); err != nil {
		return 0, err
	}
	return f.File.WriteVec(bufs, off)
}

func (f *hookOwn) Truncate(size int64) error {
	if err := f.hook(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *hookOwn) Preallocate(off, n int64) error {
	if err := f.hook(OpPreallocate, f.name); err != nil {
		return err
	}
	return f.File.Preallocate(off, n)
}

func (f *hookOwn) Punch(off, n int64) error {
	if err := f.hook(OpPunch, f.name); err != nil {
		return err
	}
	return f.File.Punch(off, n)
}

func (f *hookOwn) SyncData() error {
	if err := f.hook(OpSync, f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *hookOwn) Sync() error {
	if err := f.hook(OpSync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}
