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
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	pvfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

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
	dir     string
	db      *pebble.DB
	log     zerolog.Logger
	failure atomic.Pointer[error]
	synced  atomic.Uint64 // the last synced change that is durable
	life    sync.RWMutex  // read-held by calls of the engine, so that Close waits for them
	closed  bool          // guarded by life

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
	memTableBytes = 8 << 20
	memTables     = 4
)

// Open opens the index, making it if the directory is empty.
func Open(o Options) (*Index, error) {
	x := &Index{dir: o.Dir, log: o.Logger}
	if o.CacheBytes <= 0 {
		o.CacheBytes = cacheBytes
	}
	fs := vfs.Ordered(o.FS)
	if o.DiskFull != nil {
		fs = pvfs.OnDiskFull(fs, o.DiskFull)
	}
	po := &pebble.Options{
		FS: fs,
		// Memtables are taken out of the cache.
		CacheSize:                   o.CacheBytes + memTables*memTableBytes,
		MemTableSize:                memTableBytes,
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
		Logger:                      engineLogger{x},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				x.log.Warn().Err(err).Str("dir", x.dir).Msg("index reports a background error")
			},
			// Rot that a read meets is that read's error; by default Pebble would
			// call Fatalf, and the reader's goroutine would end without a word.
			DataCorruption: func(i pebble.DataCorruptionInfo) { _ = x.fail(i.Details) },
		},
	}
	for i := range po.Levels {
		po.Levels[i] = pebble.LevelOptions{BlockSize: 8 << 10, FilterPolicy: bloom.FilterPolicy(10), FilterType: pebble.TableFilter}
	}
	err := x.rescue(func() (err error) {
		x.db, err = pebble.Open(o.Dir, po)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", o.Dir, err)
	}
	if err := x.load(); err != nil {
		return nil, fmt.Errorf("index %s: %w", o.Dir, errors.Join(err, x.Close()))
	}
	return x, nil
}

// ErrClosed is returned after Close.
var ErrClosed = fault.New(fault.Unavailable, "storage.index-closed", "index is closed")

// Close waits for calls in progress and closes the database. After a failure
// of the engine it leaves it open, since the engine may hold its own locks.
func (x *Index) Close() error {
	if x.Err() != nil {
		return nil
	}
	x.life.Lock()
	defer x.life.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	return x.rescue(x.db.Close)
}

// Err returns the error that ended the index, nil while it is well.
func (x *Index) Err() error {
	if p := x.failure.Load(); p != nil {
		return *p
	}
	return nil
}

func (x *Index) fail(err error) error {
	err = fmt.Errorf("index %s: %w", x.dir, err)
	if x.failure.CompareAndSwap(nil, &err) {
		x.log.Error().Err(err).Msg("index has failed; the node takes no writes until it is restarted")
	}
	return x.Err()
}

// fatal carries an error of the engine out of a call that cannot return one.
type fatal struct{ error }

// guard runs a call of the engine that writes; there are none after a failure.
func (x *Index) guard(call func() error) error {
	if err := x.Err(); err != nil {
		return err
	}
	return x.guardRead(call)
}

// guardRead runs a call of the engine that reads, which goes on after a
// failure. Guards do not nest.
func (x *Index) guardRead(call func() error) error {
	x.life.RLock()
	defer x.life.RUnlock()
	if x.closed {
		return fmt.Errorf("index %s: %w", x.dir, ErrClosed)
	}
	return x.rescue(call)
}

// rescue turns the panics by which the engine reports I/O errors into the
// error that ends the index.
func (x *Index) rescue(call func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			panic(r)
		case fatal:
			err = r.error
		case error:
			err = x.fail(r)
		default:
			panic(r)
		}
	}()
	return call()
}

// engineLogger is Pebble's way to talk. Pebble calls Fatalf where it cannot
// go on and takes a commit for done if it returns, so it never does.
type engineLogger struct{ x *Index }

func (l engineLogger) Infof(string, ...any) {}

func (l engineLogger) Errorf(format string, args ...any) {
	l.x.log.Warn().Str("dir", l.x.dir).Str("text", fmt.Sprintf(format, args...)).Msg("index reports an error")
}

func (l engineLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if e, ok := a.(error); ok {
			err = fmt.Errorf("%s: %w", err, e)
			break
		}
	}
	err = l.x.fail(err)
	if strings.HasPrefix(format, "pebble: fatal commit error") {
		panic(fatal{err})
	}
	runtime.Goexit()
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
	err = x.guardRead(func() (err error) {
		e, ok, err = x.get(id)
		return err
	})
	return e, ok, err
}

// get is Get within a guard.
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
	return x.guardRead(func() error {
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
