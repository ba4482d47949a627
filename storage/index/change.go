package index

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/storage"
	"holdfast/storage/volume"
)

// change is a batch in the making, with the counters it moves. It is built
// and applied with x.mu held.
type change struct {
	x       *Index
	b       *pebble.Batch
	totals  Totals
	volumes map[uint32]VolumeStat // new values of those that change
	buf     []byte
	seq     uint64 // of synced changes, 0 if there is nothing to wait for
}

func (x *Index) newChange() *change {
	return &change{x: x, b: x.db.NewBatch(), totals: x.mu.totals, volumes: map[uint32]VolumeStat{}}
}

func (c *change) live(n uint32, bytes, records int64) {
	s, ok := c.volumes[n]
	if !ok {
		s = c.x.mu.volumes[n]
	}
	s.Live += bytes
	s.Records += records
	c.volumes[n] = s
}

func (c *change) put(e *Entry) error {
	var key [shardKeySize]byte
	putShardKey(&key, e.ID)
	c.buf = e.encode(c.buf[:0])
	return c.b.Set(key[:], c.buf, nil)
}

// add counts a new entry and writes it.
func (c *change) add(e *Entry) error {
	c.live(e.Loc.Volume, e.Span(), 1)
	c.totals.Shards++
	c.totals.Bytes += e.Seal.Length
	if e.Quarantined != 0 {
		c.totals.Quarantined++
	}
	return c.put(e)
}

// remove takes an entry out and notes its space for freeing.
func (c *change) remove(e *Entry) error {
	var key [shardKeySize]byte
	putShardKey(&key, e.ID)
	err := c.b.Delete(key[:], nil)
	c.live(e.Loc.Volume, -e.Span(), -1)
	c.totals.Shards--
	c.totals.Bytes -= e.Seal.Length
	if e.Quarantined != 0 {
		c.totals.Quarantined--
		err = errors.Join(err, c.b.Delete(quarantineKey(e.Quarantined, e.ID), nil))
	}
	return errors.Join(err, c.free(e))
}

func (c *change) free(e *Entry) error {
	id := make([]byte, idSize)
	putID(id, e.ID)
	if e.Kind == volume.Filed {
		k := binary.BigEndian.AppendUint64([]byte{rowFreeFile}, e.File)
		return c.b.Set(k, append([]byte{rowVersion}, id...), nil)
	}
	f := Free{Loc: e.Loc, Span: e.Span()}
	if _, n := f.Hole(); n == 0 {
		return nil
	}
	return c.b.Set(freeKey(e.Loc), append(counters(f.Span), id...), nil)
}

// finish adds the counters, applies the batch and moves the counters in
// memory. The batch is visible then; with sync, change waits for the disk
// without the lock.
func (c *change) finish(sync bool) error {
	x := c.x
	if c.b.Empty() && (!sync || x.synced.Load() >= x.mu.strict) {
		return nil
	}
	for n, s := range c.volumes {
		if err := c.b.Set(volumeKey(n), counters(s.Live, s.Records), nil); err != nil {
			return err
		}
	}
	if c.totals != x.mu.totals {
		if err := c.b.Set(keyTotals, counters(c.totals.Shards, c.totals.Bytes, c.totals.Quarantined), nil); err != nil {
			return err
		}
	}
	var err error
	if sync {
		if c.b.Empty() { // another's change is not durable yet
			err = c.b.LogData([]byte{0}, nil)
		}
		x.mu.strict++
		c.seq = x.mu.strict
	}
	if err == nil {
		// The lock is let go even if the engine holds the call for ever.
		err = x.engine.Do(func() error {
			if sync {
				return x.db.ApplyNoSyncWait(c.b, pebble.Sync)
			}
			return x.db.Apply(c.b, pebble.NoSync)
		})
	}
	if err != nil {
		return err
	}
	x.mu.totals = c.totals
	for n, s := range c.volumes {
		x.mu.volumes[n] = s
	}
	return nil
}

// change runs build under the lock and applies what it made. With sync it is
// durable, and with it all that was applied before, when change returns nil.
// A failed sync ends the index: what the disk holds is then unknown.
func (x *Index) change(sync bool, build func(*change) error) error {
	if err := x.Err(); err != nil {
		return err
	}
	return x.use(func() error {
		c, err := x.apply(sync, build)
		if err != nil {
			return err
		}
		if c.seq > 0 {
			if err := c.wait(); err != nil {
				return err
			}
			for {
				was := x.synced.Load()
				if was >= c.seq || x.synced.CompareAndSwap(was, c.seq) {
					break
				}
			}
		}
		return c.b.Close()
	})
}

// wait returns once the change is durable. Pebble knows of no error of its
// log; the guard does.
func (c *change) wait() error {
	if err := c.b.SyncWait(); err != nil {
		return c.x.engine.Fail(err)
	}
	return c.x.Err()
}

func (x *Index) apply(sync bool, build func(*change) error) (*change, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.newChange()
	if err := build(c); err != nil {
		return nil, errors.Join(err, c.b.Close())
	}
	return c, c.finish(sync)
}

// Put is an entry to append.
type Put struct {
	Entry
	Copy    bool // made by a rewrite: only if the shard is still at From
	From    Loc
	Applied bool // set by Append and Recover
}

// Append notes records that are durable in a volume, in order, and that the
// volumes are indexed up to pos. It is not synced. Names that are not copies
// must not be in the index.
func (x *Index) Append(puts []*Put, pos Loc) error {
	return x.change(false, func(c *change) error {
		for _, p := range puts {
			if err := c.append(p, false); err != nil {
				return err
			}
		}
		x.mu.pos = pos
		return c.b.Set(keyPos, counters(int64(pos.Volume), pos.Offset), nil)
	})
}

// Recover notes a record that a scan found, which may be known, deleted or
// moved since; see Put. When the whole index is rebuilt, a copy whose source
// is not known counts as new. pos is as for Append.
func (x *Index) Recover(p *Put, pos Loc, rebuild bool) error {
	return x.change(false, func(c *change) error {
		old, found, err := x.get(p.ID)
		switch {
		case err != nil:
			return err
		case found && !old.Loc.Before(p.Loc): // known
		case p.Copy && (found || !rebuild):
			if p.Kind == volume.Filed && found && old.File == p.File {
				p.From = old.Loc
			}
			err = c.append(p, false)
		case found: // written, deleted and written again
			err = errors.Join(c.remove(&old), c.append(p, true))
		default:
			err = c.append(p, true)
		}
		if err != nil {
			return err
		}
		x.mu.pos = pos
		return c.b.Set(keyPos, counters(int64(pos.Volume), pos.Offset), nil)
	})
}

func (c *change) append(p *Put, isNew bool) error {
	p.Applied = true
	if !p.Copy || isNew {
		return c.add(&p.Entry)
	}
	old, found, err := c.x.get(p.ID)
	if err != nil {
		return err
	}
	if !found || old.Loc != p.From {
		p.Applied = false
		return nil
	}
	p.Quarantined = old.Quarantined
	c.live(old.Loc.Volume, -old.Span(), -1)
	c.live(p.Loc.Volume, p.Span(), 1)
	return c.put(&p.Entry)
}

// chunk bounds how many rows are changed under the lock at once.
const chunk = 512

// each applies fn to the entries that exist among ids, in chunks, and makes
// the whole durable: the log is one, so a synced batch takes those before it
// along.
func (x *Index) each(ids []storage.ShardID, fn func(*change, *Entry) error) error {
	seen := make(map[storage.ShardID]bool, len(ids))
	for {
		n := min(len(ids), chunk)
		err := x.change(n == len(ids), func(c *change) error {
			for _, id := range ids[:n] {
				if seen[id] {
					continue
				}
				seen[id] = true
				e, ok, err := x.get(id)
				if err == nil && ok {
					err = fn(c, &e)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if ids = ids[n:]; err != nil || len(ids) == 0 {
			return err
		}
	}
}

// Delete takes shards out and notes their space for freeing. Durable on nil.
func (x *Index) Delete(ids []storage.ShardID) error {
	return x.each(ids, func(c *change, e *Entry) error { return c.remove(e) })
}

// DeleteQuarantined takes those shards out that are still in quarantine, and
// since no later than before, in ms. Durable on nil.
func (x *Index) DeleteQuarantined(ids []storage.ShardID, before int64) error {
	return x.each(ids, func(c *change, e *Entry) error {
		if e.Quarantined == 0 || e.Quarantined > before {
			return nil
		}
		return c.remove(e)
	})
}

// Quarantine marks shards as disowned at ms, but those that are already.
// Durable on nil.
func (x *Index) Quarantine(ids []storage.ShardID, ms int64) error {
	return x.each(ids, func(c *change, e *Entry) error {
		if e.Quarantined != 0 {
			return nil
		}
		e.Quarantined = ms
		c.totals.Quarantined++
		return errors.Join(c.put(e), c.b.Set(quarantineKey(ms, e.ID), nil, nil))
	})
}

// Revive takes the mark away. Durable on nil.
func (x *Index) Revive(ids []storage.ShardID) error {
	return x.each(ids, func(c *change, e *Entry) error {
		if e.Quarantined == 0 {
			return nil
		}
		err := c.b.Delete(quarantineKey(e.Quarantined, e.ID), nil)
		e.Quarantined = 0
		c.totals.Quarantined--
		return errors.Join(err, c.put(e))
	})
}

// Quarantined returns up to limit shards in quarantine since before, in ms,
// or earlier, oldest first.
func (x *Index) Quarantined(before int64, limit int) (ids []storage.ShardID, err error) {
	if before < 0 {
		return nil, nil
	}
	hi := binary.BigEndian.AppendUint64([]byte{rowQuarantine}, uint64(before)+1)
	err = x.iterate([]byte{rowQuarantine}, hi, func(k, _ []byte) (bool, error) {
		if len(k) != 9+idSize {
			return false, ErrRow
		}
		ids = append(ids, getID(k[9:]))
		return len(ids) < limit, nil
	})
	return ids, err
}

// Sync makes all that was applied before durable.
func (x *Index) Sync() error {
	return x.change(true, func(c *change) error { return c.b.LogData([]byte{0}, nil) })
}

// Settle makes the deletes and marks durable that were seen before. They are
// seen before they are durable. It costs nothing if they are.
func (x *Index) Settle() error {
	return x.change(true, func(*change) error { return nil })
}
