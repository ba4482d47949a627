package stripe

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/internal/fault"
)

// Frames reads stored frames; storage.ShardReader is one. ReadFrames fills p
// with whole frames in order, as many as fit, and returns io.EOF after the
// last one asked for.
type Frames interface {
	ReadFrames(p []byte) (int, error)
	io.Closer
}

// ErrShort is returned for a shard that ends before its last frame.
var ErrShort = fault.New(fault.Corrupt, "erasure.short", "shard ends before its last frame")

// ReadRun fills p with stored frames. Frames that end before p is full are
// ErrShort; other errors are the reader's own.
func ReadRun(r Frames, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := r.ReadFrames(p[n:])
		n += m
		switch {
		case err == io.EOF && n < len(p):
			return n, ErrShort
		case err != nil && err != io.EOF:
			return n, err
		case m <= 0 && n < len(p):
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// Source is a shard that Rebuild may read. Open reads frames
// [first, first+n); it may be called again after an error.
type Source struct {
	Index uint8
	Gen   uint32
	Open  func(ctx context.Context, first, n int64) (Frames, error)
}

// Target is the shard that Rebuild makes.
type Target struct {
	Blob   [16]byte
	Index  uint8
	Gen    uint32
	Length int64 // of the blob
}

// Built is what Rebuild emitted: the counts and the sum of the shard's seal.
type Built struct {
	Frames int64
	Length int64 // stored bytes
	Sum    uint64
	Bad    []BadSource // at most one entry for each source
}

// BadSource is a source that failed or held bad frames, by its place in the
// list, with its first error.
type BadSource struct {
	Source int
	Err    error
}

// Rebuild makes the frames of one shard from the frames of others and gives
// them to emit in order, in runs of at most 1 MiB that emit may overwrite. A
// source of the target's own index (an older generation) is copied; else K of
// other indices are decoded, in the order given. A source that fails, or has
// a bad frame, is replaced by another at the same frame, and asked again only
// where nothing else is left. Every frame is verified, so what was emitted is
// right even if an error follows; the error wraps erasure.ErrTooFew where the
// sources do not suffice.
func Rebuild(ctx context.Context, c *Codec, t Target, sources []Source, emit func(run []byte) error) (Built, error) {
	b := newBuilder(ctx, c, t, sources)
	defer b.close()
	rows := c.scheme.Frames(t.Length)
	for first := int64(0); first < rows; first += int64(b.step) {
		if err := ctx.Err(); err != nil {
			return b.built, err
		}
		run, err := b.window(first, int(min(int64(b.step), rows-first)))
		if err != nil {
			return b.built, fmt.Errorf("rebuild shard %d: %w", t.Index, err)
		}
		if err := emit(run); err != nil {
			return b.built, err
		}
	}
	b.built.Frames, b.built.Length, b.built.Sum = b.seal.Frames, b.seal.Length, b.seal.Sum()
	return b.built, nil
}

// builder is the state of one Rebuild.
type builder struct {
	ctx     context.Context
	codec   *Codec
	target  Target
	seed    frame.Seed
	seal    frame.Sealer
	built   Built
	step    int // stripes of a window
	win     Window
	out     []byte
	sources []source
}

type source struct {
	Source
	seed  frame.Seed
	buf   []byte
	r     Frames
	at    int64 // frame that r stands before
	bad   bool  // failed or had a bad frame
	tried bool  // in this window
}

func newBuilder(ctx context.Context, c *Codec, t Target, sources []Source) *builder {
	b := &builder{ctx: ctx, codec: c, target: t, seed: frame.SeedOf(t.Blob, t.Index, t.Gen)}
	b.step = max(1, min(MaxRun, 32/(int(c.scheme.Data)+1)))
	b.step = int(max(1, min(int64(b.step), c.scheme.Frames(t.Length))))
	b.out = make([]byte, Room(b.step))
	for _, s := range sources {
		b.sources = append(b.sources, source{Source: s, seed: frame.SeedOf(t.Blob, s.Index, s.Gen)})
	}
	return b
}

func (b *builder) close() {
	for i := range b.sources {
		if r := b.sources[i].r; r != nil {
			_ = r.Close()
		}
	}
}

// window makes the target's frames [first, first+n).
func (b *builder) window(first int64, n int) ([]byte, error) {
	b.win.Reset(b.codec, b.target.Length, first, n)
	for i := range b.sources {
		b.sources[i].tried = false
	}
	t, all := int(b.target.Index), b.win.Mask(first, int64(n))
	for b.win.Lacking(t, all) != 0 {
		i := b.next()
		if i < 0 {
			return nil, b.exhausted()
		}
		if err := b.read(i, first, int64(n)); err != nil {
			return nil, err
		}
	}
	// A copied frame keeps its place in its source's buffer, which lets it go.
	if b.win.Buffer(t) == nil {
		b.win.Take(t, b.out, 0)
	}
	if err := b.win.Restore(t, all); err != nil {
		return nil, err
	}
	for f := first; f < first+int64(n); f++ {
		from, to := b.win.Extent(f, 1)
		b.seed.Put(f, b.win.Buffer(t)[from:to])
	}
	_, end := b.win.Extent(first, int64(n))
	run := b.win.Buffer(t)[:end]
	b.seal.AddRun(run)
	return run, nil
}

// next chooses the source to read next in this window, -1 if there is none:
// sound ones before bad ones, and the target's own index before others.
func (b *builder) next() int {
	best, bestCost := -1, 4
	for i := range b.sources {
		s := &b.sources[i]
		cost := 0
		if s.bad {
			cost = 2
		}
		if s.Index != b.target.Index {
			cost++
		}
		if !s.tried && int(s.Index) < b.codec.scheme.Width() && cost < bestCost {
			best, bestCost = i, cost
		}
	}
	return best
}

// read reads the window's frames from source i. Its errors are the caller's
// (a cancelled context); a source's own make it a bad source.
func (b *builder) read(i int, first, n int64) error {
	s := &b.sources[i]
	s.tried = true
	if s.buf == nil {
		s.buf = make([]byte, Room(b.step))
	}
	got, err := s.fill(b.ctx, &b.win.Rows, first, n, b.codec.scheme.Frames(b.target.Length))
	good, bad := b.win.Verify(s.seed, s.buf, first, got)
	b.win.Take(int(s.Index), s.buf, good)
	if cerr := b.ctx.Err(); cerr != nil {
		return cerr
	}
	if err == nil {
		err = bad
	}
	if err != nil && !s.bad {
		s.bad = true
		b.built.Bad = append(b.built.Bad, BadSource{i, err})
	}
	return nil
}

// fill reads frames [first, first+n) into the source's buffer and returns how
// many came whole. The stream is opened up to frame end, once for all windows.
func (s *source) fill(ctx context.Context, rows *Rows, first, n, end int64) (int64, error) {
	if s.r != nil && s.at != first {
		_ = s.r.Close()
		s.r = nil
	}
	if s.r == nil {
		r, err := s.Open(ctx, first, end-first)
		if err != nil {
			return 0, err
		}
		s.r, s.at = r, first
	}
	from, to := rows.Extent(first, n)
	got, err := ReadRun(s.r, s.buf[from:to])
	if err == nil {
		s.at += n
		return n, nil
	}
	_ = s.r.Close()
	s.r = nil
	return int64(got / frame.Stride), err
}

// exhausted is the error when no source is left.
func (b *builder) exhausted() error {
	errs := []error{erasure.ErrTooFew}
	for _, bad := range b.built.Bad {
		errs = append(errs, fmt.Errorf("source %d (shard %d.%d): %w", bad.Source, b.sources[bad.Source].Index, b.sources[bad.Source].Gen, bad.Err))
	}
	return errors.Join(errs...)
}
