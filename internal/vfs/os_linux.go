package vfs

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const maxVec = 1024 // IOV_MAX

func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// reopen opens the same file again, even if it has no name any more.
func reopen(f *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// control runs fn on the descriptor, again when a signal interrupted it, and
// keeps the file in the runtime's non-blocking bookkeeping (Fd would not).
func (f *osFile) control(op string, fn func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := rc.Control(func(fd uintptr) {
		for {
			if err = fn(int(fd)); err != unix.EINTR {
				return
			}
		}
	})
	if cerr != nil {
		return cerr
	}
	if err != nil {
		return &os.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) fallocate(op string, mode uint32, off, n int64) error {
	if n <= 0 {
		return nil
	}
	err := f.control(op, func(fd int) error { return unix.Fallocate(fd, mode, off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("%s %s: %w", op, f.Name(), ErrUnsupported)
	}
	return err
}

func (f *osFile) Preallocate(off, n int64) error {
	return f.fallocate("preallocate", unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (f *osFile) Punch(off, n int64) error {
	return f.fallocate("punch", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (f *osFile) Flush(off, n int64) {
	// Best effort: file systems that do not know it answer with an error.
	_ = f.control("flush", func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}

func (f *osFile) SyncData() error { return f.control("fdatasync", unix.Fdatasync) }

func (f *osFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	var done int64
	var rest [][]byte // a copy, once a short write has cut into the caller's slice
	for len(bufs) > 0 {
		var n int
		err := f.control("pwritev", func(fd int) (err error) {
			n, err = unix.Pwritev(fd, bufs[:min(len(bufs), maxVec)], off+done)
			return err
		})
		if err != nil {
			return done, err
		}
		if n == 0 {
			for _, b := range bufs {
				if len(b) > 0 {
					return done, &os.PathError{Op: "pwritev", Path: f.Name(), Err: syscall.EIO}
				}
			}
			return done, nil
		}
		done += int64(n)
		for len(bufs) > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 {
			if rest == nil {
				rest = append(rest, bufs...)
				bufs = rest
			}
			bufs[0] = bufs[0][n:]
		}
	}
	return done, nil
}

func (f *osFile) Allocated() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512, nil
	}
	return fi.Size(), nil
}
