package main

import "golang.org/x/sys/unix"

// descriptors returns how many files and connections the process may have
// open, 0 if that is not known.
func descriptors() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}
