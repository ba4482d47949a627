// Package node is the storage node: one data directory that keeps shards.
//
// # Files
//
//	holdfast.id             identity
//	holdfast.lock           held while the node is open
//	volumes/NNNNNNNN.vol    shards of up to 1 MiB, append-only
//	blobs/DDDDDD/...        larger shards, one file each
//	blobs/tmp/...           files being written; removed at start
//	index/                  where each shard is (holdfast/storage/index)
//	ballast                 room for the index when the disk is full
//
// The formats are in holdfast/storage/volume. The index can be removed while
// the node is closed; it is rebuilt from the volumes.
//
// # Goroutines
//
// Open starts none of its own (Pebble, under the index, has some). Writes are
// grouped by the writers themselves: the first to seal leads, writes and
// syncs for all that have queued meanwhile, and hands over. Run owns two
// loops: space (freeing, rewriting) and scrub. Keep runs it, and opens the
// directory anew after a failure of its disk. Status asks the disk in one, for
// which Close waits.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"holdfast/erasure/stripe"
	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/rebuild"
	"holdfast/storage/volume"
)

// Limits bounds a node. The zero value of a field is its default.
type Limits struct {
	VolumeSize   int64         // bytes at which a volume is closed; 1 GiB, at least 64 MiB in production
	BufferBytes  int64         // memory of packed shards being written; 64 MiB
	OpenFiles    int           // cached handles; 256
	IndexCache   int64         // bytes; 16 MiB
	DisownShards int64         // most shards disowned in an hour; 10,000
	DisownBytes  int64         // bytes that may be disowned in an hour even if over 1 % of the node; 64 MiB
	Quarantine   time.Duration // how long a disowned shard is kept; 24 h
	ScrubRate    int64         // bytes a second; 32 MiB, -1 without bound
	ScrubEvery   time.Duration // from the start of one pass to the next; 7 days, -1 never
	RewriteRate  int64         // bytes a second; 64 MiB, -1 without bound
	SpaceEvery   time.Duration // between looks for space to free; 1 minute
	HangAfter    time.Duration // for which a call on the disk may last until Status tells of it; 10 s
	ReopenEvery  time.Duration // how long a node whose disk failed rests before it is tried again, at first; 1 minute
}

// DefaultLimits returns the limits of production.
func DefaultLimits() Limits {
	return Limits{
		VolumeSize: 1 << 30, BufferBytes: 64 << 20, OpenFiles: 256, IndexCache: 16 << 20,
		DisownShards: 10_000, DisownBytes: 64 << 20, Quarantine: 24 * time.Hour,
		ScrubRate: 32 << 20, ScrubEvery: 7 * 24 * time.Hour,
		RewriteRate: 64 << 20, SpaceEvery: time.Minute, HangAfter: 10 * time.Second, ReopenEvery: time.Minute,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	or := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	or(&l.VolumeSize, d.VolumeSize)
	or(&l.BufferBytes, d.BufferBytes)
	or(&l.IndexCache, d.IndexCache)
	or(&l.DisownShards, d.DisownShards)
	or(&l.DisownBytes, d.DisownBytes)
	or(&l.ScrubRate, d.ScrubRate)
	or(&l.RewriteRate, d.RewriteRate)
	or((*int64)(&l.Quarantine), int64(d.Quarantine))
	or((*int64)(&l.ScrubEvery), int64(d.ScrubEvery))
	or((*int64)(&l.SpaceEvery), int64(d.SpaceEvery))
	or((*int64)(&l.HangAfter), int64(d.HangAfter))
	or((*int64)(&l.ReopenEvery), int64(d.ReopenEvery))
	if l.OpenFiles == 0 {
		l.OpenFiles = d.OpenFiles
	}
	l.VolumeSize = max(l.VolumeSize, 2*volume.MaxPacked)
	l.BufferBytes = max(l.BufferBytes, 2*volume.MaxPacked)
	return l
}

// Config is what a node is opened with.
type Config struct {
	FS          vfs.FS // nil: the machine's
	Dir         string
	Cluster     string
	Node        storage.NodeID
	Incarnation string // of the catalog; empty if it is not known yet
	Epoch       uint32 // that tickets must name
	Logger      zerolog.Logger
	Clock       clock.Clock   // nil: the machine's; for waiting only
	Reserve     int64         // bytes kept for the index and for deletes; 0: 5 % of the file system, -1: none
	Nodes       storage.Nodes // for Rebuild; may be nil
	Codecs      *stripe.Codecs
	Limits      Limits
	// Damage is told of each bad or missing shard that a read, a rewrite or
	// the scrubber finds. It must not block; it may be nil.
	Damage func(storage.Damage)
}

// Validate returns an error that names a field without which, or with whose
// value, no node can be opened.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("node: Dir is empty")
	case c.Cluster == "":
		return errors.New("node: Cluster is empty")
	case c.Node == 0:
		return errors.New("node: Node is 0, which is no node")
	case c.Limits.VolumeSize > maxVolume:
		return fmt.Errorf("node: Limits.VolumeSize is %d, at most %d", c.Limits.VolumeSize, int64(maxVolume))
	}
	return nil
}

// maxVolume is what 32 bits of slots reach.
const maxVolume = volume.Slot << 32

// Node is a storage.Shards over one directory.
type Node struct {
	cfg    Config
	fs     vfs.FS
	dir    string
	limits Limits
	log    zerolog.Logger
	clock  clock.Clock
	lock   io.Closer
	index  *index.Index

	volumes volumes
	commit  committer
	blobs   blobDirs
	files   fileCache
	pins    pins
	writing writing
	space   space
	calls   calls
	guard   disownGuard
	memory  *semaphore.Weighted
	buffers buffers
	codecs  *stripe.Codecs
	scrub   scrubState
	kick    chan struct{} // something was deleted
	rebuilt bool          // the index was empty at start; only Open's
	maint   sync.Mutex    // one maintenance at a time; holds I/O by design

	epoch  atomic.Uint32
	closed atomic.Bool
	stats  struct{ syncs, writes, readErrors, bad atomic.Uint64 }
	load   load
	mu     struct {
		sync.Mutex
		identity Identity
		frozen   bool  // the catalog has another incarnation
		failed   error // an I/O error: no more writes until the directory is opened anew
	}
}

var _ storage.Shards = (*Node)(nil)

// Open opens a formatted directory, recovers what a crash left and returns
// its node. ErrLocked if another has it open, ErrNoIdentity if it is not
// formatted, ErrIdentity if it is another's.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := newNode(cfg)
	if _, err := n.fs.Stat(n.dir); err != nil {
		return nil, fmt.Errorf("node directory: %w", err)
	}
	// The identity is read first, so that an unmounted directory stays empty.
	id, err := ReadIdentity(n.fs, n.dir)
	if err == nil {
		err = id.check(n.dir, &cfg)
	}
	if err != nil {
		return nil, err
	}
	if n.lock, err = n.fs.Lock(n.fs.PathJoin(n.dir, lockName)); err != nil {
		return nil, fmt.Errorf("%s: %w: %w; stop the other process", n.dir, ErrLocked, err)
	}
	if err := n.open(ctx, id); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func newNode(cfg Config) *Node {
	n := &Node{cfg: cfg, fs: cfg.FS, dir: cfg.Dir, limits: cfg.Limits.withDefaults(), clock: cfg.Clock, codecs: cfg.Codecs, kick: make(chan struct{}, 1)}
	if n.fs == nil {
		n.fs = vfs.OS()
	}
	if n.clock == nil {
		n.clock = clock.System{}
	}
	if n.codecs == nil {
		n.codecs = stripe.NewCodecs()
	}
	n.log = cfg.Logger.With().Uint32("node", uint32(cfg.Node)).Logger()
	n.memory = semaphore.NewWeighted(n.limits.BufferBytes)
	n.epoch.Store(cfg.Epoch)
	n.commit.n = n
	n.files.init(n.limits.OpenFiles)
	return n
}

func (n *Node) path(elem ...string) string {
	return n.fs.PathJoin(append([]string{n.dir}, elem...)...)
}

// Close waits for writes in progress and closes the directory. Readers that
// are open keep their files.
func (n *Node) Close() error {
	if n.closed.Swap(true) {
		return nil
	}
	var errs []error
	n.commit.exclusive(func() { errs = append(errs, n.volumes.close()) })
	n.maint.Lock()
	defer n.maint.Unlock()
	n.files.close()
	if n.index != nil {
		errs = append(errs, n.index.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	n.calls.close()
	return errors.Join(errs...)
}

// enter begins a call.
func (n *Node) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.closed.Load() {
		return fmt.Errorf("node %d: %w", n.cfg.Node, storage.ErrOffline)
	}
	return nil
}

// Node implements storage.Shards.
func (n *Node) Node() storage.NodeID { return n.cfg.Node }

// SetEpoch sets the epoch that tickets must name.
func (n *Node) SetEpoch(e uint32) { n.epoch.Store(e) }

// Identity returns what the directory says of itself.
func (n *Node) Identity() Identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.identity
}

// RaiseEpoch is SetEpoch that never lowers it.
func (n *Node) RaiseEpoch(e uint32) {
	for {
		old := n.epoch.Load()
		if e <= old || n.epoch.CompareAndSwap(old, e) {
			return
		}
	}
}

// SetIncarnation makes the node follow the catalog's incarnation: deletes and
// disowns, which were refused, are taken again. Only fsck --adopt calls it
// with another than the node knows. Durable on nil.
func (n *Node) SetIncarnation(inc string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := n.mu.identity
	id.Incarnation = inc
	// Under the lock: two that race must leave what memory says on disk.
	if err := WriteIdentity(n.fs, n.dir, id); err != nil {
		return err
	}
	n.mu.identity, n.mu.frozen = id, false
	return nil
}

// checkIncarnation refuses to drop anything for a catalog that the node does
// not know.
func (n *Node) checkIncarnation() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.frozen {
		return fmt.Errorf("node %d knows %q, the catalog is %q: %w", n.cfg.Node, n.mu.identity.Incarnation, n.cfg.Incarnation, storage.ErrIncarnation)
	}
	return nil
}

// Rebuild implements storage.Shards.
func (n *Node) Rebuild(ctx context.Context, r *storage.Rebuild) (storage.Seal, error) {
	return rebuild.Run(ctx, n.codecs, n, n.cfg.Nodes, r)
}

// damaged counts and reports a bad shard.
func (n *Node) damaged(id storage.ShardID, reason error) {
	n.stats.bad.Add(1)
	n.log.Warn().Stringer("shard", id).Err(reason).Msg("shard is damaged")
	if n.cfg.Damage != nil {
		n.cfg.Damage(storage.Damage{Shard: id, Node: n.cfg.Node, Reason: reason.Error()})
	}
}
