package blob

import (
	"sync"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
)

// batchMemory is about the memory of one batch of a long write in bytes.
const batchMemory = 5 << 18

// smallBatch is the number of stripes of the middle class of batches.
const smallBatch = 4

// batches keeps batches of one scheme for use again: of one stripe, of a
// few, and of as many as a long write has.
type batches struct {
	codec   *stripe.Codec
	full    int
	classes [3]sync.Pool
}

func (b *batches) init(c *stripe.Codec) {
	b.codec = c
	b.full = max(1, min(stripe.MaxRun, batchMemory/(c.Scheme().Width()*frame.Stride)))
}

// get returns a batch for size bytes to come, negative if unknown.
func (b *batches) get(size int64) *stripe.Batch {
	stripes := b.full
	switch need := b.codec.Scheme().Frames(max(size, 0)); {
	case size >= 0 && need <= 1:
		stripes = 1
	case size < 0 || need <= smallBatch:
		stripes = min(smallBatch, b.full)
	}
	return b.sized(stripes)
}

// most returns a batch for a stream that goes on.
func (b *batches) most() *stripe.Batch { return b.sized(b.full) }

func (b *batches) sized(stripes int) *stripe.Batch {
	if got, _ := b.classes[b.class(stripes)].Get().(*stripe.Batch); got != nil {
		return got
	}
	return b.codec.NewBatch(stripes)
}

func (b *batches) put(batch *stripe.Batch) { b.classes[b.class(batch.Cap())].Put(batch) }

func (b *batches) class(stripes int) int {
	switch {
	case stripes == 1:
		return 0
	case stripes <= smallBatch:
		return 1
	}
	return 2
}

// runs keeps buffers for frames of one shard, of 1 to maxRows frames.
type runs struct{ classes [4]sync.Pool }

// maxRows is the largest number of stripes in a window.
const maxRows = 8

// windowRows is the number of stripes in a window of a long read.
func windowRows(s erasure.Scheme) int { return max(1, maxRows/int(s.Data)) }

// run is a pooled buffer.
type run struct{ buf []byte }

func (r *runs) get(frames int) *run {
	class, size := runClass(frames)
	if got, _ := r.classes[class].Get().(*run); got != nil {
		return got
	}
	return &run{make([]byte, stripe.Room(size))}
}

func (r *runs) put(b *run) {
	class, _ := runClass(len(b.buf) / frame.Stride)
	r.classes[class].Put(b)
}

func runClass(frames int) (class, size int) {
	switch {
	case frames <= 1:
		return 0, 1
	case frames <= 2:
		return 1, 2
	case frames <= 4:
		return 2, 4
	}
	return 3, maxRows
}
