//go:build !linux

package vfs

import (
	"errors"
	"os"
)

// Outside Linux the store runs without holes, preallocation and sendfile, for
// development; deleted space comes back by rewrites alone.

// lockFile takes no lock: here one owner per directory is the operator's care.
func lockFile(*os.File) error { return nil }

func reopen(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

func (f *osFile) Preallocate(int64, int64) error { return ErrUnsupported }
func (f *osFile) Punch(int64, int64) error       { return ErrUnsupported }
func (f *osFile) Flush(int64, int64)             {}
func (f *osFile) SyncData() error                { return f.Sync() }
func (f *osFile) Allocated() (int64, error)      { return f.Size() }

func (f *osFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	var done int64
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
