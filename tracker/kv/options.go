package kv

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"holdfast/internal/compaction"
)

// formatVersion is the pinned on-disk format of every store. Pebble raises it
// one way only, so it changes with the cluster's feature level and never with
// a new release of the library.
const formatVersion = pebble.FormatTableFormatV6

// Cache holds uncompressed blocks of the stores that share it, bounded in
// bytes. Its creator releases it with Unref once its stores are closed.
type Cache = pebble.Cache

const (
	defaultCache    = 32 << 20
	defaultMemTable = 16 << 20
	// memTables is how many memtables a store may hold before writes wait, and
	// usualMemTables how many it holds.
	memTables, usualMemTables = 4, 2
)

// NewCache returns a cache of the given size in bytes for a number of stores
// with memtables of the default size. Pebble takes the memory of memtables
// out of the cache, so that much is added: else a busy store caches nothing.
func NewCache(bytes int64, stores int) *Cache {
	return pebble.NewCache(bytes + int64(stores)*usualMemTables*defaultMemTable)
}

// Options says how a Store is opened. The zero value is usable.
type Options struct {
	// Cache is shared with other stores; nil makes a private one of CacheBytes.
	Cache *Cache
	// CacheBytes is the size of a private block cache; 0 is 32 MiB.
	CacheBytes int64
	// MemTableBytes is the size a memtable grows to; 0 is 16 MiB.
	MemTableBytes uint64
	// MaxOpenFiles bounds open tables; 0 is 500.
	MaxOpenFiles int
	// Compactions bounds concurrent compactions; 0 is 1.
	Compactions int
	// WAL turns the store's own log on. A state store under a replicated log
	// leaves it off: what was not flushed is applied again.
	WAL bool
	// NoFilters leaves out bloom filters, for a store without point reads.
	NoFilters bool
	// NoCompression stores blocks as they are, for rows that do not live long.
	NoCompression bool
	// MustExist refuses to make a new store.
	MustExist bool
	// ReadOnly opens without writing anything.
	ReadOnly bool
	// Logger gets what the engine reports.
	Logger zerolog.Logger
	// OnFailure is called once, on its own goroutine, with the error that
	// ended the store.
	OnFailure func(error)
}

func (o Options) pebble(fs vfs.FS) *pebble.Options {
	or := func(v, def int64) int64 {
		if v > 0 {
			return v
		}
		return def
	}
	memTable := or(int64(o.MemTableBytes), defaultMemTable)
	compactions := int(or(int64(o.Compactions), 1))
	p := &pebble.Options{
		FS:                          fs,
		Cache:                       o.Cache,
		CacheSize:                   or(o.CacheBytes, defaultCache) + usualMemTables*memTable,
		MemTableSize:                uint64(memTable),
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                int(or(int64(o.MaxOpenFiles), 500)),
		MaxManifestFileSize:         8 << 20,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		FlushSplitBytes:             8 << 20,
		BytesPerSync:                512 << 10,
		DisableWAL:                  !o.WAL,
		ErrorIfNotExists:            o.MustExist,
		ReadOnly:                    o.ReadOnly,
		FormatMajorVersion:          formatVersion,
		Comparer:                    pebble.DefaultComparer,
		CompactionConcurrencyRange:  func() (int, int) { return 1, compactions },
	}
	p.Experimental.CompactionScheduler = compaction.New()
	compression := block.FastestCompression
	if o.NoCompression {
		compression = block.NoCompression
	}
	size := int64(4 << 20)
	for i := range p.Levels {
		p.TargetFileSizes[i] = size
		p.Levels[i] = pebble.LevelOptions{
			BlockSize:      8 << 10,
			IndexBlockSize: 64 << 10,
			Compression:    func() *sstable.CompressionProfile { return compression },
		}
		if !o.NoFilters {
			p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
			p.Levels[i].FilterType = pebble.TableFilter
		}
		size = min(size*2, 64<<20)
	}
	return p
}
