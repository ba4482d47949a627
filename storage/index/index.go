// Package index is the storage node's index: where each shard is, what is in
// quarantine, what space waits to be freed and how full each volume is, in
// one Pebble database. It can be rebuilt from the volumes, and so is not
// synced on the write path: it always holds a prefix of what happened, and
// Position says up to which record.
//
// It knows nothing of files and formats of volumes. Goroutines are Pebble's.
// Files: the database's directory.
package index

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	pvfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"holdfast/internal/compaction"
	"holdfast/internal/engine"
	"holdfast/internal/fault"
	"holdfast/internal/vfs"
	"holdfast/storage"
)

// formatVersion is the pinned on-disk format of the database, which Pebble
// raises one way only.
const formatVersion = pebble.FormatTableFormatV6

// Options says how an index is opened.
type Options struct {
	FS         pvfs.FS
	Dir        string
	CacheBytes int64 // block cache; 0 is 16 MiB
	// DiskFull is called when a write of the database finds the disk full;
	// the write is tried once more when it returns. It may be nil.
	DiskFull func()
	Logger   zerolog.Logger

	memTable uint64 // bytes; 0 is memTableBytes
}

// VolumeStat counts the records of a volume that the index refers to. Bytes
// are spans: headers and padding included.
type VolumeStat struct {
	Live    int64 // bytes
	Records int64
}

// Totals counts the shards of a node. Bytes are stored bytes.
type Totals struct {
	Shards, Bytes, Quarantined int64
}

// Index is safe for concurrent use.
type Index struct {
	dir    string
	engine *engine.Guard
	db     *pebble.DB
	synced atomic.Uint64 // the last synced change that is durable
	life   sync.RWMutex  // read-held by calls of the engine, so that Close waits for them
	closed bool          // guarded by life

	mu struct {
		sync.Mutex // also held while a batch is applied, so that counters and rows agree; never while one is synced
		volumes    map[uint32]VolumeStat
		totals     Totals
		pos        Loc
		strict     uint64 // synced changes applied so far
	}
}

const (
	cacheBytes    = 16 << 20
	memTableBytes = 4 << 20 // the log keeps up to six files of this size for use again
	memTables     = 4
)

// Open opens the index, making it if the directory is empty.
func Open(o Options) (*Index, error) {
	x := &Index{dir: o.Dir}
	if o.CacheBytes <= 0 {
		o.CacheBytes = cacheBytes
	}
	if o.memTable == 0 {
		o.memTable = memTableBytes
	}
	fs := o.FS
	if o.DiskFull != nil {
		fs = pvfs.OnDiskFull(fs, o.DiskFull)
	}
	po := &pebble.Options{
		FS: fs,
		// Memtables are taken out of the cache.
		CacheSize:                   o.CacheBytes + memTables*memTableBytes,
		MemTableSize:                o.memTable,
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                256,
		MaxManifestFileSize:         8 << 20,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                512 << 10,
		WALBytesPerSync:             512 << 10,
		FormatMajorVersion:          formatVersion,
		Comparer:                    pebble.DefaultComparer,
	}
	po.Experimental.CompactionScheduler = compaction.New()
	for i := range po.Levels {
		po.Levels[i] = pebble.LevelOptions{BlockSize: 8 << 10, FilterPolicy: bloom.FilterPolicy(10), FilterType: pebble.TableFilter}
	}
	var err error
	x.engine, x.db, err = engine.Open(o.Dir, po, engine.Config{Name: "index " + o.Dir, Logger: o.Logger,
		OnFailure: func(err error) {
			o.Logger.Error().Err(err).Msg("index has failed; the node takes no writes until it is opened anew")
		},
		Transient: scarce})
	if err != nil {
		return nil, err
	}
	if err := x.load(); err != nil {
		return nil, fmt.Errorf("index %s: %w", o.Dir, errors.Join(err, x.Close()))
	}
	return x, nil
}

// ErrClosed is returned after Close.
var ErrClosed = fault.New(fault.Unavailable, "storage.index-closed", "index is closed")

// scarce tells an error that goes away once there is space, or another file
// was closed.
func scarce(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || vfs.NoDescriptors(err)
}

// Close waits for calls in progress and closes the database. After a failure
// it does not wait for the engine, which may hold its own locks for ever.
func (x *Index) Close() error {
	x.life.Lock()
	defer x.life.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	return x.engine.Close()
}

// Err returns the error that ended the index, nil while it is well. Reads go
// on after it.
func (x *Index) Err() error { return x.engine.Err() }

// Held reports whether the index has failed such that its directory cannot be
// opened again by this process.
func (x *Index) Held() bool { return x.engine.Held() }

// Gone is closed once the index was closed and its directory can be opened
// again; after a failure that may be a while after Close, or never.
func (x *Index) Gone() <-chan struct{} { return x.engine.Gone() }

// use runs calls of the engine while the index is not closed. Uses do not nest.
func (x *Index) use(call func() error) error {
	x.life.RLock()
	defer x.life.RUnlock()
	if x.closed {
		return fmt.Errorf("index %s: %w", x.dir, ErrClosed)
	}
	return call()
}

// Totals returns the node's counters.
func (x *Index) Totals() Totals {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.totals
}

// Volume returns the counters of a volume.
func (x *Index) Volume(n uint32) VolumeStat {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.volumes[n]
}

// Position is where the first record begins that the index may not hold.
func (x *Index) Position() Loc {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.pos
}

// Get returns the entry of a shard and whether there is one.
func (x *Index) Get(id storage.ShardID) (e Entry, ok bool, err error) {
	err = x.use(func() (err error) {
		e, ok, err = x.get(id)
		return err
	})
	return e, ok, err
}

// get is Get within a use.
func (x *Index) get(id storage.ShardID) (e Entry, ok bool, err error) {
	var key [shardKeySize]byte
	putShardKey(&key, id)
	v, closer, err := x.db.Get(key[:])
	if errors.Is(err, pebble.ErrNotFound) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, err
	}
	e, err = decodeEntry(id, v)
	return e, err == nil, errors.Join(err, closer.Close())
}

// Scan calls fn for the entries of a range in name order, after a shard if
// that is not zero, until it returns false.
func (x *Index) Scan(r storage.IDRange, after storage.ShardID, fn func(*Entry) bool) error {
	lo, hi := rangeBounds(r)
	if after != (storage.ShardID{}) {
		var key [shardKeySize]byte
		putShardKey(&key, after)
		if next := append(key[:], 0); string(next) > string(lo) {
			lo = next
		}
	}
	return x.iterate(lo, hi, func(k, v []byte) (bool, error) {
		e, err := decodeEntry(shardOfKey(k), v)
		if err != nil {
			return false, err
		}
		return fn(&e), nil
	})
}

func (x *Index) iterate(lo, hi []byte, fn func(k, v []byte) (bool, error)) error {
	return x.use(func() error {
		it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			v, err := it.ValueAndErr()
			if err == nil {
				ok, err = fn(it.Key(), v)
			}
			if err != nil || !ok {
				return errors.Join(err, it.Close())
			}
		}
		return errors.Join(it.Error(), it.Close())
	})
}
