package stripe

import (
	"fmt"
	"math/bits"

	"holdfast/erasure"
	"holdfast/erasure/frame"
)

// MaxWindow is the largest number of stripes in a Window.
const MaxWindow = 64

// Room is the length in bytes of a buffer for n frames of one shard.
func Room(n int) int { return n * frame.Stride }

// Rows are consecutive stripes of a blob, at most MaxWindow. In a buffer of
// Room(Stripes) bytes the stored frame of row First+s lies at s x frame.Stride.
type Rows struct {
	Scheme  erasure.Scheme
	Length  int64 // of the blob
	First   int64 // number of the first stripe
	Stripes int
}

// Extent returns where frames [first, first+n) of a shard lie in its buffer,
// buf[from:to]: side by side, as they are stored.
func (r *Rows) Extent(first, n int64) (from, to int) {
	if n <= 0 {
		return 0, 0
	}
	from = int(first-r.First) * frame.Stride
	to = int(first+n-1-r.First)*frame.Stride + r.Scheme.FramePayload(r.Length, first+n-1) + erasure.SumSize
	return from, to
}

// Mask has bit s set for each frame First+s of [first, first+n).
func (r *Rows) Mask(first, n int64) uint64 {
	if n <= 0 {
		return 0
	}
	return ^uint64(0) >> (64 - uint(n)) << uint(first-r.First)
}

// Verify checks frames [first, first+n) of a shard in its buffer and returns
// the mask of the good ones. The error, which wraps frame.ErrSum, is that of
// the first bad one.
func (r *Rows) Verify(seed frame.Seed, buf []byte, first, n int64) (good uint64, bad error) {
	for f := first; f < first+n; f++ {
		from, to := r.Extent(f, 1)
		if err := seed.Check(f, buf[from:to]); err == nil {
			good |= 1 << uint(f-r.First)
		} else if bad == nil {
			bad = err
		}
	}
	return good, bad
}

// Window joins the frames of some stripes. Good frames are given to it in
// buffers (Take), and what is missing is computed from any K of a stripe
// (Restore). It gives no payload that was not taken or computed. One
// goroutine at a time.
type Window struct {
	Rows

	codec *Codec
	bufs  [erasure.MaxWidth][]byte
	good  [erasure.MaxWidth]uint64 // masks
}

// Reset makes w the empty window of stripes [first, first+n), 1 to MaxWindow,
// of a blob of length bytes.
func (w *Window) Reset(c *Codec, length, first int64, n int) {
	*w = Window{Rows: Rows{c.scheme, length, first, n}, codec: c}
}

// Take takes a buffer of Room(Stripes) bytes with frames of shard i, of which
// the mask tells the good ones. The buffer is the window's until the next
// Reset; frames taken before and not good in this one are copied into it.
func (w *Window) Take(i int, buf []byte, good uint64) {
	for old := w.good[i] &^ good; old != 0; old &= old - 1 {
		s := bits.TrailingZeros64(old) * frame.Stride
		copy(buf[s:s+frame.Stride], w.bufs[i][s:])
	}
	w.bufs[i], w.good[i] = buf, w.good[i]|good
}

// Good is the mask of the frames of shard i that are there.
func (w *Window) Good(i int) uint64 { return w.good[i] }

// Buffer is the buffer of shard i, nil if none was taken.
func (w *Window) Buffer(i int) []byte { return w.bufs[i] }

// Lacking returns which of the masked frames of shard i are neither there nor
// can be computed from K others, and under rep-N are in no copy.
func (w *Window) Lacking(i int, mask uint64) (lacking uint64) {
	for missing := mask &^ w.good[i]; missing != 0; missing &= missing - 1 {
		if s := bits.TrailingZeros64(missing); w.Count(s) < int(w.Scheme.Data) {
			lacking |= 1 << uint(s)
		}
	}
	return lacking
}

// Count is the number of good frames in row s of the window.
func (w *Window) Count(s int) (n int) {
	for i := range w.Scheme.Width() {
		n += int(w.good[i] >> uint(s) & 1)
	}
	return n
}

// Restore computes the missing ones of the masked frames of shard i into its
// buffer, which must have been taken, perhaps with nothing good in it. Their
// checksums are not made. The error wraps erasure.ErrTooFew.
func (w *Window) Restore(i int, mask uint64) error {
	for missing := mask &^ w.good[i]; missing != 0; missing &= missing - 1 {
		if err := w.restore(i, bits.TrailingZeros64(missing)); err != nil {
			return err
		}
	}
	return nil
}

func (w *Window) restore(target, s int) error {
	row := w.First + int64(s)
	if w.Count(s) < int(w.Scheme.Data) {
		return fmt.Errorf("stripe %d: %w", row, erasure.ErrTooFew)
	}
	if w.Scheme.Data == 1 {
		copy(w.bufs[target][s*frame.Stride:], w.Payload(0, row))
		w.good[target] |= 1 << uint(s)
		return nil
	}
	p := w.Scheme.FramePayload(w.Length, row)
	var set [erasure.MaxWidth][]byte
	var required [erasure.MaxWidth]bool
	given := 0
	for j := range w.Scheme.Width() {
		if w.good[j]>>uint(s)&1 != 0 && given < int(w.Scheme.Data) {
			set[j] = w.bufs[j][s*frame.Stride:][:p:p]
			given++
		}
	}
	set[target], required[target] = w.bufs[target][s*frame.Stride:][:0:p], true
	if err := w.codec.rs.ReconstructSome(set[:w.Scheme.Width()], required[:w.Scheme.Width()]); err != nil {
		return fmt.Errorf("stripe %d of %s: %w", row, w.Scheme, err)
	}
	w.good[target] |= 1 << uint(s)
	return nil
}

// Payload returns the payload of frame f of shard i, padding included; under
// rep-N that of whichever copy is good. It is nil if the window has none, and
// it lies in the window's buffers.
func (w *Window) Payload(i int, f int64) []byte {
	s := uint(f - w.First)
	if w.Scheme.Data == 1 {
		for j := range w.Scheme.Width() {
			if w.good[j]>>s&1 != 0 {
				i = j
				break
			}
		}
	}
	if w.good[i]>>s&1 == 0 {
		return nil
	}
	p := w.Scheme.FramePayload(w.Length, f)
	return w.bufs[i][int(s)*frame.Stride:][:p:p]
}
