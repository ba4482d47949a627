package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/erasure/stripe"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

var errClosed = errors.New("blob: stream is closed")

// Avoid is the rank from which a node is read only where nothing else is left.
const Avoid = 1 << 20

// Options say how a blob is read. Its functions may be called from other
// goroutines than the reader's, one at a time, and until Reader.Wait returns.
type Options struct {
	Nodes storage.Nodes
	// Rank orders nodes by state and load: lower ones are read first, those
	// at Avoid or over last. nil: all are equal.
	Rank func(storage.NodeID) int
	// Refresh returns the blob's row as the catalog has it now. It is asked
	// where a shard is missing or bad; the read goes on with the new map. nil:
	// the map that was given is taken for the present one.
	Refresh func(ctx context.Context) (tracker.Blob, error)
	// Damage is told of shards that are missing or bad where the present map
	// has them, once each. It must not block. nil: nobody is told.
	Damage func(storage.Damage)
}

// Reader reads blobs. Safe for concurrent use.
type Reader struct {
	cfg    Config
	clock  clock.Clock
	codecs *stripe.Codecs
	nodes  table[storage.NodeID, nodeStat]
	runs   runs
	spare  sync.Pool // of *window
	wg     sync.WaitGroup
}

// NewReader returns a reader.
func NewReader(cfg Config, d Deps) *Reader {
	return &Reader{cfg: cfg, clock: d.Clock, codecs: d.Codecs}
}

// Wait returns when nothing is being read any more, reads of single shards
// included that were left behind.
func (r *Reader) Wait() { r.wg.Wait() }

// Stream is an open read of a range of a blob. What it gives was verified,
// frame by frame: it ends in an error rather than with a wrong byte. It is
// used by one goroutine at a time, and must be closed.
type Stream struct {
	f      *fetcher           // nil once closed
	ahead  chan *window       // nil: the consumer fetches for itself
	taken  chan struct{}      // capacity 1: one more window may be fetched
	cancel context.CancelFunc // nil where nothing can be left behind
	w      *window            // being consumed
	left   int64              // bytes of the range after rest
	row    int64              // next frame: its row, and its shard
	shard  int
	rest   []byte   // of the last chunk
	pieces [][]byte // of the last window, given to a VecWriter
	err    error    // final
}

// Open starts to read bytes [off, off+n) of a blob, all from off if n is
// negative. It returns once the first window is there and good, so that an
// error can still be answered as one. Errors: storage.ErrCorrupt where all
// shards together cannot give the bytes, storage.ErrOffline where they may
// when nodes come back, stripe.ErrRange. ctx must live as long as the stream.
func (r *Reader) Open(ctx context.Context, blob tracker.Blob, off, n int64, o Options) (*Stream, error) {
	span, err := stripe.SpanOf(blob.Scheme, blob.Length, off, n)
	if err != nil {
		return nil, err
	}
	codec, err := r.codecs.Codec(blob.Scheme)
	if err != nil {
		return nil, err
	}
	if len(blob.Shards) != blob.Scheme.Width() {
		return nil, fmt.Errorf("blob %s: map of %d shards for %s: %w", blob.ID, len(blob.Shards), blob.Scheme, storage.ErrCorrupt)
	}
	s := &Stream{left: span.Len()}
	if s.left == 0 {
		return s, nil
	}
	f := newFetcher(r, codec, blob, span, o)
	s.f = f
	if !f.alone {
		ctx, s.cancel = context.WithCancel(ctx)
	}
	f.ctx = ctx
	if s.w, err = f.fetch(); err != nil {
		_ = s.Close()
		return nil, err
	}
	s.row = s.w.First
	if !f.alone && f.more() {
		s.fetchAhead()
	}
	return s, nil
}

// fetchAhead starts the goroutine that keeps one window ahead.
func (s *Stream) fetchAhead() {
	s.ahead, s.taken = make(chan *window, 1), make(chan struct{}, 1)
	s.f.r.wg.Add(1)
	go s.f.run(s.ahead, s.taken)
}

// run fetches the windows that are left. The consumer has one and one waits
// for it, or is being fetched: that is enough. An error is the last window.
func (f *fetcher) run(ahead chan<- *window, taken <-chan struct{}) {
	defer f.r.wg.Done()
	defer f.close()
	defer close(ahead)
	for f.more() {
		w, err := f.fetch()
		if err != nil {
			ahead <- &window{err: err}
			return
		}
		ahead <- w // empty: either this is the first, or the last was taken
		select {
		case <-taken:
		case <-f.ctx.Done():
			return
		}
	}
}

// next makes the next window the current one. A shard that has all there is
// is read here, by the goroutine that sends it: its bytes are then still in
// that processor's cache, and reading ahead is what the kernel does, of a file
// as of a connection.
func (s *Stream) next() (err error) {
	s.w.release(s.f.r)
	s.w = nil
	if s.ahead == nil {
		if err = s.f.ctx.Err(); err != nil {
			return err
		}
		if s.w, err = s.f.fetch(); err == nil {
			s.row, s.shard = s.w.First, 0
		}
		return err
	}
	w := <-s.ahead
	switch {
	case w == nil: // the fetcher ends early only with the context
		if err := s.f.ctx.Err(); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF
	case w.err != nil:
		return w.err
	}
	s.taken <- struct{}{}
	s.w, s.row, s.shard = w, w.First, 0
	return nil
}

// piece returns the next bytes of the current window, at most a frame's
// payload, nil at its end.
func (s *Stream) piece() []byte {
	for s.w != nil && s.left > 0 && s.row < s.w.First+int64(s.w.Stripes) {
		row, shard := s.row, s.shard
		if s.shard++; s.shard == int(s.w.Scheme.Data) {
			s.row, s.shard = s.row+1, 0
		}
		if from, to := s.f.span.Bytes(shard, row); from < to {
			p := s.w.Payload(shard, row)[from:to]
			s.left -= int64(len(p))
			return p
		}
	}
	return nil
}

// chunk returns the next verified bytes, at most a frame's payload. They are
// good until the next call. It returns io.EOF at the range's end.
func (s *Stream) chunk() ([]byte, error) {
	for s.err == nil && s.left > 0 {
		if p := s.piece(); p != nil {
			return p, nil
		}
		s.err = s.next()
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, io.EOF
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.rest) == 0 {
		var err error
		if s.rest, err = s.chunk(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// VecWriter is a writer that takes many pieces as one. It may change bufs, but
// not what they hold, and keeps neither.
type VecWriter interface {
	WriteVec(bufs [][]byte) (int64, error)
}

// WriteTo implements io.WriterTo. Payloads go to w from where they were read,
// without a copy: up to 64 KiB in a call of Write, up to a window's, about
// 512 KiB, in one of WriteVec if w is a VecWriter.
func (s *Stream) WriteTo(w io.Writer) (total int64, err error) {
	vec, _ := w.(VecWriter)
	for {
		p := s.rest
		if s.rest = nil; len(p) == 0 {
			if p, err = s.chunk(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, err
			}
		}
		var n int64
		if vec == nil {
			var m int
			m, err = w.Write(p)
			n = int64(m)
		} else {
			s.pieces = append(s.pieces[:0], p)
			for p = s.piece(); p != nil; p = s.piece() {
				s.pieces = append(s.pieces, p)
			}
			n, err = vec.WriteVec(s.pieces)
		}
		total += n
		if err != nil {
			return total, err
		}
	}
}

// Close stops the read and gives back its buffers. It does not wait for
// nodes. Closing again is no error.
func (s *Stream) Close() error {
	f := s.f
	if f == nil {
		return nil
	}
	s.f, s.rest, s.err = nil, nil, errClosed
	if s.cancel != nil {
		s.cancel()
	}
	s.w.release(f.r)
	s.w = nil
	if s.ahead == nil {
		f.close()
		return nil
	}
	select {
	case w := <-s.ahead:
		w.release(f.r)
	default: // what comes later is left to the collector
	}
	return nil
}

var (
	_ io.ReadCloser = (*Stream)(nil)
	_ io.WriterTo   = (*Stream)(nil)
)
