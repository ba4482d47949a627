package service

import "golang.org/x/sys/unix"

// kernelClockSynchronised asks the kernel whether its clock is disciplined by
// a time service.
func kernelClockSynchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
