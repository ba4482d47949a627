package node

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// committer appends records to the active volume in groups. Whoever comes
// first leads: it lets those run that are ready, takes all that have queued,
// writes them with few large writes, syncs once, indexes them, hands the lead
// to the first of those that queued meanwhile and then wakes its group. No
// goroutine is needed, and one writer alone waits for nobody.
type committer struct {
	n  *Node
	mu struct {
		sync.Mutex
		queue []*record
		spare []*record // the other of two slices that take turns
		busy  bool
	}
	// Of the leader.
	vec     [][]byte
	fillers [][volume.Slot]byte
	puts    []*index.Put
	since   int64 // bytes appended since the index was last synced
}

// record is one record to append, or a call to run between groups.
type record struct {
	rec  volume.Record
	buf  []byte    // the record as it will stand in the volume, Span bytes, its header not filled in
	put  index.Put // Loc and Applied are set by the leader
	call func()
	err  error
	wake chan bool // true: lead; false: done
}

const (
	// gatherMax is from how many on a leader looks for no more.
	gatherMax = 64
	// groupBytes bounds what one leader takes at once.
	groupBytes = 16 << 20
	// indexSyncBytes bounds the tail that a start after a crash scans.
	indexSyncBytes = 64 << 20
)

// append makes a record durable and indexes it. It is not interrupted. On an
// error the record does not exist after the next restart; storage.ErrNoSpace
// if the disk is full.
func (c *committer) append(r *record) error {
	r.fill()
	c.submit(r)
	return r.err
}

// exclusive runs fn while no record is being appended.
func (c *committer) exclusive(fn func()) { c.submit(&record{call: fn}) }

// appendAll appends records as one group and returns the first error.
func (c *committer) appendAll(rs []*record) error {
	for _, r := range rs {
		r.fill()
	}
	c.exclusive(func() { c.run(rs) })
	for _, r := range rs {
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

// fill takes into the header what the index entry says.
func (r *record) fill() {
	r.rec.Seal, r.rec.ID, r.rec.Expiry, r.rec.Kind = r.put.Seal, r.put.ID, r.put.Expiry, r.put.Kind
}

func (c *committer) submit(r *record) {
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue, r)
	if c.mu.busy {
		r.wake = make(chan bool, 1)
		c.mu.Unlock()
		if lead := <-r.wake; !lead {
			return
		}
		c.mu.Lock()
	}
	c.mu.busy = true
	c.mu.Unlock()
	c.gather()
	c.mu.Lock()
	group := c.take()
	c.mu.Unlock()

	id := c.n.calls.begin()
	c.run(group)
	c.n.calls.end(id)

	c.mu.Lock()
	if len(c.mu.queue) > 0 {
		c.mu.queue[0].wake <- true
	} else {
		c.mu.busy = false
	}
	// From here on another may lead, and take the spare slice, not this one.
	c.mu.Unlock()
	for i, m := range group {
		if m != r {
			m.wake <- false
		}
		group[i] = nil
	}
	c.mu.Lock()
	if cap(group) > cap(c.mu.spare) {
		c.mu.spare = group[:0]
	}
	c.mu.Unlock()
}

// gather lets those run that are ready, for as long as that brings more into
// the queue: they may be about to write, and where processors are short and the
// disk is fast groups would stay small. A lone writer goes on at once.
func (c *committer) gather() {
	for before := 0; ; {
		runtime.Gosched()
		c.mu.Lock()
		n := len(c.mu.queue)
		c.mu.Unlock()
		if n <= before || n >= gatherMax {
			return
		}
		before = n
	}
}

// take takes a group off the queue: at least one, up to groupBytes. With
// c.mu held. The leader is in it, since it is the queue's first.
func (c *committer) take() []*record {
	var bytes int64
	for i, r := range c.mu.queue {
		if bytes += int64(len(r.buf)); bytes > groupBytes && i > 0 {
			group := append([]*record(nil), c.mu.queue[:i]...)
			rest := copy(c.mu.queue, c.mu.queue[i:])
			clear(c.mu.queue[rest:])
			c.mu.queue = c.mu.queue[:rest]
			return group
		}
	}
	group := c.mu.queue
	c.mu.queue, c.mu.spare = c.mu.spare[:0], nil
	return group
}

// run appends a group, cut where a volume ends or a call comes.
func (c *committer) run(group []*record) {
	for len(group) > 0 {
		if group[0].call != nil {
			group[0].call()
			group = group[1:]
			continue
		}
		k, err := c.segment(group)
		for _, r := range group[:k] {
			r.err = err
		}
		group = group[k:]
	}
}

// segment appends records that go into one volume, at least one, and returns
// how many.
func (c *committer) segment(group []*record) (int, error) {
	n := c.n
	if err := n.writable(); err != nil {
		return len(group), err
	}
	first := &group[0].rec
	v, err := n.volumes.writer(n, first.Seal.Length, group[0].put.Span())
	if err != nil {
		return 1, n.ioError("open volume", err)
	}
	k, end := c.layout(v, group)
	if _, err = v.f.WriteVec(c.vec, v.tail); err == nil {
		err = n.syncData(v.f)
	}
	if err != nil {
		return k, c.undo(v, err)
	}
	c.since += end - v.tail
	v.tail = end
	c.puts = c.puts[:0]
	for _, r := range group[:k] {
		c.puts = append(c.puts, &r.put)
	}
	if err := n.index.Append(c.puts, index.Loc{Volume: v.header.Number, Offset: end}); err != nil {
		return k, n.ioError("index", err)
	}
	if c.since > indexSyncBytes {
		c.since = 0
		if err := n.index.Sync(); err != nil {
			return k, n.ioError("index", err)
		}
	}
	return k, nil
}

// layout places the records that fit into the volume, encodes their headers
// and fills c.vec. It returns how many those are and where the last ends.
func (c *committer) layout(v *activeVolume, group []*record) (k int, end int64) {
	c.vec = c.vec[:0]
	if cap(c.fillers) < len(group) {
		c.fillers = make([][volume.Slot]byte, 0, 2*len(group))
	}
	c.fillers = c.fillers[:0]
	tail := v.tail
	for ; k < len(group) && group[k].call == nil; k++ {
		r := group[k]
		payload := int64(0)
		if r.rec.Kind == volume.Packed {
			payload = r.rec.Seal.Length
		}
		r.rec.Span = int64(len(r.buf))
		off := volume.Place(tail, payload, r.rec.Span)
		if k > 0 && off+r.rec.Span > c.n.limits.VolumeSize {
			break
		}
		if gap := off - tail; gap > 0 {
			c.fillers = append(c.fillers, [volume.Slot]byte{})
			head := c.fillers[len(c.fillers)-1][:]
			filler := volume.Record{Kind: volume.Filler, Span: gap}
			filler.Encode(head, v.header.Nonce, tail)
			c.vec = append(c.vec, head, zeroBlock[:gap-volume.Slot])
		}
		r.rec.Encode(r.buf, v.header.Nonce, off)
		r.put.Loc = index.Loc{Volume: v.header.Number, Offset: off}
		c.vec = append(c.vec, r.buf)
		tail = off + r.rec.Span
	}
	return k, tail
}

// zeroBlock is what fillers hold; it is never written.
var zeroBlock [volume.Block]byte

// undo takes a group back that could not be written: what is there of it must
// not be found by the next start.
func (c *committer) undo(v *activeVolume, cause error) error {
	err := v.f.Truncate(v.tail)
	if err == nil {
		err = v.f.Sync()
	}
	if err != nil && noSpace(cause) {
		// The disk is not just full: nothing more may be appended here.
		cause = err
	}
	return c.n.ioError("append", cause)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// ioError turns an error of a write into what the caller is told. A full disk
// is storage.ErrNoSpace and may recover, and so may a process that has as many
// files open as it may, which is storage.ErrOffline; any other error makes the
// node read-only until it is opened anew (see Keep), since nobody knows what a
// disk holds that failed a write or a sync.
func (n *Node) ioError(op string, err error) error {
	if vfs.NoDescriptors(err) && n.writable() == nil {
		return fmt.Errorf("node %d: %s: %w: %w", n.cfg.Node, op, storage.ErrOffline, err)
	}
	if noSpace(err) && n.index.Err() == nil {
		n.space.full()
		return fmt.Errorf("node %d: %s: %w: %w", n.cfg.Node, op, storage.ErrNoSpace, err)
	}
	n.mu.Lock()
	first := n.mu.failed == nil
	if first {
		n.mu.failed = fmt.Errorf("%s: %w", op, err)
	}
	n.mu.Unlock()
	if first {
		n.log.Error().Err(err).Str("op", op).Msg("disk failed a write; node is read-only until the disk takes writes again")
	}
	return n.writable()
}
