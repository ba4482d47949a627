package vfs

import (
	"errors"
	"syscall"
	"time"
)

// NoDescriptors tells the error of a file that was not opened because the
// process or the machine has as many open as it may: another time it can be.
func NoDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// mostPatience bounds the last of the pauses, which double, and so about their
// sum. A voter whose log takes two seconds steps aside.
const mostPatience = 500 * time.Millisecond

// patiently opens a file, again for half a second while there are no
// descriptors: other files are closed meanwhile, and an error here would end a
// copy of the catalog.
func patiently[T any](open func() (T, error)) (T, error) {
	for pause := time.Millisecond; ; pause *= 2 {
		f, err := open()
		if pause > mostPatience || !NoDescriptors(err) {
			return f, err
		}
		time.Sleep(pause)
	}
}
