// Package memory is the storage node as a fake: the whole contract over maps,
// without a disk and without damage of its own. Tests inject what goes wrong
// through Fail, Rot and SetOffline. It starts no goroutines.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/storage"
	"holdfast/storage/rebuild"
)

// Node is a storage.Shards in memory.
type Node struct {
	id     storage.NodeID
	nodes  storage.Nodes
	codecs *stripe.Codecs

	mu struct {
		sync.Mutex
		epoch   uint32
		offline bool
		fail    func(op string, id storage.ShardID) error
		shards  map[storage.ShardID]*shard
		open    map[storage.ShardID]bool // being written
		writes  uint64
		limit   int64 // bytes, 0 without bound
		used    int64
	}
}

type shard struct {
	info   storage.ShardInfo
	frames []byte
}

var _ storage.Shards = (*Node)(nil)

// New returns an empty node at epoch 1. nodes may be nil if nothing is
// rebuilt.
func New(id storage.NodeID, nodes storage.Nodes) *Node {
	n := &Node{id: id, nodes: nodes, codecs: stripe.NewCodecs()}
	n.mu.epoch = 1
	n.mu.shards = map[storage.ShardID]*shard{}
	n.mu.open = map[storage.ShardID]bool{}
	return n
}

// SetEpoch sets the epoch that tickets must name.
func (n *Node) SetEpoch(e uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.epoch = e
}

// SetOffline makes every call answer ErrOffline, or not.
func (n *Node) SetOffline(off bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.offline = off
}

// SetLimit bounds the stored bytes; writes over it are ErrNoSpace.
func (n *Node) SetLimit(bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.limit = bytes
}

// Fail sets a hook that is asked before "create", "write", "seal", "open",
// "read" and "delete"; an error is returned in place of the call. Blob-wide
// calls do not ask.
func (n *Node) Fail(hook func(op string, id storage.ShardID) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.fail = hook
}

// Rot flips the bits of mask in byte off of a stored shard.
func (n *Node) Rot(id storage.ShardID, off int64, mask byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.mu.shards[id]
	if s == nil || off >= int64(len(s.frames)) {
		return false
	}
	s.frames = slices.Clone(s.frames) // readers keep what they have
	s.frames[off] ^= mask
	return true
}

// Lose drops a shard as a disk would: without being told to.
func (n *Node) Lose(id storage.ShardID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(id)
}

func (n *Node) drop(id storage.ShardID) {
	if s := n.mu.shards[id]; s != nil {
		n.mu.used -= int64(len(s.frames))
		delete(n.mu.shards, id)
	}
}

// enter begins a call: with n.mu held on nil.
func (n *Node) enter(ctx context.Context, op string, id storage.ShardID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	if n.mu.offline {
		n.mu.Unlock()
		return fmt.Errorf("node %d: %w", n.id, storage.ErrOffline)
	}
	if hook := n.mu.fail; hook != nil && op != "" {
		n.mu.Unlock()
		if err := hook(op, id); err != nil {
			return err
		}
		n.mu.Lock()
	}
	return nil
}

// Node implements storage.Shards.
func (n *Node) Node() storage.NodeID { return n.id }

// Create implements storage.Shards.
func (n *Node) Create(ctx context.Context, t *storage.Ticket, id storage.ShardID, size int64) (storage.ShardWriter, error) {
	if err := n.enter(ctx, "create", id); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	if err := checkTicket(t, id.Blob, n.id, n.mu.epoch); err != nil {
		return nil, err
	}
	if n.mu.shards[id] != nil || n.mu.open[id] {
		return nil, fmt.Errorf("shard %s: %w", id, storage.ErrExists)
	}
	if n.mu.limit > 0 && n.mu.used+max(size, 0) >= n.mu.limit {
		return nil, fmt.Errorf("node %d: %w", n.id, storage.ErrNoSpace)
	}
	n.mu.open[id] = true
	return &writer{n: n, id: id, op: t.Op, expiry: t.Expiry, seed: frame.SeedOf(id.Blob, id.Index, id.Gen)}, nil
}

func checkTicket(t *storage.Ticket, blob storage.BlobID, id storage.NodeID, epoch uint32) error {
	if t == nil || t.Op != storage.OpWrite && t.Op != storage.OpRepair {
		return fmt.Errorf("node %d: %w", id, storage.ErrTicket)
	}
	return t.Names(blob, t.Op, id, epoch)
}

type writer struct {
	n      *Node
	id     storage.ShardID
	op     storage.Operation
	expiry int64
	seed   frame.Seed
	frames []byte
	count  int64
	err    error
	done   bool
}

// Renew implements storage.Renewer.
func (w *writer) Renew(t *storage.Ticket) error {
	switch {
	case w.done:
		return fmt.Errorf("shard %s: sealed or aborted before: %w", w.id, storage.ErrSeal)
	case t == nil:
		return fmt.Errorf("shard %s: %w", w.id, storage.ErrTicket)
	}
	w.n.mu.Lock()
	epoch := w.n.mu.epoch
	w.n.mu.Unlock()
	if err := t.Names(w.id.Blob, w.op, w.n.id, epoch); err != nil {
		return err
	}
	w.expiry = max(w.expiry, t.Expiry)
	return nil
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err == nil && w.done {
		w.err = fmt.Errorf("shard %s: write after seal: %w", w.id, storage.ErrSeal)
	}
	if w.err == nil {
		if w.err = w.n.enter(context.Background(), "write", w.id); w.err == nil {
			w.n.mu.Unlock()
		}
	}
	if w.err == nil && len(w.frames)%frame.Stride != 0 && len(p) > 0 {
		w.err = fmt.Errorf("shard %s: frame after a short one: %w", w.id, storage.ErrCorrupt)
	}
	if w.err != nil {
		return 0, w.err
	}
	k, err := w.seed.CheckRun(w.count, p)
	if err != nil {
		w.err = fmt.Errorf("shard %s: %w: %w", w.id, storage.ErrCorrupt, err)
		return 0, w.err
	}
	w.count += k
	w.frames = append(w.frames, p...)
	return len(p), nil
}

func (w *writer) Seal(ctx context.Context, s storage.Seal) error {
	if w.done {
		return fmt.Errorf("shard %s: sealed or aborted before: %w", w.id, storage.ErrSeal)
	}
	err := w.err
	if own := (storage.Seal{Frames: w.count, Length: int64(len(w.frames)), Sum: frame.SumRun(w.frames)}); err == nil && own != s {
		err = fmt.Errorf("shard %s: %w", w.id, storage.ErrSeal)
	}
	if err == nil {
		err = w.n.enter(ctx, "seal", w.id)
	}
	if err != nil {
		w.Abort()
		return err
	}
	n := w.n
	defer n.mu.Unlock()
	w.done = true
	delete(n.mu.open, w.id)
	if n.mu.limit > 0 && n.mu.used+s.Length > n.mu.limit {
		return fmt.Errorf("node %d: %w", n.id, storage.ErrNoSpace)
	}
	n.mu.shards[w.id] = &shard{storage.ShardInfo{ID: w.id, Seal: s, Expiry: w.expiry}, w.frames}
	n.mu.used += s.Length
	n.mu.writes++
	return nil
}

func (w *writer) Abort() {
	if w.done {
		return
	}
	w.done, w.frames = true, nil
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	delete(w.n.mu.open, w.id)
}

// Open implements storage.Shards.
func (n *Node) Open(ctx context.Context, id storage.ShardID, first, count int64) (storage.ShardReader, error) {
	if err := n.enter(ctx, "open", id); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	s := n.mu.shards[id]
	if s == nil {
		return nil, fmt.Errorf("shard %s: %w", id, storage.ErrNotHere)
	}
	from := min(max(first, 0)*frame.Stride, int64(len(s.frames)))
	to := int64(len(s.frames))
	if count >= 0 {
		to = min(to, from+min(count, erasure.MaxBlob)*frame.Stride)
	}
	return &reader{n: n, id: id, rest: s.frames[from:to]}, nil
}

type reader struct {
	n    *Node
	id   storage.ShardID
	rest []byte
}

func (r *reader) ReadFrames(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if err := r.n.enter(context.Background(), "read", r.id); err != nil {
		return 0, err
	}
	r.n.mu.Unlock()
	k := min(len(p), len(r.rest))
	if k < len(r.rest) {
		k -= k % frame.Stride
	}
	if k == 0 {
		return 0, io.ErrShortBuffer
	}
	copy(p, r.rest[:k])
	r.rest = r.rest[k:]
	return k, nil
}

func (r *reader) Close() error { return nil }

// Stat implements storage.Shards.
func (n *Node) Stat(ctx context.Context, id storage.ShardID) (storage.ShardInfo, error) {
	if err := n.enter(ctx, "", id); err != nil {
		return storage.ShardInfo{}, err
	}
	defer n.mu.Unlock()
	s := n.mu.shards[id]
	if s == nil {
		return storage.ShardInfo{}, fmt.Errorf("shard %s: %w", id, storage.ErrNotHere)
	}
	return s.info, nil
}

// Delete implements storage.Shards.
func (n *Node) Delete(ctx context.Context, ids []storage.ShardID) error {
	for _, id := range ids {
		if err := n.enter(ctx, "delete", id); err != nil {
			return err
		}
		n.drop(id)
		n.mu.Unlock()
	}
	return nil
}

// Disown implements storage.Shards. The fake has no bound on it.
func (n *Node) Disown(ctx context.Context, ids []storage.ShardID, now time.Time) error {
	return n.mark(ctx, ids, func(i *storage.ShardInfo) {
		if i.Quarantined == 0 {
			i.Quarantined = now.UnixMilli()
		}
	})
}

// Revive implements storage.Shards.
func (n *Node) Revive(ctx context.Context, ids []storage.ShardID) error {
	return n.mark(ctx, ids, func(i *storage.ShardInfo) { i.Quarantined = 0 })
}

func (n *Node) mark(ctx context.Context, ids []storage.ShardID, set func(*storage.ShardInfo)) error {
	if err := n.enter(ctx, "", storage.ShardID{}); err != nil {
		return err
	}
	defer n.mu.Unlock()
	for _, id := range ids {
		if s := n.mu.shards[id]; s != nil {
			set(&s.info)
		}
	}
	return nil
}

// EndQuarantine deletes what was disowned at or before now minus grace.
func (n *Node) EndQuarantine(now time.Time, grace time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, s := range n.mu.shards {
		if q := s.info.Quarantined; q != 0 && q <= now.Add(-grace).UnixMilli() {
			n.drop(id)
		}
	}
}

// Digest implements storage.Shards.
func (n *Node) Digest(ctx context.Context, r storage.IDRange) (d storage.Digest, err error) {
	infos, err := n.sorted(ctx, r)
	for _, i := range infos {
		if i.Quarantined == 0 {
			d.Count++
			d.XOR ^= frame.Name(i.ID.Blob, i.ID.Index, i.ID.Gen)
		}
	}
	return d, err
}

// List implements storage.Shards.
func (n *Node) List(ctx context.Context, r storage.IDRange, after storage.ShardID, limit int) ([]storage.ShardInfo, error) {
	infos, err := n.sorted(ctx, r)
	if after != (storage.ShardID{}) {
		infos = slices.DeleteFunc(infos, func(i storage.ShardInfo) bool { return compare(i.ID, after) <= 0 })
	}
	return infos[:min(max(limit, 0), len(infos))], err
}

func compare(a, b storage.ShardID) int {
	if c := bytes.Compare(a.Blob[:], b.Blob[:]); c != 0 {
		return c
	}
	if a.Index != b.Index {
		return int(a.Index) - int(b.Index)
	}
	return int(int64(a.Gen) - int64(b.Gen))
}

func (n *Node) sorted(ctx context.Context, r storage.IDRange) ([]storage.ShardInfo, error) {
	if err := n.enter(ctx, "", storage.ShardID{}); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	var out []storage.ShardInfo
	for id, s := range n.mu.shards {
		in := bytes.Compare(id.Blob[:], r.From[:]) >= 0
		if r.To != (storage.BlobID{}) {
			in = in && bytes.Compare(id.Blob[:], r.To[:]) < 0
		}
		if in {
			out = append(out, s.info)
		}
	}
	slices.SortFunc(out, func(a, b storage.ShardInfo) int { return compare(a.ID, b.ID) })
	return out, nil
}

// Status implements storage.Shards. The disk is the limit, or 1 TiB.
func (n *Node) Status(ctx context.Context) (storage.Status, error) {
	if err := n.enter(ctx, "", storage.ShardID{}); err != nil {
		return storage.Status{}, err
	}
	defer n.mu.Unlock()
	s := storage.Status{Node: n.id, Dir: "memory", Total: 1 << 40, Used: n.mu.used, Shards: int64(len(n.mu.shards)),
		Writes: n.mu.writes, Syncs: n.mu.writes}
	if n.mu.limit > 0 {
		s.Total = n.mu.limit
	}
	s.Free = max(0, s.Total-s.Used)
	s.ReadOnly = s.Free == 0
	for _, sh := range n.mu.shards {
		if sh.info.Quarantined != 0 {
			s.Quarantined++
		}
	}
	return s, nil
}

// Adopt implements storage.Shards: a node in memory follows any catalog.
func (n *Node) Adopt(context.Context, string) error { return nil }

// Rebuild implements storage.Shards.
func (n *Node) Rebuild(ctx context.Context, r *storage.Rebuild) (storage.Seal, error) {
	return rebuild.Run(ctx, n.codecs, n, n.nodes, r)
}
