package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"holdfast/erasure/frame"
	"holdfast/internal/rpc"
	"holdfast/storage"
)

// Open implements storage.Shards. The stream ends with ctx.
func (s *shards) Open(ctx context.Context, id storage.ShardID, first, n int64) (storage.ShardReader, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &reader{s: s, ctx: ctx, cancel: cancel}
	r.watch = time.AfterFunc(stall, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s%s?first=%d&n=%d", s.addr, shardPath(s.id, id), first, n), nil)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	resp, err := s.n.http.Do(req)
	if err != nil {
		err = r.failed(err)
		_ = r.Close()
		return nil, err
	}
	r.body = resp.Body
	if err := refusal(resp, s.n.known); err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("node %d: %w", s.id, err)
	}
	r.watch.Stop()
	if r.left = resp.ContentLength; r.left < 0 {
		_ = r.Close()
		return nil, fmt.Errorf("node %d: answer without a length: %w", s.id, rpc.ErrProtocol)
	}
	return r, nil
}

var errStalled = fmt.Errorf("no byte came for %v: %w", stall, storage.ErrOffline)

// reader reads the frames of one answer.
type reader struct {
	s      *shards
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	body   io.ReadCloser
	left   int64
	once   sync.Once
}

// ReadFrames implements storage.ShardReader.
func (r *reader) ReadFrames(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	} else if int64(len(p)) < r.left {
		p = p[:len(p)/frame.Stride*frame.Stride]
	}
	if len(p) == 0 {
		return 0, io.ErrShortBuffer
	}
	// The watch runs only while bytes are waited for: between two calls it is
	// the client, who may be slow, that is waited for.
	defer r.watch.Stop()
	have := 0
	for have < len(p) {
		r.watch.Reset(stall)
		n, err := r.body.Read(p[have:])
		have += n
		if err != nil && have < len(p) {
			return 0, r.failed(err)
		}
	}
	r.left -= int64(have)
	return have, nil
}

// failed says what became of the stream.
func (r *reader) failed(err error) error {
	if cause := context.Cause(r.ctx); cause != nil {
		return fmt.Errorf("node %d: %w", r.s.id, cause)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return r.s.network(r.ctx, err)
}

// Close implements io.Closer. A stream that was read to its end leaves its
// connection to the next.
func (r *reader) Close() error {
	r.once.Do(func() {
		r.watch.Stop()
		if r.body != nil {
			_ = r.body.Close()
		}
		r.cancel(context.Canceled)
	})
	return nil
}
