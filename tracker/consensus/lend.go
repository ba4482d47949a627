package consensus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"holdfast/tracker"
)

// lent is what this replica keeps for others that are being seeded, each for
// HoldTime from when it was asked for last.
type lent struct {
	mu   sync.Mutex
	held map[string]*holding // by holder
}

// maxHolders bounds what is lent at once.
const maxHolders = 8

// holding is one holder's: a run of the log, and perhaps a checkpoint.
type holding struct {
	until time.Time
	unpin func()
	copy  *checkpoint
}

// checkpoint is a directory of hard links beside the state.
type checkpoint struct {
	fs    vfs.FS
	id    string
	dir   string
	sizes map[string]int64

	use sync.RWMutex // read-held by readers; held when it goes
	off bool
}

// drop gives up what is held. It does not wait: the log may be waiting for a
// disk, and readers for the network.
func (h *holding) drop() {
	go func() {
		h.unpin()
		if h.copy != nil {
			h.copy.remove()
		}
	}()
}

func (c *checkpoint) remove() {
	c.use.Lock()
	defer c.use.Unlock()
	c.off = true
	_ = c.fs.RemoveAll(c.dir) // a start sweeps what is left
}

// put gives a holder h in place of what it had.
func (l *lent) put(holder string, h *holding) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.held[holder]
	if old == nil && len(l.held) >= maxHolders {
		return fmt.Errorf("%w: too many replicas are being seeded", tracker.ErrUnavailable)
	}
	l.held[holder] = h
	if old != nil {
		old.drop()
	}
	return nil
}

func (l *lent) release(holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[holder]; h != nil {
		delete(l.held, holder)
		h.drop()
	}
}

func (l *lent) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for holder, h := range l.held {
		if now.After(h.until) {
			delete(l.held, holder)
			h.drop()
		}
	}
}

func (l *lent) clear() { l.expire(time.Unix(1<<40, 0)) }

// find returns a checkpoint, which its reader must leave by calling done.
func (l *lent) find(id string) (c *checkpoint, done func(), err error) {
	l.mu.Lock()
	for _, h := range l.held {
		if h.copy != nil && h.copy.id == id {
			c = h.copy
		}
	}
	l.mu.Unlock()
	if c != nil && c.use.TryRLock() {
		if !c.off {
			return c, c.use.RUnlock, nil
		}
		c.use.RUnlock()
	}
	return nil, nil, ErrNoCheckpoint
}

// Checkpoint implements Peer.
func (r *Replica) Checkpoint(_ context.Context, q *CheckpointRequest) (*Manifest, error) {
	v, err := r.served(q.Cluster)
	if err != nil {
		return nil, err
	}
	h := v.fsm.state.Load()
	if !h.acquire() {
		return nil, tracker.ErrUnavailable
	}
	defer h.release()
	at, err := readPosition(h)
	if err != nil {
		return nil, err
	}
	hold := &holding{until: r.cfg.Clock.Now().Add(HoldTime), unpin: v.store.Pin(max(at.index, 1))}
	c := &checkpoint{fs: v.FS, id: randomName(), dir: v.path(v.snaps.name("checkpoint")), sizes: make(map[string]int64)}
	hold.copy = c
	m := &Manifest{Checkpoint: c.id, Server: v.server, Recovery: v.recovery, Index: at.index}
	err = h.Checkpoint(c.dir)
	if err == nil {
		m.Files, err = c.list()
	}
	if err == nil {
		err = r.lent.put(q.Holder, hold)
	}
	if err != nil {
		hold.drop()
		return nil, err
	}
	return m, nil
}

func randomName() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (c *checkpoint) list() ([]CheckpointFile, error) {
	names, err := c.fs.List(c.dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []CheckpointFile
	for _, name := range names {
		info, err := c.fs.Stat(c.fs.PathJoin(c.dir, name))
		if err != nil {
			return nil, err
		}
		c.sizes[name] = info.Size()
		out = append(out, CheckpointFile{name, info.Size()})
	}
	return out, nil
}

// open opens a file of the checkpoint.
func (c *checkpoint) open(name string) (vfs.File, int64, error) {
	size, ok := c.sizes[name]
	if !ok {
		return nil, 0, fmt.Errorf("%w: it has no file %q", ErrNoCheckpoint, name)
	}
	f, err := c.fs.Open(c.fs.PathJoin(c.dir, name))
	return f, size, err
}

// ReadFile implements Peer.
func (r *Replica) ReadFile(_ context.Context, q *ReadFileRequest) (*FileRange, error) {
	if q.Cluster != r.cfg.ClusterID {
		return nil, foreign(r.cfg.ClusterID)
	}
	c, done, err := r.lent.find(q.Checkpoint)
	if err != nil {
		return nil, err
	}
	defer done()
	f, size, err := c.open(q.Name)
	if err != nil {
		return nil, err
	}
	if q.Offset < 0 || q.Offset > size || q.Bytes < 0 || q.Bytes > MaxRead {
		return nil, errors.Join(tracker.ErrInvalid, f.Close())
	}
	b := make([]byte, min(int64(q.Bytes), size-q.Offset))
	n, err := f.ReadAt(b, q.Offset)
	if n == len(b) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return &FileRange{Data: b}, nil
}

// SumFile implements Peer.
func (r *Replica) SumFile(ctx context.Context, q *SumFileRequest) (*FileSum, error) {
	if q.Cluster != r.cfg.ClusterID {
		return nil, foreign(r.cfg.ClusterID)
	}
	c, done, err := r.lent.find(q.Checkpoint)
	if err != nil {
		return nil, err
	}
	defer done()
	f, _, err := c.open(q.Name)
	if err != nil {
		return nil, err
	}
	var sum xxh3.Hasher
	_, err = io.CopyBuffer(onlyWriter{&sum}, &ctxReader{ctx, f}, make([]byte, 256<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return &FileSum{Sum: sum.Sum64()}, nil
}

// Hold implements Peer.
func (r *Replica) Hold(_ context.Context, q *HoldRequest) (*Done, error) {
	v, err := r.served(q.Cluster)
	if err != nil {
		return nil, err
	}
	until := r.cfg.Clock.Now().Add(HoldTime)
	r.lent.mu.Lock()
	h := r.lent.held[q.Holder]
	if h != nil && (q.Checkpoint == "" || h.copy != nil && h.copy.id == q.Checkpoint) {
		h.until = until
		r.lent.mu.Unlock()
		return &Done{}, nil
	}
	r.lent.mu.Unlock()
	if q.Checkpoint != "" {
		return nil, ErrNoCheckpoint
	}
	h = &holding{until: until, unpin: v.store.Pin(max(q.Index, 1))}
	if first, _ := v.store.FirstIndex(); first > q.Index+1 {
		h.drop()
		return nil, conflict("the log after entry %d is not here any more", q.Index)
	}
	if err := r.lent.put(q.Holder, h); err != nil {
		h.drop()
		return nil, err
	}
	return &Done{}, nil
}

// Release implements Peer.
func (r *Replica) Release(_ context.Context, q *ReleaseRequest) (*Done, error) {
	if q.Cluster != r.cfg.ClusterID {
		return nil, foreign(r.cfg.ClusterID)
	}
	r.lent.release(q.Holder)
	return &Done{}, nil
}
