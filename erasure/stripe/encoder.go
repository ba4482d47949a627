package stripe

import (
	"fmt"
	"io"

	"holdfast/erasure"
	"holdfast/erasure/frame"
)

// Encoder turns a stream into batches of stripes. One goroutine at a time.
type Encoder struct {
	codec   *Codec
	size    int64
	length  int64 // blob bytes read
	frames  int64 // of each shard
	stored  int64 // bytes of each shard
	wanted  uint32
	last    bool
	seeds   [erasure.MaxWidth]frame.Seed
	sums    [erasure.MaxWidth]uint64 // of a blob of one batch
	sealers []frame.Sealer           // of a longer one
}

// NewEncoder returns an encoder for a new blob of size bytes, or of unknown
// length if size is negative. Name the shards that are wanted with Shard.
func (c *Codec) NewEncoder(size int64) *Encoder { return &Encoder{codec: c, size: size} }

// Shard asks for the frames of shard (blob, index, gen). Frames of shards
// that were not asked for are not summed, and copies not made.
func (e *Encoder) Shard(blob [16]byte, index uint8, gen uint32) {
	e.seeds[index] = frame.SeedOf(blob, index, gen)
	e.wanted |= 1 << index
}

// Drop says that a shard is not wanted any more.
func (e *Encoder) Drop(index uint8) { e.wanted &^= 1 << index }

// Length is the number of blob bytes read so far.
func (e *Encoder) Length() int64 { return e.length }

// Fill reads stripes into b until it is full or src ends, and encodes them.
// Payload goes from src straight to its place. last is true once src has
// returned io.EOF; b may then be empty. Any other error of src is returned as
// it is, and so are erasure.ErrTooLarge and erasure.ErrLength; the encoder is
// of no use after an error.
func (e *Encoder) Fill(src io.Reader, b *Batch) (last bool, err error) {
	b.First, b.Stripes, b.Bytes, b.last = e.frames, 0, 0, 0
	for b.Stripes < b.cap && !e.last {
		if err := e.read(src, b); err != nil {
			return false, err
		}
	}
	if !e.last && e.length == e.size {
		if err := e.expectEnd(src); err != nil {
			return false, err
		}
	}
	if e.last && e.size >= 0 && e.length != e.size {
		return false, fmt.Errorf("%d bytes of %d: %w", e.length, e.size, erasure.ErrLength)
	}
	return e.last, e.encode(b)
}

// read reads one stripe.
func (e *Encoder) read(src io.Reader, b *Batch) error {
	k, s, l := int(e.codec.scheme.Data), b.Stripes, 0
	for i := 0; i < k && !e.last; i++ {
		n, err := readFull(src, b.slot(i, s))
		l += n
		if err == io.EOF {
			e.last = true
		} else if err != nil {
			return err
		}
	}
	e.length += int64(l)
	switch {
	case e.size >= 0 && e.length > e.size:
		return fmt.Errorf("more than %d bytes: %w", e.size, erasure.ErrLength)
	case e.length > erasure.MaxBlob:
		return erasure.ErrTooLarge
	case l == 0:
		return nil
	}
	b.last = erasure.FrameSize
	if l < k*erasure.FrameSize {
		b.last = b.spread(s, l)
	}
	b.Stripes++
	b.Bytes += int64(l)
	return nil
}

// expectEnd reads the end of a source all of whose announced bytes are there,
// so that it can judge its last bytes (a signature, a checksum) and a batch
// more is not begun.
func (e *Encoder) expectEnd(src io.Reader) error {
	var one [1]byte
	n, err := readFull(src, one[:])
	if n > 0 {
		return fmt.Errorf("more than %d bytes: %w", e.size, erasure.ErrLength)
	}
	if err == io.EOF {
		e.last = true
		return nil
	}
	return err
}

// encode makes parity and checksums.
func (e *Encoder) encode(b *Batch) error {
	if b.Stripes == 0 {
		return nil
	}
	if err := e.codec.encode(b); err != nil {
		return err
	}
	k, whole := e.codec.scheme.Data, e.last && e.frames == 0
	if !whole && e.sealers == nil {
		e.sealers = make([]frame.Sealer, e.codec.scheme.Width())
	}
	for i := range e.codec.scheme.Width() {
		if e.wanted>>i&1 == 0 {
			continue
		}
		run := b.Shard(i)
		if k == 1 && i > 0 {
			copy(run, b.Shard(0))
		}
		for s := range b.Stripes {
			e.seeds[i].Put(b.First+int64(s), run[s*frame.Stride:min(len(run), (s+1)*frame.Stride)])
		}
		if whole {
			e.sums[i] = frame.SumRun(run)
		} else {
			e.sealers[i].AddRun(run)
		}
	}
	e.frames += int64(b.Stripes)
	e.stored += int64(len(b.Shard(0)))
	return nil
}

// encode makes the parity frames of a batch by Reed-Solomon; copies are made
// as they are summed.
func (c *Codec) encode(b *Batch) error {
	if c.rs == nil {
		return nil
	}
	width := c.scheme.Width()
	if b.set == nil {
		b.set = make([][]byte, width)
	}
	for s := range b.Stripes {
		p := erasure.FrameSize
		if s == b.Stripes-1 {
			p = b.last
		}
		for i := range width {
			b.set[i] = b.slot(i, s)[:p]
		}
		if err := c.rs.Encode(b.set); err != nil {
			return fmt.Errorf("%s: encode: %w", c.scheme, err)
		}
	}
	return nil
}

// Frames is the number of frames made so far for each shard, and Stored their
// length in bytes with checksums: the seal's counts once Fill was last.
func (e *Encoder) Frames() int64 { return e.frames }

// Stored is the stored length in bytes of each shard so far.
func (e *Encoder) Stored() int64 { return e.stored }

// Sum returns the seal's sum of shard i once Fill was last.
func (e *Encoder) Sum(i int) uint64 {
	if e.sealers == nil {
		return e.sums[i]
	}
	return e.sealers[i].Sum()
}

// readFull fills p. Unlike io.ReadFull it returns whatever error came with the
// last bytes, since a source may tell it only once; io.EOF comes with the
// bytes before it. A source that gives neither bytes nor an error is
// io.ErrNoProgress.
func readFull(src io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p) && err == nil; {
		var m int
		m, err = src.Read(p[n:])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}
