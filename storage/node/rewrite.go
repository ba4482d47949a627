package node

import (
	"context"
	"errors"
	"io"
	"os"

	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// copyLive moves every record of a volume to which the index refers to the
// active volume. They are found by scanning the volume; a record whose header
// has rotted is not, and keeps the volume.
func (n *Node) copyLive(ctx context.Context, num uint32, pace *pacer) error {
	h, err := n.openVolume(num)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return n.lostVolume(ctx, num)
		}
		return err
	}
	defer n.files.release(h)
	header, err := volume.ReadHeader(h, n.cfg.Cluster)
	if err != nil {
		return err
	}
	s, err := volume.NewScanner(h, header, volume.HeaderSize)
	if err != nil {
		return err
	}
	m := mover{n: n, h: h}
	for {
		rec, off, err := s.Next()
		if errors.Is(err, volume.ErrFormat) {
			more, err := s.Resync()
			if err != nil {
				return err
			}
			if more {
				continue
			}
			return m.flush()
		}
		if err == io.EOF {
			return m.flush()
		}
		if err != nil {
			return err
		}
		if err := m.move(&rec, index.Loc{Volume: num, Offset: off}); err != nil {
			return errors.Join(err, m.flush())
		}
		if err := pace.spend(ctx, rec.Span); err != nil {
			return errors.Join(err, m.flush())
		}
	}
}

// lostVolume is for a volume that is gone with live records in it.
func (n *Node) lostVolume(ctx context.Context, num uint32) error {
	n.log.Error().Uint32("volume", num).Msg("volume is missing; its shards are lost on this node")
	n.volumes.mu.Lock()
	defer n.volumes.mu.Unlock()
	delete(n.volumes.mu.sizes, num)
	return ctx.Err()
}

// mover copies records, several at once, so that they share syncs.
type mover struct {
	n       *Node
	h       *handle
	pending []*record
	errs    chan error
	bytes   int64
}

const moveBytes = 4 << 20

// move copies one record if the index refers to it there.
func (m *mover) move(rec *volume.Record, at index.Loc) error {
	n := m.n
	n.pins.enter(rec.ID) // so that a delete meanwhile does not punch what is read
	defer n.pins.leave(rec.ID)
	e, ok, err := n.index.Get(rec.ID)
	if err != nil || !ok || e.Loc != at {
		return err
	}
	r := &record{put: index.Put{Entry: e, Copy: true, From: at}}
	r.rec.Copy = true
	r.buf = make([]byte, e.Span())
	if e.Kind == volume.Filed {
		r.rec.File = e.File
	} else {
		r.rec.Origin = volume.Origin(at.Volume, at.Offset)
		frames := r.buf[volume.RecordSize:][:e.Seal.Length]
		if _, err := m.h.ReadAt(frames, at.Offset+volume.RecordSize); err != nil && err != io.EOF {
			// Bad sectors keep the volume; the shard is repaired, then deleted.
			_ = n.readError(rec.ID, err)
			return nil
		}
		check := volume.Record{ID: e.ID, Seal: e.Seal}
		if err := check.Verify(frames); err != nil {
			// Moved as it is: what is good of it may still be needed.
			n.damaged(rec.ID, err)
		}
	}
	m.pending = append(m.pending, r)
	if m.bytes += int64(len(r.buf)); m.bytes >= moveBytes {
		return m.flush()
	}
	return nil
}

// flush appends what is pending as one group.
func (m *mover) flush() error {
	if len(m.pending) == 0 {
		return nil
	}
	err := m.n.commit.appendAll(m.pending)
	m.pending, m.bytes = nil, 0
	return err
}
