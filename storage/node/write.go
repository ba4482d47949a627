package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/erasure/frame"
	"holdfast/storage"
	"holdfast/storage/volume"
)

// buffer is pooled memory for one packed record: room for its header, then
// frames.
type buffer struct {
	b     []byte // len: header and frames so far
	class int
}

// Buffers come in classes of 1 KiB more than a power of two, so that shards
// of a round size fit with header and checksums.
const (
	minClass = 2  // 5 KiB
	maxClass = 10 // 1 MiB + 1 KiB
)

func classSize(class int) int64 { return 1024<<class + 1024 }

func classFor(n int64) int {
	c := minClass
	for c < maxClass && classSize(c) < n {
		c++
	}
	return c
}

// buffers has one pool for each class.
type buffers [maxClass + 1]sync.Pool

func (p *buffers) get(class int) *buffer {
	if b, ok := p[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, classSize(class)), class: class}
}

func (p *buffers) put(b *buffer) {
	b.b = b.b[:0]
	p[b.class].Put(b)
}

// Create implements storage.Shards.
func (n *Node) Create(ctx context.Context, t *storage.Ticket, id storage.ShardID, size int64) (storage.ShardWriter, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	if t == nil || t.Op != storage.OpWrite && t.Op != storage.OpRepair {
		return nil, fmt.Errorf("node %d: %w", n.cfg.Node, storage.ErrTicket)
	}
	if err := t.Names(id.Blob, t.Op, n.cfg.Node, n.epoch.Load()); err != nil {
		return nil, err
	}
	if err := n.writable(); err != nil {
		return nil, err
	}
	if err := n.space.admit(n, max(size, 0)); err != nil {
		return nil, err
	}
	if !n.writing.begin(id) {
		return nil, fmt.Errorf("shard %s is being written: %w", id, storage.ErrExists)
	}
	w := &writer{n: n, op: t.Op, seed: frame.SeedOf(id.Blob, id.Index, id.Gen)}
	w.r.put.ID, w.r.put.Expiry, w.r.put.Kind = id, t.Expiry, volume.Packed
	_, found, err := n.index.Get(id)
	if err == nil && found {
		err = fmt.Errorf("shard %s: %w", id, storage.ErrExists)
	}
	if err == nil {
		err = w.start(ctx, size)
	}
	if err != nil {
		w.finish()
		return nil, err
	}
	return w, nil
}

// writer takes one shard: in memory while it may be packed, then in a file.
type writer struct {
	n      *Node
	op     storage.Operation // of its ticket
	seed   frame.Seed
	frames int64
	length int64
	buf    *buffer   // of a packed shard
	file   *fileSink // of a large one
	r      record
	err    error
	short  bool // the last frame came
	done   bool
}

// unknownSize is the size a shard gets memory for at first if none is told.
const unknownSize = 64 << 10

func (w *writer) start(ctx context.Context, size int64) error {
	if size > volume.MaxPacked {
		return w.spill(size)
	}
	if size < 0 {
		size = unknownSize
	}
	class := classFor(volume.RecordSpan(size))
	if !w.n.memory.TryAcquire(classSize(class)) {
		if ok, err := w.n.waitMemory(ctx, classSize(class)); err != nil || !ok {
			if err == nil {
				err = w.spill(size)
			}
			return err
		}
	}
	w.buf = w.n.buffers.get(class)
	w.buf.b = w.buf.b[:volume.RecordSize]
	return nil
}

// memoryWait is how long a shard waits for memory. It is bounded because a
// blob's shards wait on several nodes at once, each holding what another
// waits for there.
const memoryWait = 500 * time.Millisecond

func (n *Node) waitMemory(ctx context.Context, bytes int64) (bool, error) {
	wait, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	if n.memory.Acquire(wait, bytes) == nil {
		return true, nil
	}
	return false, ctx.Err()
}

func (w *writer) dropBuffer() {
	if w.buf != nil {
		w.n.memory.Release(classSize(w.buf.class))
		w.n.buffers.put(w.buf)
		w.buf = nil
	}
}

// Renew implements storage.Renewer.
func (w *writer) Renew(t *storage.Ticket) error {
	id := w.r.put.ID
	switch {
	case w.done:
		return fmt.Errorf("shard %s: sealed or aborted before: %w", id, storage.ErrSeal)
	case t == nil:
		return fmt.Errorf("shard %s: %w", id, storage.ErrTicket)
	}
	if err := t.Names(id.Blob, w.op, w.n.cfg.Node, w.n.epoch.Load()); err != nil {
		return err
	}
	w.r.put.Expiry = max(w.r.put.Expiry, t.Expiry)
	return nil
}

// Write implements storage.ShardWriter.
func (w *writer) Write(p []byte) (int, error) {
	if w.err == nil && w.done {
		return 0, fmt.Errorf("shard %s: write after its end: %w", w.r.put.ID, storage.ErrSeal)
	}
	if w.err == nil && w.short && len(p) > 0 {
		w.err = fmt.Errorf("shard %s: frame after a short one: %w", w.r.put.ID, storage.ErrCorrupt)
	}
	if w.err != nil {
		return 0, w.err
	}
	k, err := w.seed.CheckRun(w.frames, p)
	if err != nil {
		w.err = fmt.Errorf("shard %s: frame %d: %w", w.r.put.ID, w.frames+k, storage.ErrCorrupt)
		return 0, w.err
	}
	if err := w.take(p); err != nil {
		w.err = err
		return 0, err
	}
	w.frames += k
	w.length += int64(len(p))
	w.n.load.inFlight.Add(int64(len(p)))
	w.short = len(p)%frame.Stride != 0
	return len(p), nil
}

func (w *writer) take(p []byte) error {
	if w.file == nil {
		if w.grow(w.length + int64(len(p))) {
			w.buf.b = append(w.buf.b, p...)
			return nil
		}
		if err := w.spill(-1); err != nil {
			return err
		}
	}
	return w.file.write(w.n, p)
}

// grow makes room for a packed shard of length bytes and reports whether
// there is: a shard that is too long, or finds no memory, goes to a file. It
// does not wait for memory, since it holds some.
func (w *writer) grow(length int64) bool {
	if length > volume.MaxPacked {
		return false
	}
	need := volume.RecordSpan(length)
	if need <= classSize(w.buf.class) {
		return true
	}
	class := classFor(need)
	if !w.n.memory.TryAcquire(classSize(class)) {
		return false
	}
	b := w.n.buffers.get(class)
	b.b = append(b.b, w.buf.b...)
	w.dropBuffer()
	w.buf = b
	return true
}

// spill moves the shard to a file.
func (w *writer) spill(size int64) error {
	f, err := w.n.newFile(size)
	if err != nil {
		return err
	}
	w.file = f
	w.r.put.Kind = volume.Filed
	if w.buf == nil {
		return nil
	}
	err = f.write(w.n, w.buf.b[volume.RecordSize:])
	w.dropBuffer()
	return err
}

// Seal implements storage.ShardWriter.
func (w *writer) Seal(ctx context.Context, s storage.Seal) error {
	if w.done {
		return fmt.Errorf("shard %s: sealed or aborted before: %w", w.r.put.ID, storage.ErrSeal)
	}
	err := w.err
	if err == nil {
		err = ctx.Err()
	}
	if own := (storage.Seal{Frames: w.frames, Length: w.length, Sum: w.sum()}); err == nil && own != s {
		err = fmt.Errorf("shard %s: %+v was sent, seal is %+v: %w", w.r.put.ID, own, s, storage.ErrSeal)
	}
	if err != nil {
		w.Abort()
		return err
	}
	w.r.put.Seal = s
	if w.file != nil {
		err = w.file.seal(w)
	} else {
		b := w.buf.b
		end := len(b)
		b = b[:volume.RecordSpan(s.Length)]
		clear(b[end:])
		w.r.buf = b
		err = w.n.commit.append(&w.r)
	}
	if err == nil {
		w.n.stats.writes.Add(1)
	}
	w.finish()
	return err
}

func (w *writer) sum() uint64 {
	if w.file != nil {
		return w.file.sealer.Sum()
	}
	if w.buf == nil {
		return 0
	}
	return frame.SumRun(w.buf.b[volume.RecordSize:])
}

// Abort implements storage.ShardWriter.
func (w *writer) Abort() {
	if !w.done {
		w.finish()
	}
}

// finish frees what the writer holds; of a file that was not sealed, that
// too.
func (w *writer) finish() {
	w.done = true
	w.n.load.inFlight.Add(-w.length)
	w.r.buf = nil
	w.dropBuffer()
	if w.file != nil {
		w.file.drop(w.n)
		w.file = nil
	}
	w.n.writing.end(w.r.put.ID)
}
