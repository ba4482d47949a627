package index

import (
	"encoding/binary"
	"errors"
	"maps"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/storage"
	"holdfast/storage/volume"
)

// Free is space of a deleted shard that was not given back yet: a record in a
// volume, or a file if File is not 0.
type Free struct {
	ID   storage.ShardID
	Loc  Loc
	Span int64
	File uint64
}

// Hole returns the whole blocks of the record's payload: what a punch frees.
// The header stays. n is 0 if there are none.
func (f *Free) Hole() (off, n int64) {
	const mask = volume.Block - 1
	off = (f.Loc.Offset + volume.RecordSize + mask) &^ mask
	return off, max(0, (f.Loc.Offset+f.Span)&^mask-off)
}

func freeKey(l Loc) []byte {
	k := binary.BigEndian.AppendUint32([]byte{rowFree}, l.Volume)
	return binary.BigEndian.AppendUint64(k, uint64(l.Offset))
}

func (f *Free) key() []byte {
	if f.File != 0 {
		return binary.BigEndian.AppendUint64([]byte{rowFreeFile}, f.File)
	}
	return freeKey(f.Loc)
}

func decodeFree(k, v []byte) (f Free, err error) {
	switch {
	case len(k) == 13 && k[0] == rowFree && len(v) == 9+idSize:
		f.Loc = Loc{binary.BigEndian.Uint32(k[1:]), int64(binary.BigEndian.Uint64(k[5:]))}
		f.ID = getID(v[9:])
		return f, getCounters(v[:9], &f.Span)
	case len(k) == 9 && k[0] == rowFreeFile && len(v) == 1+idSize && v[0] == rowVersion:
		f.File = binary.BigEndian.Uint64(k[1:])
		f.ID = getID(v[1:])
		return f, nil
	}
	return f, ErrRow
}

// Frees returns up to limit pieces of space to free, after the given one
// (zero: from the start).
func (x *Index) Frees(after Free, limit int) (fs []Free, err error) {
	lo := []byte{rowFree}
	if after != (Free{}) {
		lo = append(after.key(), 0)
	}
	err = x.iterate(lo, []byte{rowFreeFile + 1}, func(k, v []byte) (bool, error) {
		f, err := decodeFree(k, v)
		fs = append(fs, f)
		return len(fs) < limit, err
	})
	return fs, err
}

// Freed forgets space that was given back. It is not synced: freeing again
// does no harm, since neither places nor file names are used twice.
func (x *Index) Freed(fs []Free) error {
	return x.change(false, func(c *change) error {
		for i := range fs {
			if err := c.b.Delete(fs[i].key(), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropVolume forgets the counters of a volume, and what there is to free in
// it. It is not synced.
func (x *Index) DropVolume(n uint32) error {
	return x.change(false, func(c *change) error {
		delete(x.mu.volumes, n)
		return errors.Join(c.b.Delete(volumeKey(n), nil),
			c.b.DeleteRange(freeKey(Loc{n, 0}), freeKey(Loc{n + 1, 0}), nil))
	})
}

// Volumes returns the counters of all volumes.
func (x *Index) Volumes() map[uint32]VolumeStat {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.mu.volumes)
}

// Meta returns a row of the caller's, nil if there is none.
func (x *Index) Meta(name string) (v []byte, err error) {
	err = x.meta(append([]byte{rowMeta}, name...), func(b []byte) error {
		v = append([]byte{}, b...)
		return nil
	})
	return v, err
}

// SetMeta writes a row of the caller's. Durable on nil.
func (x *Index) SetMeta(name string, v []byte) error {
	return x.change(true, func(c *change) error { return c.b.Set(append([]byte{rowMeta}, name...), v, nil) })
}

func (x *Index) meta(key []byte, fn func([]byte) error) error {
	return x.use(func() error {
		v, closer, err := x.db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(fn(v), closer.Close())
	})
}
