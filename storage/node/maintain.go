package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// Run owns the node's background work until ctx ends: freeing space as soon
// as something was deleted, rewriting volumes, scrubbing. The end of a
// quarantine is catalog time, which only Maintain knows. The error is ctx's.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.runSpace(ctx) })
	g.Go(func() error { return n.runScrub(ctx) })
	return g.Wait()
}

func (n *Node) runSpace(ctx context.Context) error {
	for {
		pace := &pacer{clock: n.clock, rate: n.limits.RewriteRate}
		if err := n.reclaim(ctx, pace); err != nil && ctx.Err() == nil {
			n.log.Warn().Err(err).Msg("freeing space did not finish; tried again later")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.clock.After(n.limits.SpaceEvery):
		case <-n.kick:
			// A stream of deletes is freed in batches, which share syncs.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-n.clock.After(freeDelay):
			}
		}
	}
}

// freeDelay is how long deletes are gathered before their space is freed.
const freeDelay = time.Second

// Maintain ends the quarantine of what was disowned long enough before now,
// which is catalog time, frees the space of deleted shards and rewrites
// volumes that are mostly holes, all at full speed. What readers still hold
// is left for a later call.
func (n *Node) Maintain(ctx context.Context, now time.Time) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	return errors.Join(n.endQuarantine(ctx, now), n.reclaim(ctx, &pacer{rate: -1}))
}

func (n *Node) endQuarantine(ctx context.Context, now time.Time) error {
	if n.checkIncarnation() != nil || n.guard.stopped() != nil {
		return nil // nothing is dropped until a person has looked
	}
	before := now.Add(-n.limits.Quarantine).UnixMilli()
	for {
		ids, err := n.index.Quarantined(before, 1000)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.index.DeleteQuarantined(ids, before); err != nil {
			return fmt.Errorf("end of quarantine: %w", err)
		}
		n.log.Info().Int("shards", len(ids)).Msg("quarantine ended; shards are deleted")
	}
}

// reclaim frees, then rewrites. One at a time.
func (n *Node) reclaim(ctx context.Context, pace *pacer) error {
	n.maint.Lock()
	defer n.maint.Unlock()
	if err := n.enter(ctx); err != nil {
		return err
	}
	if err := n.free(ctx); err != nil {
		return err
	}
	n.keepBallast()
	return n.rewrite(ctx, pace)
}

// freeBatch is how many pieces of space are freed between syncs.
const freeBatch = 1000

// free gives the space of deleted shards back. A piece that a reader holds is
// left.
func (n *Node) free(ctx context.Context) error {
	var after index.Free
	for {
		fs, err := n.index.Frees(after, freeBatch)
		if err != nil || len(fs) == 0 {
			return err
		}
		after = fs[len(fs)-1]
		// A delete is seen before it is durable, and space goes only after.
		if err := n.index.Settle(); err != nil {
			return err
		}
		if err := n.freeAll(ctx, fs); err != nil {
			return err
		}
		n.space.changed()
	}
}

func (n *Node) freeAll(ctx context.Context, fs []index.Free) error {
	freed := make([]index.Free, 0, len(fs))
	dirs := map[string]bool{}
	var vol *handle
	flush := func() error { // the punches of one volume
		if vol == nil {
			return nil
		}
		err := vol.SyncData()
		n.files.release(vol)
		vol = nil
		return err
	}
	for i := range fs {
		f := &fs[i]
		if err := ctx.Err(); err != nil {
			return errors.Join(err, flush())
		}
		if n.pins.has(f.ID) {
			continue
		}
		var err error
		if f.File != 0 {
			path := n.shardPath(f.ID, f.File)
			n.files.forget(fileKey{file: f.File, id: f.ID})
			dirs[n.fs.PathDir(path)] = true
			err = n.fs.Remove(path)
		} else {
			if vol != nil && vol.key.volume != f.Loc.Volume {
				err = flush()
			}
			if vol == nil && err == nil {
				vol, err = n.openVolume(f.Loc.Volume)
			}
			if err == nil {
				err = vol.Punch(f.Hole())
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, vfs.ErrUnsupported) {
			return errors.Join(fmt.Errorf("free %s: %w", f.ID, err), flush())
		}
		freed = append(freed, *f)
	}
	// Durable before the rows that ask for it go.
	err := flush()
	for dir := range dirs {
		if n.fs.PathBase(dir) != n.currentBlobDir() && n.fs.Remove(dir) == nil {
			continue // it was the last file of an old directory
		}
		err = errors.Join(err, n.fs.SyncDir(dir))
	}
	if err != nil {
		return fmt.Errorf("free: %w", err)
	}
	return n.index.Freed(freed)
}

// mostlyHoles says whether a volume is worth a rewrite: over half of it is
// dead.
func mostlyHoles(size, live int64) bool { return live*2 < size }

// minRoll is the size from which the active volume is closed so that it can
// be rewritten.
const minRoll = 256 << 10

func worthRoll(size, live int64) bool {
	return live == 0 && size > volume.HeaderSize || size >= minRoll && mostlyHoles(size, live)
}

// rewrite copies what lives in volumes that are mostly holes to the active
// one and removes them, the emptiest first. The order is copy, sync, switch
// the index, sync that, unlink: at every instant the durable index points at
// a whole copy.
func (n *Node) rewrite(ctx context.Context, pace *pacer) error {
	if n.writable() != nil {
		return nil
	}
	n.rollActive()
	type candidate struct {
		num        uint32
		live, size int64
	}
	var cs []candidate
	for num, size := range n.volumes.closed() {
		if live := n.index.Volume(num).Live; mostlyHoles(size, live) {
			cs = append(cs, candidate{num, live, size})
		}
	}
	slices.SortFunc(cs, func(a, b candidate) int { return int(min(1, max(-1, a.live-b.live))) })
	for _, c := range cs {
		err := n.rewriteVolume(ctx, c.num, c.size, c.live, pace)
		if ctx.Err() != nil || errors.Is(err, storage.ErrNoSpace) || n.writable() != nil {
			return err
		}
		if err != nil { // the others may still be rewritten
			n.log.Warn().Uint32("volume", c.num).Err(err).Msg("volume cannot be rewritten")
		}
	}
	return nil
}

func (n *Node) rewriteVolume(ctx context.Context, num uint32, size, live int64, pace *pacer) error {
	if live > 0 {
		if err := n.copyLive(ctx, num, pace); err != nil {
			return err
		}
	}
	if err := n.index.Sync(); err != nil {
		return err
	}
	if s := n.index.Volume(num); s.Records != 0 {
		return fmt.Errorf("%d records could not be moved", s.Records)
	}
	if err := n.removeVolume(num); err != nil {
		return err
	}
	n.space.changed()
	n.log.Info().Uint32("volume", num).Int64("bytes", size).Int64("kept", live).Msg("volume was rewritten")
	return nil
}

// rollActive closes the active volume if it is worth a rewrite itself.
func (n *Node) rollActive() {
	n.volumes.mu.Lock()
	active := n.volumes.mu.active
	n.volumes.mu.Unlock()
	if active == 0 || n.index.Volume(active).Records > 0 && n.index.Volume(active).Live > n.limits.VolumeSize/2 {
		return
	}
	n.commit.exclusive(func() {
		v := n.volumes.active
		if v == nil || !worthRoll(v.tail, n.index.Volume(v.header.Number).Live) {
			return
		}
		if err := n.volumes.roll(); err != nil {
			n.log.Warn().Err(err).Msg("closing a volume")
		}
	})
}

// pacer keeps a rate by waiting after the fact. It is used by one goroutine.
type pacer struct {
	clock clock.Clock
	rate  int64 // bytes a second; negative: without bound
	debt  int64
}

// spend accounts for bytes and waits once a tenth of a second's worth is due.
func (p *pacer) spend(ctx context.Context, bytes int64) error {
	if p.rate < 0 {
		return ctx.Err()
	}
	if p.debt += bytes; p.debt < p.rate/10 {
		return ctx.Err()
	}
	wait := time.Duration(float64(p.debt) / float64(p.rate) * float64(time.Second))
	p.debt = 0
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.clock.After(wait):
		return nil
	}
}
