package node

import (
	"container/list"
	"sync"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/volume"
)

// fileKey names a volume (volume is not 0) or the file of a shard.
type fileKey struct {
	volume uint32
	file   uint64
	id     storage.ShardID // of a file
}

// handle is an open file. It is closed when the cache has dropped it and the
// last user has released it.
type handle struct {
	vfs.File
	key  fileKey
	refs int
	elem *list.Element // nil once dropped from the cache
}

// fileCache keeps a bounded number of open volumes and shard files.
type fileCache struct {
	limit int
	mu    struct {
		sync.Mutex
		open map[fileKey]*handle
		lru  list.List // front is the latest
		off  bool
	}
}

func (c *fileCache) init(limit int) {
	c.limit = limit
	c.mu.open = map[fileKey]*handle{}
}

func (c *fileCache) lookup(key fileKey) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.mu.open[key]
	if h != nil {
		h.refs++
		c.mu.lru.MoveToFront(h.elem)
	}
	return h
}

// add puts an opened file into the cache, or takes the one that another put
// there meanwhile.
func (c *fileCache) add(key fileKey, f vfs.File) *handle {
	var spare []vfs.File
	defer func() {
		for _, f := range spare {
			f.Close()
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.mu.open[key]; h != nil {
		h.refs++
		spare = append(spare, f)
		return h
	}
	h := &handle{File: f, key: key, refs: 1}
	if c.mu.off {
		return h
	}
	c.mu.open[key] = h
	h.elem = c.mu.lru.PushFront(h)
	for c.mu.lru.Len() > c.limit {
		if old := c.drop(c.mu.lru.Back().Value.(*handle)); old != nil {
			spare = append(spare, old)
		}
	}
	return h
}

// drop takes h out of the cache and returns its file if it is to be closed.
// With c.mu held.
func (c *fileCache) drop(h *handle) vfs.File {
	c.mu.lru.Remove(h.elem)
	delete(c.mu.open, h.key)
	h.elem = nil
	if h.refs == 0 {
		return h.File
	}
	return nil
}

func (c *fileCache) release(h *handle) {
	c.mu.Lock()
	h.refs--
	last := h.refs == 0 && h.elem == nil
	c.mu.Unlock()
	if last {
		h.File.Close()
	}
}

// forget drops a file that is about to be removed.
func (c *fileCache) forget(key fileKey) {
	c.mu.Lock()
	var f vfs.File
	if h := c.mu.open[key]; h != nil {
		f = c.drop(h)
	}
	c.mu.Unlock()
	if f != nil {
		f.Close()
	}
}

func (c *fileCache) close() {
	c.mu.Lock()
	c.mu.off = true
	var files []vfs.File
	for _, h := range c.mu.open {
		if f := c.drop(h); f != nil {
			files = append(files, f)
		}
	}
	c.mu.Unlock()
	for _, f := range files {
		f.Close()
	}
}

// openVolume returns a handle of a volume.
func (n *Node) openVolume(num uint32) (*handle, error) {
	key := fileKey{volume: num}
	if h := n.files.lookup(key); h != nil {
		return h, nil
	}
	f, err := n.fs.OpenFile(n.volumePath(num), vfs.ReadWrite) // written only by punches
	if err != nil {
		return nil, err
	}
	return n.files.add(key, f), nil
}

// openShardFile returns a handle of a shard's own file.
func (n *Node) openShardFile(id storage.ShardID, file uint64) (*handle, error) {
	key := fileKey{file: file, id: id}
	if h := n.files.lookup(key); h != nil {
		return h, nil
	}
	f, err := n.fs.OpenFile(n.shardPath(id, file), vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	return n.files.add(key, f), nil
}

func (n *Node) volumePath(num uint32) string { return n.path("volumes", volume.Name(num)) }

func (n *Node) shardPath(id storage.ShardID, file uint64) string {
	dir, name := volume.FileName(id, file)
	return n.path("blobs", dir, name)
}

// stripes spreads small maps keyed by shard over locks.
const stripes = 32

// stripeOf uses the bytes of a blob id that differ most.
func stripeOf(id *storage.ShardID) int {
	return int(id.Blob[15]^id.Blob[9]^id.Index) % stripes
}

// pins counts who reads a shard's bytes. A reader pins before it looks the
// shard up, and space is freed only after the index entry is gone and then no
// pin is there, so that whoever found the entry has its bytes until it leaves.
type pins struct {
	s [stripes]struct {
		sync.Mutex
		held map[storage.ShardID]int
	}
}

func (p *pins) enter(id storage.ShardID) {
	s := &p.s[stripeOf(&id)]
	s.Lock()
	defer s.Unlock()
	if s.held == nil {
		s.held = map[storage.ShardID]int{}
	}
	s.held[id]++
}

func (p *pins) leave(id storage.ShardID) {
	s := &p.s[stripeOf(&id)]
	s.Lock()
	defer s.Unlock()
	if s.held[id]--; s.held[id] == 0 {
		delete(s.held, id)
	}
}

func (p *pins) has(id storage.ShardID) bool {
	s := &p.s[stripeOf(&id)]
	s.Lock()
	defer s.Unlock()
	return s.held[id] > 0
}

// writing is the set of shards being written.
type writing struct {
	s [stripes]struct {
		sync.Mutex
		ids map[storage.ShardID]struct{}
	}
}

// begin reports whether id was not being written; it is now.
func (w *writing) begin(id storage.ShardID) bool {
	s := &w.s[stripeOf(&id)]
	s.Lock()
	defer s.Unlock()
	if _, busy := s.ids[id]; busy {
		return false
	}
	if s.ids == nil {
		s.ids = map[storage.ShardID]struct{}{}
	}
	s.ids[id] = struct{}{}
	return true
}

func (w *writing) end(id storage.ShardID) {
	s := &w.s[stripeOf(&id)]
	s.Lock()
	defer s.Unlock()
	delete(s.ids, id)
}
