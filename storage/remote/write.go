package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/storage"
)

// Create implements storage.Shards. It returns once the node takes the shard;
// the stream ends with ctx unless it is sealed.
func (s *shards) Create(ctx context.Context, t *storage.Ticket, id storage.ShardID, size int64) (storage.ShardWriter, error) {
	if t == nil {
		return nil, fmt.Errorf("node %d: %w", s.id, storage.ErrTicket)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &writer{s: s, id: id, ticket: *t, ctx: ctx, cancel: cancel,
		runs: make(chan []byte), taken: make(chan error), begun: make(chan struct{}), over: make(chan struct{})}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("http://%s%s?size=%d", s.addr, shardPath(s.id, id), size), body{w})
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set(ticketHeader, ticketText(t))
	req.Header.Set("Expect", "100-continue")
	req.Trailer = http.Header{sealTrailer: nil, renewTrailer: nil}
	w.trailer = req.Trailer
	go w.run(req)
	select {
	case <-w.begun:
		return w, nil
	case <-w.over:
		cancel(nil)
		if w.err == nil {
			w.err = storage.ErrSeal // it was answered before it was sent
		}
		return nil, w.err
	}
}

// writer sends one shard as the body of a PUT.
type writer struct {
	s      *shards
	id     storage.ShardID
	ticket storage.Ticket
	ctx    context.Context
	cancel context.CancelCauseFunc

	runs    chan []byte // from Write to the body; closed at the end
	taken   chan error  // answers each
	begun   chan struct{}
	start   sync.Once
	trailer http.Header // set before runs is closed
	over    chan struct{}
	err     error // of the whole PUT, once over

	short bool // the last frame was written
	ended bool
}

// run makes the request; it ends with its answer.
func (w *writer) run(req *http.Request) {
	defer close(w.over)
	resp, err := w.s.n.http.Do(req)
	if err != nil {
		if cause := context.Cause(w.ctx); cause != nil {
			w.err = fmt.Errorf("node %d: %w", w.s.id, cause)
			return
		}
		w.err = w.s.network(w.ctx, err)
		return
	}
	defer resp.Body.Close()
	if err := refusal(resp, w.s.n.known); err != nil {
		w.err = fmt.Errorf("node %d: %w", w.s.id, err)
	}
}

// body is what the request sends: the runs, as they are written.
type body struct{ w *writer }

// WriteTo implements io.WriterTo, by which the transport copies a body.
func (b body) WriteTo(to io.Writer) (n int64, err error) {
	w := b.w
	w.start.Do(func() { close(w.begun) })
	for {
		select {
		case run, ok := <-w.runs:
			if !ok {
				return n, nil
			}
			m, err := to.Write(run)
			n += int64(m)
			w.taken <- err
			if err != nil {
				return n, err
			}
		case <-w.ctx.Done():
			return n, context.Cause(w.ctx)
		}
	}
}

// Read implements io.Reader; the transport uses WriteTo.
func (b body) Read([]byte) (int, error) { return 0, errors.New("remote: a body is written, not read") }

// Close implements io.Closer.
func (body) Close() error { return nil }

var errShort = fmt.Errorf("frame after the last one: %w", storage.ErrCorrupt)

// Write implements storage.ShardWriter.
func (w *writer) Write(p []byte) (int, error) {
	switch rest := len(p) % frame.Stride; {
	case w.ended:
		return 0, fmt.Errorf("shard %s: %w", w.id, storage.ErrSeal)
	case len(p) == 0:
		return 0, nil
	case w.short, rest != 0 && rest <= erasure.SumSize:
		w.Abort()
		return 0, fmt.Errorf("shard %s: %w", w.id, errShort)
	case rest != 0:
		w.short = true
	}
	stop := time.AfterFunc(stall, func() { w.cancel(errStalled) })
	defer stop.Stop()
	select {
	case w.runs <- p:
	case <-w.over:
		return 0, w.failed()
	}
	select {
	case err := <-w.taken:
		if err != nil {
			w.cancel(nil) // the answer may have said why
			<-w.over
			return 0, w.failed()
		}
		return len(p), nil
	case <-w.over:
		return 0, w.failed()
	}
}

func (w *writer) failed() error {
	if w.err != nil {
		return w.err
	}
	return fmt.Errorf("shard %s was answered before its seal: %w", w.id, storage.ErrSeal)
}

// Renew implements storage.Renewer.
func (w *writer) Renew(t *storage.Ticket) error {
	if w.ended {
		return fmt.Errorf("shard %s: %w", w.id, storage.ErrSeal)
	}
	if t == nil {
		return storage.ErrTicket
	}
	for _, g := range w.ticket.Nodes {
		if g.Node == w.s.id {
			if err := t.Names(w.id.Blob, w.ticket.Op, g.Node, g.Epoch); err != nil {
				return err
			}
		}
	}
	w.trailer.Set(renewTrailer, ticketText(t))
	return nil
}

// Seal implements storage.ShardWriter.
func (w *writer) Seal(ctx context.Context, s storage.Seal) error {
	if w.ended {
		return fmt.Errorf("shard %s: %w", w.id, storage.ErrSeal)
	}
	if err := ctx.Err(); err != nil {
		w.Abort()
		return err
	}
	w.end(sealText(s))
	select {
	case <-w.over:
		w.cancel(nil)
		return w.err
	case <-ctx.Done():
		w.cancel(ctx.Err())
		<-w.over
		return w.err
	case <-time.After(stall):
		w.cancel(errStalled)
		<-w.over
		return w.err
	}
}

// end closes the body with a trailer.
func (w *writer) end(trailer string) {
	w.ended = true
	w.trailer.Set(sealTrailer, trailer)
	close(w.runs)
}

// abortTime is how long an abort waits for its answer.
const abortTime = time.Second

// Abort implements storage.ShardWriter. It waits a moment, so that the node
// has let go of the shard's name when it returns.
func (w *writer) Abort() {
	if w.ended {
		return
	}
	w.end(abort)
	stop := time.AfterFunc(abortTime, func() { w.cancel(context.Canceled) })
	defer stop.Stop()
	<-w.over
	w.cancel(nil)
}
