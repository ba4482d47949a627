package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// fakeNode keeps shards in memory and fails where its hooks say so. A hook
// may block: on its ctx, as a remote node does, or on a channel of the test,
// as a hung disk does. It scribbles over what it was given to write.
type fakeNode struct {
	storage.Shards // what the package does not use panics
	id             storage.NodeID
	renews         bool // its writers are storage.Renewers

	onCreate, onWrite, onSeal, onOpen, onRead, onDelete func(ctx context.Context, n int) error

	afterSeal func() error // the answer, once the shard is sealed

	mu      sync.Mutex
	shards  map[storage.ShardID][]byte
	expiry  map[storage.ShardID]int64
	open    int // writers not ended
	aborted int
	opens   int
	reads   int
	readers int // not closed
}

func (n *fakeNode) Node() storage.NodeID { return n.id }

func hook(h func(context.Context, int) error, ctx context.Context, k int) error {
	if h == nil {
		return ctx.Err()
	}
	return h(ctx, k)
}

func (n *fakeNode) Create(ctx context.Context, t *storage.Ticket, id storage.ShardID, size int64) (storage.ShardWriter, error) {
	if err := hook(n.onCreate, ctx, 0); err != nil {
		return nil, err
	}
	if err := t.Names(id.Blob, storage.OpWrite, n.id, 1); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.shards[id]; ok {
		return nil, storage.ErrExists
	}
	n.open++
	w := &fakeWriter{n: n, ctx: ctx, id: id, expiry: t.Expiry}
	if n.renews {
		return renewer{w}, nil
	}
	return w, nil
}

type fakeWriter struct {
	n      *fakeNode
	ctx    context.Context
	id     storage.ShardID
	data   []byte
	writes int
	ended  bool
	expiry int64
}

type renewer struct{ *fakeWriter }

func (w renewer) Renew(t *storage.Ticket) error { w.expiry = t.Expiry; return nil }

func (w *fakeWriter) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > 1<<20 {
		return 0, fmt.Errorf("write of %d bytes", len(p))
	}
	w.writes++
	err := hook(w.n.onWrite, w.ctx, w.writes)
	w.data = append(w.data, p...)
	for i := range p {
		p[i] = 0xEE
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *fakeWriter) Seal(ctx context.Context, s storage.Seal) error {
	if err := hook(w.n.onSeal, ctx, 0); err != nil {
		w.Abort()
		return err
	}
	frames, err := frame.SeedOf(w.id.Blob, w.id.Index, w.id.Gen).CheckRun(0, w.data)
	if err != nil || frames != s.Frames || int64(len(w.data)) != s.Length || frame.SumRun(w.data) != s.Sum {
		w.Abort()
		return errors.Join(storage.ErrSeal, err)
	}
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	w.ended = true
	w.n.open--
	w.n.shards[w.id], w.n.expiry[w.id] = w.data, w.expiry
	if w.n.afterSeal != nil {
		return w.n.afterSeal()
	}
	return nil
}

func (w *fakeWriter) Abort() {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	if !w.ended {
		w.ended = true
		w.n.open--
		w.n.aborted++
	}
}

func (n *fakeNode) Open(ctx context.Context, id storage.ShardID, first, k int64) (storage.ShardReader, error) {
	n.mu.Lock()
	n.opens++
	n.mu.Unlock()
	if err := hook(n.onOpen, ctx, int(first)); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	data, ok := n.shards[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, storage.ErrNotHere)
	}
	start := min(first*frame.Stride, int64(len(data)))
	end := int64(len(data))
	if k >= 0 {
		end = min(end, start+k*frame.Stride)
	}
	n.readers++
	return &fakeReader{n: n, ctx: ctx, data: data[start:end], at: int(first)}, nil
}

type fakeReader struct {
	n      *fakeNode
	ctx    context.Context
	data   []byte
	at     int
	closed bool
}

func (r *fakeReader) ReadFrames(p []byte) (int, error) {
	if err := hook(r.n.onRead, r.ctx, r.at); err != nil {
		return 0, err
	}
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(r.data))
	if n < len(r.data) {
		n -= n % frame.Stride
	}
	copy(p, r.data[:n])
	r.data = r.data[n:]
	r.at += (n + frame.Stride - 1) / frame.Stride
	r.n.mu.Lock()
	r.n.reads += n
	r.n.mu.Unlock()
	return n, nil
}

func (r *fakeReader) Close() error {
	r.n.mu.Lock()
	defer r.n.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.n.readers--
	}
	return nil
}

// cluster is nodes 1..n, and what a gateway has to read and write them.
type cluster struct {
	nodes  []*fakeNode // nodes[i] has id i+1
	off    map[storage.NodeID]bool
	writer *Writer
	reader *Reader
	grants uint64
}

// newCluster waits for nodes as long as a busy machine may take.
func newCluster(n int) *cluster {
	long := time.Minute
	return newTimed(n, Config{Straggler: long, StragglerMax: long, Stall: long, Idle: long, Hedge: long, HedgeMax: long})
}

// newTimed is for tests in synthetic time.
func newTimed(n int, cfg Config) *cluster {
	c := &cluster{off: map[storage.NodeID]bool{}}
	for i := range n {
		c.nodes = append(c.nodes, &fakeNode{id: storage.NodeID(i + 1), shards: map[storage.ShardID][]byte{}, expiry: map[storage.ShardID]int64{}})
	}
	d := Deps{Clock: clock.System{}, Codecs: stripe.NewCodecs()}
	c.writer, c.reader = NewWriter(cfg, d, nil), NewReader(cfg, d)
	return c
}

func (c *cluster) Shards(id storage.NodeID) (storage.Shards, error) {
	if id < 1 || int(id) > len(c.nodes) || c.off[id] {
		return nil, storage.ErrOffline
	}
	return c.nodes[id-1], nil
}

// grant places a blob on the first nodes.
func (c *cluster) grant(scheme string) *tracker.Grant {
	s, err := erasure.ParseScheme(scheme)
	if err != nil {
		panic(err)
	}
	c.grants++
	g := &tracker.Grant{Blob: storage.MakeBlobID(1, 7, 1000, c.grants), Scheme: s}
	g.Ticket = storage.Ticket{Blob: g.Blob, Op: storage.OpWrite, Expiry: 1 << 50}
	for i := range s.Width() {
		g.Shards = append(g.Shards, storage.Placement{Node: storage.NodeID(i + 1), Gen: 1})
		g.Ticket.Nodes = append(g.Ticket.Nodes, storage.Grantee{Node: storage.NodeID(i + 1), Epoch: 1})
	}
	return g
}

func (c *cluster) write(t testing.TB, scheme string, data []byte) tracker.Blob {
	t.Helper()
	b, holes, err := c.writer.Write(t.Context(), c.grant(scheme), c, bytes.NewReader(data), int64(len(data)))
	if err != nil || len(holes) != 0 {
		t.Fatalf("%s, %d bytes: %v, holes %v", scheme, len(data), err, holes)
	}
	return b.Blob
}

func (c *cluster) shard(b *tracker.Blob, i int) []byte {
	p := b.Shards[i]
	return c.nodes[p.Node-1].shards[storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}]
}

// read reads a range by WriteTo and by Read, which must agree.
func (c *cluster) read(b tracker.Blob, off, n int64, o Options) ([]byte, error) {
	o.Nodes = c
	s, err := c.reader.Open(context.Background(), b, off, n, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var out bytes.Buffer
	if _, err := io.CopyN(&out, struct{ io.Reader }{s}, 1000); err != nil && err != io.EOF {
		return out.Bytes(), err
	}
	_, err = s.WriteTo(&out)
	return out.Bytes(), err
}

// idle checks that nothing was left open.
func (c *cluster) idle(t testing.TB) {
	t.Helper()
	c.writer.Wait()
	c.reader.Wait()
	for _, n := range c.nodes {
		n.mu.Lock()
		if n.open != 0 || n.readers != 0 {
			t.Errorf("node %d: %d writers and %d readers are left", n.id, n.open, n.readers)
		}
		n.mu.Unlock()
	}
}

func (c *cluster) stored() (n int) {
	for _, node := range c.nodes {
		node.mu.Lock()
		n += len(node.shards)
		node.mu.Unlock()
	}
	return n
}

func content(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	for i := 0; i < n; i += 8 {
		v := rng.Uint64()
		for j := i; j < min(n, i+8); j++ {
			b[j], v = byte(v), v>>8
		}
	}
	return b
}

func mustScheme(s string) erasure.Scheme {
	v, err := erasure.ParseScheme(s)
	if err != nil {
		panic(err)
	}
	return v
}
