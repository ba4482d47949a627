package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }

// OS returns the machine's file system.
func OS() FS { return osFS{pvfs.Default} }

type osFS struct{ pvfs.FS }

// Unwrap implements pvfs.FS.
func (o osFS) Unwrap() pvfs.FS { return o.FS }

func (osFS) OpenFile(name string, flag Flag) (File, error) {
	mode := os.O_RDWR
	switch flag {
	case ReadOnly:
		mode = os.O_RDONLY
	case CreateNew:
		mode |= os.O_CREATE | os.O_EXCL
	}
	f, err := patiently(func() (*os.File, error) { return os.OpenFile(name, mode, 0o600) })
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (o osFS) Create(name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	return patiently(func() (pvfs.File, error) { return o.FS.Create(name, c) })
}

func (o osFS) Open(name string, opts ...pvfs.OpenOption) (pvfs.File, error) {
	return patiently(func() (pvfs.File, error) { return o.FS.Open(name, opts...) })
}

func (o osFS) OpenReadWrite(name string, c pvfs.DiskWriteCategory, opts ...pvfs.OpenOption) (pvfs.File, error) {
	return patiently(func() (pvfs.File, error) { return o.FS.OpenReadWrite(name, c, opts...) })
}

func (o osFS) OpenDir(name string) (pvfs.File, error) {
	return patiently(func() (pvfs.File, error) { return o.FS.OpenDir(name) })
}

func (o osFS) List(dir string) ([]string, error) {
	return patiently(func() ([]string, error) { return o.FS.List(dir) })
}

// ReuseForWrite implements pvfs.FS: once renamed, the file has the new name,
// also for the next attempt to open it.
func (o osFS) ReuseForWrite(oldname, newname string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	if err := o.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return o.OpenReadWrite(newname, c)
}

func (osFS) SyncDir(dir string) error {
	d, err := patiently(func() (*os.File, error) { return os.Open(dir) })
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// Lock takes an exclusive lock on a file that it creates where it must, and
// holds it until the Closer is closed or the process ends. The lock belongs
// to the open file, not to the process: a second Lock of the same file is
// refused within the process too, under whatever path, and closing some other
// descriptor of the file does not lose it, as fcntl's locks do.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := patiently(func() (*os.File, error) { return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) })
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

type osFile struct {
	*os.File
}

func (f *osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f *osFile) SendTo(w io.Writer, off, n int64) (int64, error) {
	rf, ok := w.(io.ReaderFrom)
	if !ok {
		return sendBuffered(f.File, w, off, n)
	}
	// sendfile as net and net/http offer it moves the descriptor's own
	// offset, so it needs a descriptor of its own.
	own, err := reopen(f.File)
	if err != nil {
		return sendBuffered(f.File, w, off, n)
	}
	defer own.Close()
	if _, err := own.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	m, err := rf.ReadFrom(&io.LimitedReader{R: own, N: n})
	if err == nil && m < n {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}
