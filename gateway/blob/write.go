package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/stripe"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// Writer writes blobs. Safe for concurrent use.
type Writer struct {
	cfg    Config
	clock  clock.Clock
	codecs *stripe.Codecs
	renew  func(ctx context.Context, t *storage.Ticket) (*storage.Ticket, error)
	pools  table[erasure.Scheme, batchPool]
	pieces [len(pieceSizes)]sync.Pool // of *[]byte
	groups table[uint16, latency]     // from the last byte handed to a node to its seal
	wg     sync.WaitGroup
}

type batchPool struct {
	once sync.Once
	batches
}

// NewWriter returns a writer. renew extends the ticket of a stream that runs
// long (tracker.Scheduler.Renew); it may be nil.
func NewWriter(cfg Config, d Deps, renew func(context.Context, *storage.Ticket) (*storage.Ticket, error)) *Writer {
	return &Writer{cfg: cfg, clock: d.Clock, codecs: d.Codecs, renew: renew}
}

// Wait returns when no shard is being written any more, those included that
// writes have left behind.
func (w *Writer) Wait() { w.wg.Wait() }

// Write streams src into the shards of the grant: one grant, one attempt.
// size is the length of src, negative if it is not known; a source that ends
// elsewhere is erasure.ErrLength, one over erasure.MaxBlob
// erasure.ErrTooLarge. Memory is taken as the bytes of src come; a
// *bytes.Reader has them all.
//
// On nil at least a quorum of shards is sealed, and durable; every other one
// is a hole in the returned blob, told in holes. src was read up to io.EOF
// before anything was sealed: any other error of src is returned as it is,
// and no shard exists. On other errors shards may have been sealed, and are
// deleted as far as their nodes answer; nothing refers to them, and nothing
// may: commit only what was returned with nil.
func (w *Writer) Write(ctx context.Context, grant *tracker.Grant, nodes storage.Nodes, src io.Reader, size int64) (tracker.NewBlob, []storage.Damage, error) {
	return w.WriteWithin(ctx, nil, grant, nodes, src, size)
}

// Memory bounds what a write holds. It is used by one goroutine.
type Memory interface {
	// Take waits until the write may hold n bytes. It is asked at most once,
	// before Try; its error ends the write and is returned as it is.
	Take(ctx context.Context, n int64) error
	// Try asks for n bytes in all from now on, more than before or less, and
	// does not wait. Less than Take gave is never refused.
	Try(n int64) bool
}

// WriteWithin is Write under a bound on its memory. A source that is slow
// holds little of it; how it goes on is judged with each batch.
func (w *Writer) WriteWithin(ctx context.Context, m Memory, grant *tracker.Grant, nodes storage.Nodes, src io.Reader, size int64) (tracker.NewBlob, []storage.Damage, error) {
	if size > erasure.MaxBlob {
		return tracker.NewBlob{}, nil, erasure.ErrTooLarge
	}
	codec, err := w.codecs.Codec(grant.Scheme)
	if err != nil {
		return tracker.NewBlob{}, nil, err
	}
	u := &upload{w: w, grant: grant, nodes: nodes, ticket: grant.Ticket, enc: codec.NewEncoder(size), size: size, fast: true}
	if err := u.begin(ctx); err != nil {
		return tracker.NewBlob{}, nil, err
	}
	pool := w.pools.get(grant.Scheme)
	pool.once.Do(func() { pool.init(codec) })
	u.pool = &pool.batches
	src, release, err := u.ahead(ctx, m, src)
	if err != nil {
		return tracker.NewBlob{}, nil, err
	}
	defer release()
	batch := u.first()
	last, err := u.fill(src, batch)
	switch {
	case err != nil:
		u.pool.put(batch)
		return tracker.NewBlob{}, nil, err
	case last && len(u.senders) == 1:
		err = u.single(ctx, batch)
	default:
		err = u.stream(ctx, src, batch, last)
	}
	if err != nil {
		return tracker.NewBlob{}, nil, fmt.Errorf("blob %s: %w", grant.Blob, err)
	}
	blob, holes := u.result()
	return blob, holes, nil
}

// upload is one Write.
type upload struct {
	w       *Writer
	grant   *tracker.Grant
	nodes   storage.Nodes
	pool    *batches
	enc     *stripe.Encoder
	size    int64
	renewAt time.Time
	memory  Memory // nil: no bound, or within what is free
	head    *head  // of the source; nil if that is in memory
	fast    bool   // the source was, of late
	senders []sender
	wake    chan struct{} // capacity 1: senders' states have changed
	cancel  context.CancelFunc

	mu     sync.Mutex // guards what follows and the senders' states
	ticket storage.Ticket
	failed bool // nothing will refer to the blob
}

// begin checks the grant and names its shards to the encoder.
func (u *upload) begin(ctx context.Context) error {
	g := u.grant
	if len(g.Shards) != g.Scheme.Width() {
		return fmt.Errorf("blob %s: grant of %d shards for %s: %w", g.Blob, len(g.Shards), g.Scheme, ErrQuorum)
	}
	live := 0
	for _, p := range g.Shards {
		if p.Node != 0 {
			live++
		}
	}
	if live < g.Scheme.Quorum() {
		return fmt.Errorf("blob %s: grant of %d nodes for %s: %w", g.Blob, live, g.Scheme, ErrQuorum)
	}
	u.senders = make([]sender, 0, live)
	for i, p := range g.Shards {
		if p.Node != 0 {
			u.enc.Shard(g.Blob, uint8(i), p.Gen)
			u.senders = append(u.senders, sender{u: u, index: uint8(i), place: p})
		}
	}
	u.planRenewal()
	return nil
}

// single writes a blob of one shard and one batch without a goroutine.
func (u *upload) single(ctx context.Context, b *stripe.Batch) error {
	s := &u.senders[0]
	s.state, s.err = running, s.once(ctx, b.Shard(int(s.index)))
	if s.err != nil {
		s.state, s.exited = failed, true
		u.fail(ctx)
		return u.lost(ctx)
	}
	s.state, s.expiry = sealed, u.ticket.Expiry
	u.pool.put(b) // not after an error: a node that was given up may hold it
	return nil
}

// stream sends b, and what follows it in src, to all nodes.
func (u *upload) stream(ctx context.Context, src io.Reader, b *stripe.Batch, last bool) error {
	u.wake = make(chan struct{}, 1)
	u.start(ctx, b, last)
	held := make([]*stripe.Batch, 0, 2) // handed out, by number
	err := func() (err error) {
		for n := 1; ; n++ {
			if n > 1 {
				u.hand(b, n, last)
			}
			held = append(held, b)
			if last {
				return u.await(ctx, func(s *sender) bool { return s.state == sealed }, true)
			}
			u.renewTicket(ctx)
			// Two batches at most: the next is filled while this one is sent.
			// A slow source takes longer to fill it than the nodes to take
			// this one, so that one is enough.
			sent := n - 1
			if !u.fast {
				sent = n
			}
			if err := u.await(ctx, func(s *sender) bool { return s.done >= sent }, false); err != nil {
				return err
			}
			b, held = u.reuse(held, n-sent, sent)
			if last, err = u.fill(src, b); err != nil {
				u.pool.put(b)
				return err
			}
		}
	}()
	if err != nil {
		u.abort()
	}
	u.settle(held)
	if err != nil {
		u.fail(ctx)
	}
	return err
}

// settle ends the senders' contexts and gives back the batches that nobody
// holds.
func (u *upload) settle(held []*stripe.Batch) {
	u.cancel()
	u.mu.Lock()
	defer u.mu.Unlock()
	free := true
	for i := range u.senders {
		s := &u.senders[i]
		free = free && (s.exited || s.state == sealed)
		if s.state == running {
			s.state, s.err = dropped, ErrStalled
		}
	}
	if free {
		for _, b := range held {
			u.pool.put(b)
		}
	}
}

// result makes the blob of what was sealed.
func (u *upload) result() (tracker.NewBlob, []storage.Damage) {
	g := u.grant
	blob := tracker.NewBlob{Blob: tracker.Blob{ID: g.Blob, Scheme: g.Scheme, Length: u.enc.Length(), Shards: make([]storage.Placement, len(g.Shards))}}
	var holes []storage.Damage
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.senders {
		s := &u.senders[i]
		if s.state != sealed {
			holes = append(holes, storage.Damage{Shard: s.id(), Node: s.place.Node, Reason: s.err.Error()})
			continue
		}
		blob.Shards[s.index] = s.place
		if blob.Expiry == 0 || s.expiry < blob.Expiry {
			blob.Expiry = s.expiry
		}
	}
	for i, p := range g.Shards {
		if p.Node == 0 {
			holes = append(holes, storage.Damage{Shard: storage.ShardID{Blob: g.Blob, Index: uint8(i)}, Reason: "no node was granted"})
		}
	}
	return blob, holes
}

// lost is the error of a write whose quorum cannot be reached any more.
func (u *upload) lost(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var causes []error
	full, live := true, 0
	for i := range u.senders {
		s := &u.senders[i]
		if s.err == nil {
			live++
			continue
		}
		full = full && errors.Is(s.err, storage.ErrNoSpace)
		causes = append(causes, fmt.Errorf("node %d: %w", s.place.Node, s.err))
	}
	cause := errors.Join(causes...)
	if full && cause != nil {
		return cause
	}
	return fmt.Errorf("%d of %d shards: %w: %w", live, u.grant.Scheme.Quorum(), ErrQuorum, cause)
}
