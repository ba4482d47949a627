// Package vfs is the file system as a dependency: Pebble's vfs.FS, so that
// the same value opens Pebble databases, and beside it what that lacks for
// files of our own (truncate, hole punch, preallocation that frees, vectored
// writes, owner-only creation, allocated blocks, sendfile).
//
// OS is the real file system, Mem one in memory that simulates power loss,
// punching, allocation and a full disk. WithHook wraps either, to fail the
// n-th call of a kind or to stop at each sync point.
//
// Pebble's own MemFS is not used: it has no Truncate or Punch, and its
// CrashClone brings back each removed name and copies whole files at every
// sync. Mem keeps its contract (what was synced survives, each unsynced block
// and name may) and adds those.
package vfs

import (
	"errors"
	"io"
	"os"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// ErrUnsupported is returned by Punch and Preallocate where the file system
// cannot. Nothing has changed then; the caller goes on without.
var ErrUnsupported = errors.New("not supported by this file system")

// Flag says how OpenFile opens.
type Flag uint8

// The ways to open a file.
const (
	ReadOnly  Flag = iota
	ReadWrite      // of a file that exists
	CreateNew      // read and write; an error that is os.ErrExist if it exists; mode 0600
)

// FS is a namespace of files. Implementations are safe for concurrent use.
// The embedded methods are Pebble's; OpenFile is for all other files.
type FS interface {
	pvfs.FS
	// OpenFile opens a file of our own. A new name survives power loss only
	// after SyncDir of its directory.
	OpenFile(name string, flag Flag) (File, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
}

// File is an open file. Reads and writes at different offsets may run at the
// same time. Nothing is durable before SyncData or Sync.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WriteVec writes bufs one after the other from off on and returns the
	// bytes written. It keeps and changes none of them.
	WriteVec(bufs [][]byte, off int64) (int64, error)
	// Truncate sets the size; what is preallocated behind it is freed.
	Truncate(size int64) error
	// Preallocate takes disk blocks for a range without changing the size.
	// ErrUnsupported where that cannot be done.
	Preallocate(off, n int64) error
	// Punch makes a range read as zeros and frees the whole blocks within.
	// The size stays. ErrUnsupported where that cannot be done.
	Punch(off, n int64) error
	// Flush starts writing a range back and does not wait: a hint.
	Flush(off, n int64)
	// SyncData makes bytes and size durable.
	SyncData() error
	// Sync makes bytes, size and all other metadata durable.
	Sync() error
	// Size returns the length in bytes.
	Size() (int64, error)
	// Allocated returns the bytes of disk blocks that the file takes.
	Allocated() (int64, error)
	// SendTo writes n bytes from off to w, by sendfile where w can take it,
	// and returns how many were written. It disturbs no other use of the
	// file.
	SendTo(w io.Writer, off, n int64) (int64, error)
}

// ReadFile reads a whole small file, refusing one of more than limit bytes.
func ReadFile(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.OpenFile(name, ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.New(name + ": file is too large")
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// WriteFile replaces a small file so that after a crash either the old or the
// new bytes are there, never a mixture. It is durable and owner-only.
func WriteFile(fs FS, name string, b []byte) error {
	tmp := name + ".tmp"
	if err := fs.Remove(tmp); err != nil && !isNotExist(err) {
		return err
	}
	f, err := fs.OpenFile(tmp, CreateNew)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fs.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, fs.Remove(tmp))
	}
	return fs.SyncDir(fs.PathDir(name))
}

// MakeDir makes a directory and those above it that are missing, owner-only,
// and returns once all their names are durable. A directory above that this
// process may not open is left to whoever owns it.
func MakeDir(fs FS, dir string) error {
	var fresh []string // that are missing, the lowest first
	for d := dir; ; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil || !isNotExist(err) {
			break
		}
		fresh = append(fresh, d)
		if fs.PathDir(d) == d {
			break
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i := len(fresh) - 1; i >= 0; i-- {
		if err := fs.SyncDir(fs.PathDir(fresh[i])); err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}

// sendBuffered is SendTo without the kernel's help.
func sendBuffered(r io.ReaderAt, w io.Writer, off, n int64) (int64, error) {
	m, err := io.Copy(w, io.NewSectionReader(r, off, n))
	if err == nil && m < n {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}
