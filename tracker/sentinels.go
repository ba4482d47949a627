package tracker

import "holdfast/internal/fault"

// Sentinels lists the errors of this contract, for what carries them from one
// process to another by their codes.
func Sentinels() []*fault.Error {
	return []*fault.Error{
		ErrNoSuchBucket, ErrBucketExists, ErrBucketNotEmpty, ErrTooManyBuckets, ErrNoSuchKey,
		ErrNoSuchVersion, ErrDeleteMarker, ErrPrecondition, ErrNoSuchUpload, ErrInvalidPart,
		ErrInvalidPartList, ErrPartTooSmall, ErrObjectTooLarge, ErrObjectLocked, ErrQuota,
		ErrCatalogFull, ErrFenced, ErrExpired, ErrUncertain, ErrUnavailable, ErrHeld,
		ErrNotLeader, ErrNoPlacement, ErrNoSuchClass, ErrNoSuchNode, ErrNoSuchTracker, ErrForeign, ErrConflict,
		ErrInvalid, ErrBadChecksum, ErrTooLarge, ErrNoSuchGroup, ErrWrongClass, ErrPinnedElsewhere, ErrTooManyPolicies, ErrTooFewNodes,
	}
}
