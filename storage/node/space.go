package node

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

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

// refresh asks the file system.
func (s *space) refresh(n *Node) error {
	s.asked.Store(time.Now().UnixNano())
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
