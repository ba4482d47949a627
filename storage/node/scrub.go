package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// scrubState is how far the scrubber is. It survives a restart, roughly.
type scrubState struct {
	mu struct {
		sync.Mutex
		last    storage.ShardID // verified; zero between passes
		started time.Time       // of the present or last pass
		ended   time.Time       // of the last whole pass
	}
}

func (s *scrubState) finished() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.ended
}

const (
	scrubRow     = "scrub"
	scrubVersion = 1
	scrubPage    = 256       // shards looked up at once
	scrubBuffer  = 512 << 10 // bytes read at once
	scrubSave    = 1 << 30   // bytes between saves of the place
)

func (n *Node) runScrub(ctx context.Context) error {
	for {
		n.scrub.mu.Lock()
		due := n.scrub.mu.started.Add(n.limits.ScrubEvery)
		if n.scrub.mu.last != (storage.ShardID{}) {
			due = time.Time{} // a pass was interrupted
		}
		n.scrub.mu.Unlock()
		var wait <-chan time.Time // never
		if n.limits.ScrubEvery > 0 {
			wait = n.clock.After(due.Sub(n.clock.Now()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
		if err := n.Scrub(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn().Err(err).Msg("scrub did not finish; tried again later")
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-n.clock.After(n.limits.SpaceEvery):
			}
		}
	}
}

// Scrub reads and verifies every shard, at Limits.ScrubRate, going on where an
// interrupted pass stopped, and removes files that nothing refers to. Bad and
// missing shards go to Config.Damage and are no error.
func (n *Node) Scrub(ctx context.Context) error {
	pace := &pacer{clock: n.clock, rate: n.limits.ScrubRate}
	buf := make([]byte, scrubBuffer-scrubBuffer%frame.Stride)
	st := &n.scrub
	st.mu.Lock()
	after := st.mu.last
	if after == (storage.ShardID{}) {
		st.mu.started = n.clock.Now()
	}
	st.mu.Unlock()
	heads := nonces{n: n, known: map[uint32]uint64{}}
	var since int64
	for {
		if err := n.enter(ctx); err != nil {
			return err
		}
		infos, err := n.List(ctx, storage.IDRange{}, after, scrubPage)
		if err != nil {
			return err
		}
		if len(infos) == 0 {
			break
		}
		for _, i := range infos {
			bytes, err := n.scrubShard(ctx, i.ID, &heads, buf)
			if err != nil {
				return err
			}
			if err := pace.spend(ctx, bytes); err != nil {
				return err
			}
			since += bytes
		}
		after = infos[len(infos)-1].ID
		if since >= scrubSave {
			since = 0
			if err := n.saveScrub(after, false); err != nil {
				return err
			}
		}
	}
	dirs, err := n.blobDirNumbers()
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if _, err := n.sweepBlobs(ctx, d); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return n.saveScrub(storage.ShardID{}, true)
}

// scrubShard verifies one shard, if it is still there, and returns the bytes
// it read. What it finds it reports; an error is the node's or ctx's own.
func (n *Node) scrubShard(ctx context.Context, id storage.ShardID, heads *nonces, buf []byte) (int64, error) {
	n.pins.enter(id)
	defer n.pins.leave(id)
	for try := 0; ; try++ {
		e, ok, err := n.index.Get(id)
		if err != nil || !ok {
			return 0, err
		}
		bytes, err := n.verifyEntry(ctx, &e, heads, buf)
		if err == nil || ctx.Err() != nil {
			return bytes, ctx.Err()
		}
		if vfs.NoDescriptors(err) { // says nothing of the shard
			return bytes, err
		}
		// It may have been moved or deleted under our feet.
		if now, ok, gerr := n.index.Get(id); gerr != nil || !ok {
			return bytes, gerr
		} else if now.Loc == e.Loc || try == 3 {
			n.damaged(id, err)
			return bytes, nil
		}
	}
}

// verifyEntry reads a shard and checks its frames, its seal and what its
// record or file says of it.
func (n *Node) verifyEntry(ctx context.Context, e *index.Entry, heads *nonces, buf []byte) (int64, error) {
	// A file that was deleted under us still reads well through a handle that
	// is open.
	if _, err := n.fs.Stat(n.entryPath(e)); err != nil {
		return 0, err
	}
	h, base, err := n.openEntry(e)
	if err != nil {
		return 0, err
	}
	defer n.files.release(h)
	seed := frame.SeedOf(e.ID.Blob, e.ID.Index, e.ID.Gen)
	var sum frame.Sealer
	for off := int64(0); off < e.Seal.Length; {
		if err := ctx.Err(); err != nil {
			return off, err
		}
		b := buf[:min(int64(len(buf)), e.Seal.Length-off)]
		if m, err := h.ReadAt(b, base+off); m < len(b) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return off, err
		}
		if _, err := seed.CheckRun(sum.Frames, b); err != nil {
			return off, err
		}
		sum.AddRun(b)
		off += int64(len(b))
	}
	if sum.Sum() != e.Seal.Sum {
		return sum.Length, fmt.Errorf("seal: %w", storage.ErrCorrupt)
	}
	if e.Kind == volume.Filed {
		return sum.Length, checkTrailer(h, e.ID, e.Seal, e.File)
	}
	return sum.Length, heads.check(h, e)
}

// entryPath is the file that holds a shard.
func (n *Node) entryPath(e *index.Entry) string {
	if e.Kind == volume.Filed {
		return n.shardPath(e.ID, e.File)
	}
	return n.volumePath(e.Loc.Volume)
}

// nonces remembers those of volumes, to check the headers of their records:
// a shard whose header has rotted is lost when the index is.
type nonces struct {
	n     *Node
	known map[uint32]uint64
}

func (s *nonces) check(h *handle, e *index.Entry) error {
	nonce, ok := s.known[e.Loc.Volume]
	if !ok {
		header, err := volume.ReadHeader(h, s.n.cfg.Cluster)
		if err != nil {
			return err
		}
		nonce = header.Nonce
		s.known[e.Loc.Volume] = nonce
	}
	b := make([]byte, volume.RecordSize)
	if _, err := h.ReadAt(b, e.Loc.Offset); err != nil {
		return err
	}
	rec, err := volume.DecodeRecord(b, nonce, e.Loc.Offset)
	if err == nil && (rec.ID != e.ID || rec.Seal != e.Seal) {
		err = fmt.Errorf("record is of %s: %w", rec.ID, storage.ErrCorrupt)
	}
	return err
}

// saveScrub stores the scrubber's place as an index row: version (1 byte),
// blob (16), index (1), generation (4), then started and ended in ms (8 each),
// little-endian.
func (n *Node) saveScrub(last storage.ShardID, ended bool) error {
	st := &n.scrub
	st.mu.Lock()
	st.mu.last = last
	if ended {
		st.mu.ended = n.clock.Now()
	}
	b := append([]byte{scrubVersion}, last.Blob[:]...)
	b = append(b, last.Index)
	b = binary.LittleEndian.AppendUint32(b, last.Gen)
	for _, t := range []time.Time{st.mu.started, st.mu.ended} {
		ms := int64(0)
		if !t.IsZero() {
			ms = t.UnixMilli()
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(ms))
	}
	st.mu.Unlock()
	return n.index.SetMeta(scrubRow, b)
}

func (n *Node) loadScrub(context.Context) error {
	b, err := n.index.Meta(scrubRow)
	if err != nil || len(b) != 38 || b[0] != scrubVersion {
		return err // a place that cannot be read costs a pass, no more
	}
	m := &n.scrub.mu
	m.last = storage.ShardID{Blob: storage.BlobID(b[1:17]), Index: b[17], Gen: binary.LittleEndian.Uint32(b[18:])}
	for i, t := range []*time.Time{&m.started, &m.ended} {
		if ms := binary.LittleEndian.Uint64(b[22+8*i:]); ms != 0 {
			*t = time.UnixMilli(int64(ms))
		}
	}
	return nil
}
