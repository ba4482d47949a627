package vfs

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience opens again while there are no descriptors, for half a second,
// and tells every other error at once.
func TestPatience(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err   error
		fails int // calls before one succeeds
		ok    bool
		least time.Duration
		most  time.Duration
	}{
		{syscall.EMFILE, 3, true, 7 * time.Millisecond, 7 * time.Millisecond},
		{&os.PathError{Err: syscall.ENFILE}, 3, true, 7 * time.Millisecond, 7 * time.Millisecond},
		{syscall.EMFILE, 1000, false, time.Second / 2, time.Second},
		{syscall.EIO, 1, false, 0, 0},
		{os.ErrNotExist, 1, false, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin, calls := time.Now(), 0
			_, err := patiently(func() (int, error) {
				if calls++; calls <= c.fails {
					return 0, c.err
				}
				return 1, nil
			})
			if took := time.Since(begin); (err == nil) != c.ok || took < c.least || took > c.most {
				t.Errorf("%v, %d times: %v after %v", c.err, c.fails, err, took)
			}
		})
	}
}
