package erasure

import "holdfast/internal/fault"

// Sentinels lists the errors of this contract, for what carries them from one
// process to another by their codes.
func Sentinels() []*fault.Error {
	return []*fault.Error{ErrScheme, ErrTooLarge, ErrLength, ErrTooFew}
}
