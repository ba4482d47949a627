package stripe

import (
	"holdfast/erasure"
	"holdfast/erasure/frame"
)

// MaxRun is the number of full frames in the longest run that one write to a
// shard takes (1 MiB).
const MaxRun = (1 << 20) / frame.Stride

// Batch holds consecutive stripes of one blob, laid out as each shard stores
// them: the frames of a shard lie side by side, each payload followed by room
// for its checksum. The frames of one shard share no memory with another's,
// so that each may be given away to be overwritten.
type Batch struct {
	First   int64 // number of the first stripe
	Stripes int   // held; only the last of a blob may be short
	Bytes   int64 // of the blob, without padding

	codec *Codec
	cap   int    // stripes
	last  int    // payload of each frame of the last stripe
	buf   []byte // width x cap x frame.Stride
	set   [][]byte
}

// NewBatch returns an empty batch with room for 1 to MaxRun stripes.
func (c *Codec) NewBatch(stripes int) *Batch {
	stripes = max(1, min(stripes, MaxRun))
	return &Batch{codec: c, cap: stripes, buf: make([]byte, c.scheme.Width()*stripes*frame.Stride)}
}

// Size is the memory of the batch in bytes.
func (b *Batch) Size() int { return len(b.buf) }

// Cap is the number of stripes that the batch has room for.
func (b *Batch) Cap() int { return b.cap }

// Shard returns the stored frames of shard i, empty if the batch is.
func (b *Batch) Shard(i int) []byte {
	if b.Stripes == 0 {
		return nil
	}
	start := i * b.cap * frame.Stride
	end := start + (b.Stripes-1)*frame.Stride + b.last + erasure.SumSize
	return b.buf[start:end:end]
}

// slot is the place of the payload of shard i in stripe s of the batch.
func (b *Batch) slot(i, s int) []byte {
	start := (i*b.cap + s) * frame.Stride
	return b.buf[start : start+erasure.FrameSize : start+erasure.FrameSize]
}

// spread lays out a short stripe s, of l bytes, that was read as if it were a
// full one: each shard gets its ceil(l/K) bytes, zero padded.
func (b *Batch) spread(s, l int) (payload int) {
	k := int(b.codec.scheme.Data)
	p := (l + k - 1) / k
	// From the last shard to the first: byte x of the stripe never moves to
	// a lower place, so nothing is overwritten before it was moved.
	for i := k - 1; i >= 0; i-- {
		dst, from := b.slot(i, s)[:p], i*p
		n := max(0, min(p, l-from))
		for end := from + n; end > from; {
			slot := (end - 1) / erasure.FrameSize
			begin := max(from, slot*erasure.FrameSize)
			copy(dst[begin-from:end-from], b.slot(slot, s)[begin-slot*erasure.FrameSize:])
			end = begin
		}
		clear(dst[n:])
	}
	return p
}
