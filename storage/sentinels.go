package storage

import "holdfast/internal/fault"

// Sentinels lists the errors of this contract, for what carries them from one
// process to another by their codes.
func Sentinels() []*fault.Error {
	return []*fault.Error{
		ErrNotHere, ErrExists, ErrTicket, ErrStaleEpoch, ErrNoSpace,
		ErrCorrupt, ErrSeal, ErrOffline, ErrMassDisown, ErrIncarnation,
	}
}
