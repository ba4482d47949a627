package node

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/vfs"
	"holdfast/storage"
)

// space knows how much room the file system has, asking it now and then.
type space struct {
	total   atomic.Int64
	free    atomic.Int64 // above the reserve, when it was asked last
	taken   atomic.Int64 // by admitted shards since
	held    atomic.Int64 // by files that are being written, as far as their size was told
	asked   atomic.Int64 // ns since 1970
	unknown atomic.Bool  // the file system does not say
}

const (
	spaceEvery     = time.Second
	reservePercent = 5
)

// refresh asks the file system, and first whether the directory is there.
func (s *space) refresh(n *Node) error {
	s.asked.Store(time.Now().UnixNano())
	if err := n.present(); err != nil {
		return err
	}
	u, err := n.fs.GetDiskUsage(n.dir)
	if errors.Is(err, pvfs.ErrUnsupported) {
		s.unknown.Store(true)
		return nil
	}
	if err != nil {
		return fmt.Errorf("disk usage of %s: %w", n.dir, err)
	}
	reserve := n.cfg.Reserve
	switch {
	case reserve == 0:
		reserve = int64(u.TotalBytes / 100 * reservePercent)
	case reserve < 0:
		reserve = 0
	}
	s.total.Store(int64(u.TotalBytes))
	s.taken.Store(0)
	s.free.Store(max(0, int64(u.AvailBytes)-reserve))
	return nil
}

// present holds that the directory is still the node's. Where it was emptied,
// moved or unmounted, the open files go on taking writes that no restart would
// find: the node is then read-only until it is opened anew.
func (n *Node) present() error {
	id, err := ReadIdentity(n.fs, n.dir)
	if err == nil {
		err = id.check(n.dir, &n.cfg)
	}
	if errors.Is(err, ErrNoIdentity) || errors.Is(err, ErrIdentity) {
		return n.ioError("directory", err)
	}
	return err
}

// admit lets a shard of size bytes in, or returns storage.ErrNoSpace. The
// file system is asked again when the answer is a second old, when much was
// taken since, and before a refusal.
func (s *space) admit(n *Node, size int64) error {
	if s.unknown.Load() {
		return nil
	}
	taken := s.taken.Add(size)
	if taken < s.free.Load()/8 && time.Now().UnixNano()-s.asked.Load() < int64(spaceEvery) {
		return nil
	}
	if err := s.refresh(n); err != nil {
		return fmt.Errorf("node %d: %w: %w", n.cfg.Node, storage.ErrOffline, err)
	}
	if free := s.free.Load() - s.held.Load(); free <= size {
		return fmt.Errorf("node %d has %d bytes free above its reserve: %w", n.cfg.Node, max(0, free), storage.ErrNoSpace)
	}
	s.taken.Add(size)
	return nil
}

func (s *space) hold(bytes int64) { s.held.Add(bytes) }

// changed makes the next admit ask again: space was freed.
func (s *space) changed() { s.asked.Store(0) }

// full notes that a write met a full disk.
func (s *space) full() {
	s.free.Store(0)
	s.changed()
}

// The ballast is a file that takes room and holds nothing. The reserve keeps
// shards from filling the disk; when something else has, the ballast is
// removed so that the index, and with it deletes, go on.
const (
	ballastName  = "ballast"
	ballastBytes = 64 << 20
)

// dropBallast removes the ballast. It is called in the middle of an index
// write.
func (n *Node) dropBallast() {
	err := n.fs.Remove(n.path(ballastName))
	n.log.Error().AnErr("err", err).Msg("disk is full; ballast is removed so that deletes go on")
}

// keepBallast makes the ballast, again, once there is room.
func (n *Node) keepBallast() {
	path := n.path(ballastName)
	if _, err := n.fs.Stat(path); err == nil || n.space.unknown.Load() || n.cfg.Reserve < 0 {
		return
	}
	size := min(ballastBytes, n.space.total.Load()/200)
	if n.space.refresh(n) != nil || n.space.free.Load() < 4*size {
		return
	}
	f, err := n.fs.OpenFile(path, vfs.CreateNew)
	if err != nil {
		return
	}
	if err = f.Preallocate(0, size); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err != nil || cerr != nil {
		n.log.Debug().AnErr("err", err).Msg("no ballast on this file system")
		_ = n.fs.Remove(path)
	}
}
