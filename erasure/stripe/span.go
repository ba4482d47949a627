package stripe

import (
	"fmt"

	"holdfast/erasure"
	"holdfast/internal/fault"
)

// ErrRange is returned for a range that is not within the blob.
var ErrRange = fault.New(fault.Invalid, "erasure.range", "range is not within the blob")

// Span is the run of stripes, and of frames in each data shard, that hold a
// range of a blob's bytes.
type Span struct {
	First   int64 // number of the first stripe
	Stripes int64

	scheme       erasure.Scheme
	length       int64 // of the blob
	begin, end   int64 // the range
	head, tail   int   // data shards that hold the first and the last byte
	headP, tailP int   // payload of the frames of the first and last stripe
}

// SpanOf returns the span of bytes [off, off+n) of a blob of length bytes,
// all from off if n is negative. The error wraps ErrRange.
func SpanOf(s erasure.Scheme, length, off, n int64) (Span, error) {
	if n < 0 {
		n = length - off
	}
	if length < 0 || length > erasure.MaxBlob || off < 0 || n < 0 || off > length-n {
		return Span{}, fmt.Errorf("%d bytes at %d of %d: %w", n, off, length, ErrRange)
	}
	p := Span{scheme: s, length: length, begin: off, end: off + n}
	if n == 0 {
		return p, nil
	}
	p.First = off / s.StripeSize()
	last := (off + n - 1) / s.StripeSize()
	p.Stripes = last - p.First + 1
	p.headP, p.tailP = s.FramePayload(length, p.First), s.FramePayload(length, last)
	p.head = int(off-p.First*s.StripeSize()) / p.headP
	p.tail = int(off+n-1-last*s.StripeSize()) / p.tailP
	return p, nil
}

// Len is the length of the range in bytes.
func (p *Span) Len() int64 { return p.end - p.begin }

// Frames returns the run of frames of data shard i that the range touches: at
// most all of the span's, without the first or last where the range begins
// after or ends before them.
func (p *Span) Frames(i int) (first, n int64) {
	first, n = p.First, p.Stripes
	if n > 0 && i > p.tail {
		n--
	}
	if n > 0 && i < p.head {
		first, n = first+1, n-1
	}
	return first, n
}

// Bytes returns the part of the payload of frame s of data shard i that is
// within the range: payload[from:to].
func (p *Span) Bytes(i int, s int64) (from, to int) {
	l := p.scheme.FramePayload(p.length, s)
	begin := s*p.scheme.StripeSize() + int64(i)*int64(l) // of the frame, in the blob
	end := min(begin+int64(l), p.length)                 // without padding
	from, to = int(max(p.begin-begin, 0)), int(min(p.end, end)-begin)
	return min(from, l), max(to, min(from, l))
}
