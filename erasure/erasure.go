// Package erasure is the contract of Holdfast's redundancy: schemes, and the
// geometry of stripes and frames. Everything under it is pure: no I/O of its
// own, no clocks, no goroutines that outlive a call.
//
// # Geometry
//
// A blob of L bytes under rs-K+M is cut into stripes of K x FrameSize bytes;
// frame i of a stripe goes to shard i, and M parity frames of the same length
// to shards K..K+M-1. The last stripe, of length l, gives each shard
// ceil(l/K) bytes, zero padded. Under rep-N every shard is the whole blob
// (K=1, M=N-1, parity being copies), so one geometry serves both.
//
// A shard is a run of frames: payload (up to FrameSize bytes, only the last
// may be shorter) followed by an 8-byte checksum; see package
// holdfast/erasure/frame. A blob of no bytes has no frames.
package erasure

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/internal/fault"
)

// FrameSize is the payload of a full frame in bytes.
const FrameSize = 64 << 10

// SumSize is the length of the checksum that follows a frame's payload.
const SumSize = 8

// MaxBlob is the length of the largest blob in bytes (5 GiB).
const MaxBlob = 5 << 30

// MaxWidth bounds the number of shards of a blob.
const MaxWidth = 32

// ErrScheme is returned for a scheme that cannot be parsed or is out of bounds.
var ErrScheme = fault.New(fault.Invalid, "erasure.scheme", "scheme is not rep-N (1 to 16) or rs-K+M (K 2 to 24, M 1 to 8)")

// ErrTooLarge is returned for a blob over MaxBlob.
var ErrTooLarge = fault.New(fault.TooLarge, "erasure.too-large", "blob is over 5 GiB")

// ErrLength is returned for a source that ends before or after its announced
// length.
var ErrLength = fault.New(fault.Invalid, "erasure.length", "source has another length than announced")

// ErrTooFew is returned where fewer than K good shards are left of a stripe.
var ErrTooFew = fault.New(fault.Corrupt, "erasure.too-few", "too few good shards to read the blob")

// Scheme is a redundancy scheme. The zero value is no scheme.
type Scheme struct {
	Data   uint8 // K: shards needed to read; 1 for rep-N
	Parity uint8 // M: shards that may be lost; N-1 for rep-N
}

// Replicated returns rep-n.
func Replicated(n int) Scheme { return Scheme{1, uint8(n - 1)} }

// ParseScheme parses "rep-N" or "rs-K+M".
func ParseScheme(s string) (Scheme, error) {
	if n, ok := strings.CutPrefix(s, "rep-"); ok {
		v, err := strconv.ParseUint(n, 10, 8)
		if err != nil || v < 1 || v > 16 || strconv.Itoa(int(v)) != n {
			return Scheme{}, fmt.Errorf("%q: %w", s, ErrScheme)
		}
		return Replicated(int(v)), nil
	}
	km, ok := strings.CutPrefix(s, "rs-")
	k, m, cut := strings.Cut(km, "+")
	kv, err1 := strconv.ParseUint(k, 10, 8)
	mv, err2 := strconv.ParseUint(m, 10, 8)
	if !ok || !cut || err1 != nil || err2 != nil || kv < 2 || kv > 24 || mv < 1 || mv > 8 ||
		strconv.Itoa(int(kv)) != k || strconv.Itoa(int(mv)) != m {
		return Scheme{}, fmt.Errorf("%q: %w", s, ErrScheme)
	}
	return Scheme{uint8(kv), uint8(mv)}, nil
}

// DefaultScheme returns the scheme that a server with n directories is given
// at its first start (n >= 1).
func DefaultScheme(n int) Scheme {
	switch {
	case n <= 1:
		return Replicated(1)
	case n <= 3:
		return Replicated(2)
	case n == 4:
		return Scheme{2, 2}
	case n == 5:
		return Scheme{3, 2}
	case n <= 7:
		return Scheme{4, 2}
	case n <= 11:
		return Scheme{5, 3}
	}
	return Scheme{8, 4}
}

// String returns the scheme as ParseScheme reads it.
func (s Scheme) String() string {
	if s.Data == 1 {
		return "rep-" + strconv.Itoa(s.Width())
	}
	return fmt.Sprintf("rs-%d+%d", s.Data, s.Parity)
}

// Width is the number of shards of a blob.
func (s Scheme) Width() int { return int(s.Data) + int(s.Parity) }

// Quorum is the number of sealed shards with which a write may be
// acknowledged: K+1 under rs-K+M, a majority and at least 2 under rep-N with
// N > 1, and 1 under rep-1.
func (s Scheme) Quorum() int {
	switch {
	case s.Data > 1:
		return int(s.Data) + 1
	case s.Width() == 1:
		return 1
	}
	return max(2, s.Width()/2+1)
}

// StripeSize is the number of blob bytes in a full stripe.
func (s Scheme) StripeSize() int64 { return int64(s.Data) * FrameSize }

// Frames is the number of frames in each shard of a blob of length bytes.
func (s Scheme) Frames(length int64) int64 {
	return (length + s.StripeSize() - 1) / s.StripeSize()
}

// FramePayload is the payload length in bytes of frame i in each shard of a
// blob of length bytes; i must be in [0, Frames(length)).
func (s Scheme) FramePayload(length, i int64) int {
	rest := min(length-i*s.StripeSize(), s.StripeSize())
	return int((rest + int64(s.Data) - 1) / int64(s.Data))
}

// ShardSize is the stored length in bytes of each shard of a blob of length
// bytes, checksums included.
func (s Scheme) ShardSize(length int64) int64 {
	n := s.Frames(length)
	if n == 0 {
		return 0
	}
	return (n-1)*(FrameSize+SumSize) + int64(s.FramePayload(length, n-1)) + SumSize
}
