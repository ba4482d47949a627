package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// open sets the node up in a locked directory.
func (n *Node) open(ctx context.Context, id Identity) error {
	n.mu.identity = id
	n.mu.frozen = n.cfg.Incarnation != "" && id.Incarnation != "" && n.cfg.Incarnation != id.Incarnation
	if n.mu.frozen {
		n.log.Warn().Str("known", id.Incarnation).Str("catalog", n.cfg.Incarnation).Msg("catalog has another incarnation; nothing is deleted until holdfast fsck --adopt")
	}
	if n.cfg.Incarnation != "" && id.Incarnation == "" {
		if err := n.SetIncarnation(n.cfg.Incarnation); err != nil {
			return err
		}
	}
	for _, d := range []string{"volumes", "index", "blobs", n.fs.PathJoin("blobs", "tmp")} {
		if err := n.fs.MkdirAll(n.path(d), 0o700); err != nil {
			return fmt.Errorf("node directory: %w", err)
		}
	}
	if err := errors.Join(n.fs.SyncDir(n.path("blobs")), n.fs.SyncDir(n.dir)); err != nil {
		return fmt.Errorf("node directory: %w", err)
	}
	var err error
	n.index, err = index.Open(index.Options{FS: n.fs, Dir: n.path("index"), CacheBytes: n.limits.IndexCache,
		Logger: n.log, DiskFull: n.dropBallast})
	if err != nil {
		return fmt.Errorf("%w; if it is damaged, remove %s: it is rebuilt from the volumes", err, n.path("index"))
	}
	for _, step := range []func(context.Context) error{n.recoverVolumes, n.recoverBlobs, n.loadGuard, n.loadScrub} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := n.space.refresh(n); err != nil {
		return err
	}
	n.keepBallast()
	return nil
}

// recoverVolumes finds the volumes, indexes what the index has not got of
// them, cuts a torn tail off the last and makes that the active one.
func (n *Node) recoverVolumes(ctx context.Context) error {
	names, err := n.fs.List(n.path("volumes"))
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	var nums []uint32
	for _, name := range names {
		if num, ok := volume.ParseName(name); ok {
			nums = append(nums, num)
		}
	}
	slices.Sort(nums)
	pos := n.index.Position()
	rebuild := pos == index.Loc{} && len(nums) > 0
	n.rebuilt = rebuild
	if rebuild {
		n.log.Info().Int("volumes", len(nums)).Msg("index is empty and is rebuilt from the volumes")
	}
	vs := &n.volumes
	vs.mu.sizes = map[uint32]int64{}
	vs.mu.number = pos.Volume
	for i, num := range nums {
		vs.mu.number = max(vs.mu.number, num)
		if err := n.recoverVolume(ctx, num, pos, rebuild, i == len(nums)-1); err != nil {
			return fmt.Errorf("volume %s: %w", n.volumePath(num), err)
		}
	}
	// Index rows of volumes that are gone are lost shards: reads and the
	// scrubber say so one by one.
	return nil
}

func (n *Node) recoverVolume(ctx context.Context, num uint32, pos index.Loc, rebuild, last bool) error {
	f, err := n.fs.OpenFile(n.volumePath(num), vfs.ReadWrite)
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			f.Close()
		}
	}()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if num < pos.Volume {
		n.volumes.mu.sizes[num] = size
		return nil
	}
	h, err := volume.ReadHeader(f, n.cfg.Cluster)
	if err == nil && h.Number != num {
		err = fmt.Errorf("header is of volume %d: %w", h.Number, volume.ErrFormat)
	}
	if errors.Is(err, volume.ErrFormat) {
		return n.recoverHeadless(num, size, err)
	}
	if err != nil {
		return err
	}
	from := int64(volume.HeaderSize)
	if num == pos.Volume {
		from = pos.Offset
	}
	end, err := n.scanVolume(ctx, f, h, from, rebuild)
	if err != nil {
		return err
	}
	if !last {
		n.volumes.mu.sizes[num] = size
		return nil
	}
	if end < size { // also the blocks of a write that a crash cut
		if err := errors.Join(f.Truncate(end), f.Sync()); err != nil {
			return err
		}
	}
	keep = true
	n.volumes.active = &activeVolume{header: h, f: f, tail: end}
	n.volumes.mu.active = num
	return nil
}

// recoverHeadless deals with a volume without a good header: made just before
// a crash, when no record can be in it; else rotten, when its records are lost
// but for those that the index knows, and it is left alone.
func (n *Node) recoverHeadless(num uint32, size int64, cause error) error {
	if size <= volume.HeaderSize && n.index.Volume(num).Records == 0 {
		n.log.Info().Uint32("volume", num).Msg("unfinished volume is removed")
		return n.fs.Remove(n.volumePath(num))
	}
	n.log.Error().Uint32("volume", num).Err(cause).Msg("volume header is damaged; records that the index does not know are lost, and repair makes them again")
	return nil
}

// scanVolume indexes the records from an offset on and returns where the last
// good one ends. A record that is not whole was torn by a crash, or punched,
// or has rotted; what stands behind it may still have been acknowledged, so
// the scan always looks for the next good one.
func (n *Node) scanVolume(ctx context.Context, f vfs.File, h volume.Header, from int64, rebuild bool) (end int64, err error) {
	s, err := volume.NewScanner(f, h, from)
	if err != nil {
		return 0, err
	}
	end = from
	var found, bad int
	for more := true; more && err == nil; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		rec, off, serr := s.Next()
		switch {
		case serr == io.EOF:
			more = false
		case errors.Is(serr, volume.ErrFormat):
			bad++
			more, err = s.Resync()
		case serr != nil:
			err = serr
		default:
			var ok bool
			if ok, err = n.recoverRecord(s, &rec, index.Loc{Volume: h.Number, Offset: off}, rebuild); ok {
				found++
				end = s.Offset()
			} else {
				bad++
			}
		}
	}
	if found+bad > 0 {
		n.log.Info().Uint32("volume", h.Number).Int("shards", found).Int("passed_over", bad).Msg("volume was scanned")
	}
	return end, err
}

// recoverRecord indexes a record and reports whether it is good. A filed shard
// without its file was deleted, or its seal failed. A file that is there and
// bad is indexed, so that reads and the scrubber find it.
func (n *Node) recoverRecord(s *volume.Scanner, rec *volume.Record, at index.Loc, rebuild bool) (bool, error) {
	end := s.Offset()
	if rec.Kind == volume.Packed {
		frames, err := s.Frames(rec, at.Offset)
		if err != nil && err != io.EOF {
			return false, err
		}
		if rec.Verify(frames) != nil {
			return false, nil
		}
	} else {
		if _, err := n.fs.Stat(n.shardPath(rec.ID, rec.File)); errors.Is(err, os.ErrNotExist) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	p := &index.Put{
		Entry: index.Entry{ID: rec.ID, Kind: rec.Kind, Loc: at, Seal: rec.Seal, Expiry: rec.Expiry, File: rec.File},
		Copy:  rec.Copy,
	}
	if rec.Origin != 0 {
		p.From = index.Loc{Volume: uint32(rec.Origin >> 32), Offset: int64(uint32(rec.Origin)) * volume.Slot}
	}
	return true, n.index.Recover(p, index.Loc{Volume: at.Volume, Offset: end}, rebuild)
}

// checkTrailer checks that a shard's file is of its length and says of itself
// what the index does.
func checkTrailer(f vfs.File, id storage.ShardID, seal storage.Seal, file uint64) error {
	b := make([]byte, volume.RecordSize)
	if _, err := f.ReadAt(b, seal.Length); err != nil {
		if err == io.EOF {
			err = fmt.Errorf("shard %s: file is cut: %w", id, storage.ErrCorrupt)
		}
		return err
	}
	t, err := volume.DecodeTrailer(b, file)
	if err == nil && (t.ID != id || t.Seal != seal) {
		err = fmt.Errorf("shard %s: file is of %s: %w", id, t.ID, storage.ErrCorrupt)
	}
	return err
}

// recoverBlobs removes unfinished files, and the files whose record was lost
// to a crash: those are in the directories that were filled last. When the
// index was rebuilt, a file without a record may as well have lost it to rot,
// and is indexed.
func (n *Node) recoverBlobs(ctx context.Context) error {
	tmp := n.path("blobs", "tmp")
	names, err := n.fs.List(tmp)
	if err != nil {
		return fmt.Errorf("blobs: %w", err)
	}
	for _, name := range names {
		if err := n.fs.Remove(n.fs.PathJoin(tmp, name)); err != nil {
			return fmt.Errorf("unfinished file: %w", err)
		}
	}
	dirs, err := n.blobDirNumbers()
	if err != nil {
		return err
	}
	if len(dirs) > 0 {
		n.blobs.dir = dirs[len(dirs)-1]
	}
	sweep := n.sweepBlobs
	if n.rebuilt {
		sweep = n.adoptBlobs
	} else {
		dirs = dirs[max(0, len(dirs)-2):]
	}
	for _, d := range dirs {
		if n.blobs.files, err = sweep(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) blobDirNumbers() ([]uint32, error) {
	names, err := n.fs.List(n.path("blobs"))
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	var dirs []uint32
	for _, name := range names {
		if d, err := strconv.ParseUint(name, 10, 32); err == nil {
			dirs = append(dirs, uint32(d))
		}
	}
	slices.Sort(dirs)
	return dirs, nil
}
