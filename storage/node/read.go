package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// Open implements storage.Shards. The reader is also an io.WriterTo, which
// sends the frames with sendfile where the kernel can.
func (n *Node) Open(ctx context.Context, id storage.ShardID, first, count int64) (storage.ShardReader, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	n.pins.enter(id)
	r, err := n.openPinned(id, first, count)
	if err != nil {
		n.pins.leave(id)
		return nil, err
	}
	return r, nil
}

// reader reads the frames of one shard. It pins the shard until it is closed.
type reader struct {
	n        *Node
	h        *handle
	id       storage.ShardID
	off, end int64 // in the file
	closed   atomic.Bool
}

// openPinned finds and opens a shard. A rewrite may move it meanwhile and
// remove the volume where it was; then it is looked up again.
func (n *Node) openPinned(id storage.ShardID, first, count int64) (*reader, error) {
	for try := 0; ; try++ {
		e, ok, err := n.index.Get(id)
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", id, err)
		}
		if !ok {
			return nil, fmt.Errorf("shard %s: %w", id, storage.ErrNotHere)
		}
		h, base, err := n.openEntry(&e)
		if errors.Is(err, os.ErrNotExist) && try < 3 {
			continue
		}
		if vfs.NoDescriptors(err) { // says nothing of the shard
			return nil, fmt.Errorf("shard %s: %w: %w", id, storage.ErrOffline, err)
		}
		if err != nil {
			return nil, n.readError(id, err)
		}
		r := &reader{n: n, h: h, id: id}
		from := min(max(first, 0), e.Seal.Frames) * frame.Stride
		to := e.Seal.Length
		if count >= 0 {
			to = min(to, from+min(count, erasure.MaxBlob/erasure.FrameSize+1)*frame.Stride)
		}
		r.off, r.end = base+min(from, to), base+to
		return r, nil
	}
}

// openEntry opens the file that holds a shard and says where it begins there.
func (n *Node) openEntry(e *index.Entry) (*handle, int64, error) {
	if e.Kind == volume.Filed {
		h, err := n.openShardFile(e.ID, e.File)
		return h, 0, err
	}
	h, err := n.openVolume(e.Loc.Volume)
	return h, e.Loc.Offset + volume.RecordSize, err
}

// readError counts and reports a shard whose bytes cannot be had.
func (n *Node) readError(id storage.ShardID, err error) error {
	n.stats.readErrors.Add(1)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	n.damaged(id, err)
	return fmt.Errorf("shard %s: %w: %w", id, storage.ErrCorrupt, err)
}

// ReadFrames implements storage.ShardReader: one read of the file for as many
// frames as fit, straight into p.
func (r *reader) ReadFrames(p []byte) (int, error) {
	rest := r.end - r.off
	if rest <= 0 {
		return 0, io.EOF
	}
	k := int64(len(p))
	if k < rest {
		k -= k % frame.Stride
	} else {
		k = rest
	}
	if k == 0 {
		return 0, io.ErrShortBuffer
	}
	if m, err := r.h.ReadAt(p[:k], r.off); int64(m) < k {
		return 0, r.n.readError(r.id, err)
	}
	r.off += k
	return int(k), nil
}

// WriteTo sends the frames that are left. It implements io.WriterTo.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	k, err := r.h.SendTo(w, r.off, r.end-r.off)
	r.off += k
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = r.n.readError(r.id, err)
	}
	return k, err
}

// Len is the number of bytes that are left.
func (r *reader) Len() int64 { return r.end - r.off }

// Close implements io.Closer.
func (r *reader) Close() error {
	if !r.closed.Swap(true) {
		r.n.files.release(r.h)
		r.n.pins.leave(r.id)
	}
	return nil
}

// Stat implements storage.Shards.
func (n *Node) Stat(ctx context.Context, id storage.ShardID) (storage.ShardInfo, error) {
	if err := n.enter(ctx); err != nil {
		return storage.ShardInfo{}, err
	}
	e, ok, err := n.index.Get(id)
	if err != nil {
		return storage.ShardInfo{}, err
	}
	if !ok {
		return storage.ShardInfo{}, fmt.Errorf("shard %s: %w", id, storage.ErrNotHere)
	}
	return e.Info(), nil
}

// Digest implements storage.Shards.
func (n *Node) Digest(ctx context.Context, r storage.IDRange) (storage.Digest, error) {
	var d storage.Digest
	if err := n.enter(ctx); err != nil {
		return d, err
	}
	err := n.index.Scan(r, storage.ShardID{}, func(e *index.Entry) bool {
		if e.Quarantined == 0 {
			d.Count++
			d.XOR ^= frame.Name(e.ID.Blob, e.ID.Index, e.ID.Gen)
		}
		return d.Count%1024 != 0 || ctx.Err() == nil
	})
	return d, errors.Join(err, ctx.Err())
}

// List implements storage.Shards.
func (n *Node) List(ctx context.Context, r storage.IDRange, after storage.ShardID, limit int) ([]storage.ShardInfo, error) {
	if err := n.enter(ctx); err != nil || limit <= 0 {
		return nil, err
	}
	out := make([]storage.ShardInfo, 0, min(limit, 1024))
	err := n.index.Scan(r, after, func(e *index.Entry) bool {
		out = append(out, e.Info())
		return len(out) < limit
	})
	return out, err
}

// Status implements storage.Shards. A disk that hangs does not hold it up for
// long.
func (n *Node) Status(ctx context.Context) (storage.Status, error) {
	if err := n.enter(ctx); err != nil {
		return storage.Status{}, err
	}
	t := n.index.Totals()
	s := storage.Status{
		Node: n.cfg.Node, Dir: n.dir,
		Used: t.Bytes, Shards: t.Shards, Quarantined: t.Quarantined,
		Syncs: n.stats.syncs.Load(), Writes: n.stats.writes.Load(),
		ReadErrors: n.stats.readErrors.Load(), Bad: n.stats.bad.Load(),
		ScrubbedAt: n.scrub.finished(),
		InFlight:   n.load.inFlight.Load(), LatencyMicros: n.load.sync.get(n.clock.Now()).Microseconds(),
	}
	err := n.writable()
	if uerr := n.look(); err == nil {
		err = uerr
	}
	if err == nil {
		err = n.calls.hanging(n.limits.HangAfter)
	}
	s.Total, s.Free = n.space.total.Load(), n.space.free.Load()
	if err == nil && s.Free == 0 && !n.space.unknown.Load() {
		err = storage.ErrNoSpace
	}
	if err == nil {
		err = n.guard.stopped()
	}
	if err != nil {
		s.Err = err.Error()
		s.ReadOnly = !errors.Is(err, storage.ErrMassDisown) && !errors.Is(err, errHangs)
	}
	s.Incarnation, s.Frozen = n.incarnation()
	s.Frozen = s.Frozen || n.guard.stopped() != nil
	return s, nil
}
