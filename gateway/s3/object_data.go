package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/erasure/stripe"
	"holdfast/gateway"
	"holdfast/gateway/blob"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// dataPath is what the bytes of objects go through: writer and reader of
// blobs, hashing lanes, and buffers of inline bodies.
type dataPath struct {
	deps   gateway.Deps
	writer *blob.Writer
	reader *blob.Reader
	md5    *checksum.MD5Pool
	inline sync.Pool // *[]byte of the inline limit
	limit  int
	ranks  atomic.Pointer[rankTable]
}

// newDataPath makes the data path of a server. It starts nothing.
func newDataPath(cfg *gateway.Config, deps gateway.Deps) *dataPath {
	bd := blob.Deps{Clock: clock.System{}, Codecs: stripe.NewCodecs()}
	bc := blob.DefaultConfig()
	d := &dataPath{deps: deps, writer: blob.NewWriter(bc, bd, deps.Scheduler.Renew), reader: blob.NewReader(bc, bd),
		md5: checksum.NewMD5Pool(), limit: cfg.InlineLimit}
	d.inline.New = func() any {
		b := make([]byte, cfg.InlineLimit+1)
		return &b
	}
	return d
}

// close waits for reads and writes that were left behind and ends the hashing
// lanes.
func (d *dataPath) close() {
	d.writer.Wait()
	d.reader.Wait()
	d.md5.Close()
}

// Close waits for what requests left behind on slow nodes. The HTTP server has
// to be shut down before.
func (s *Server) Close() error {
	s.blobs.close()
	return nil
}

// stored is a body's bytes, written and ready for a commit.
type stored struct {
	inline []byte
	blobs  []tracker.NewBlob
	holes  []storage.Damage
	pool   *sync.Pool
	buf    *[]byte
}

// release gives the inline buffer back; the catalog keeps no reference to it.
func (s *stored) release() {
	if s.buf != nil {
		s.pool.Put(s.buf)
		s.buf, s.inline = nil, nil
	}
}

// store takes a body to where its commit can refer to it: bodies of at most
// inlineLimit bytes into memory, others into a blob. On nil the body is
// verified.
func (c *call) store(b *body, bucket tracker.BucketID, class string, inlineLimit int) (*stored, error) {
	switch {
	case b.length == 0:
		return &stored{}, b.readAll(nil)
	case b.length > int64(inlineLimit):
		return c.storeBlob(b, b, bucket, class, b.length)
	}
	d := c.s.blobs
	s := &stored{pool: &d.inline}
	s.buf = d.inline.Get().(*[]byte)
	var err error
	if b.length > 0 {
		s.inline = (*s.buf)[:b.length]
		err = b.readAll(s.inline)
	} else {
		s.inline, err = b.readUpTo((*s.buf)[:inlineLimit+1])
	}
	switch {
	case err != nil:
		s.release()
		return nil, err
	case len(s.inline) > inlineLimit:
		defer s.release()
		return c.storeBlob(b, io.MultiReader(bytes.NewReader(s.inline), b), bucket, class, -1)
	}
	return s, nil
}

// placeTries bounds how often a grant is replaced before the first byte of a
// body was read.
const placeTries = 3

// storeBlob streams src, which reads b, into a blob. A grant whose nodes
// refuse before the first byte was taken is replaced by another; afterwards
// the body is spent and the client has to send it again.
func (c *call) storeBlob(b *body, src io.Reader, bucket tracker.BucketID, class string, size int64) (*stored, error) {
	d := c.s.blobs
	ctx := c.r.Context()
	first := b.size == 0
	for try := 1; ; try++ {
		grant, err := d.deps.Scheduler.Place(ctx, &tracker.PlaceRequest{Bucket: bucket, Class: class, Size: size})
		if err != nil {
			return nil, fmt.Errorf("place: %w", err)
		}
		nb, holes, err := d.writer.Write(ctx, grant, d.deps.Nodes, src, size)
		switch {
		case err == nil:
			return &stored{blobs: []tracker.NewBlob{nb}, holes: holes}, nil
		case b.err != nil && b.err != io.EOF:
			return nil, b.err
		case !first || b.size > 0 || b.err != nil || try == placeTries || ctx.Err() != nil:
			if fault.KindOf(err) == fault.Unavailable {
				err = fmt.Errorf("%w: %w", s3err.ServiceUnavailable, err)
			}
			return nil, err
		}
	}
}

// rankTable orders nodes for reading; it is made anew at most once a second.
type rankTable struct {
	at    time.Time
	ranks map[storage.NodeID]int
}

// rank returns the order in which nodes are to be read: those that do little
// first, those that are suspect or gone only where nothing else is left.
func (d *dataPath) rank(ctx context.Context) func(storage.NodeID) int {
	t := d.ranks.Load()
	if t == nil || time.Since(t.at) > time.Second {
		if m, err := d.deps.Scheduler.Map(ctx); err == nil {
			t = newRankTable(m)
			d.ranks.Store(t)
		}
	}
	if t == nil {
		return nil
	}
	return func(id storage.NodeID) int { return t.ranks[id] }
}

func newRankTable(m *tracker.Map) *rankTable {
	t := &rankTable{at: time.Now(), ranks: make(map[storage.NodeID]int, len(m.Nodes))}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		rank := int(n.Load.LatencyMicros/1000 + n.Load.InFlight>>20)
		switch n.State {
		case tracker.NodeActive, tracker.NodeDraining:
		case tracker.NodeSuspect:
			rank += blob.Avoid
		default:
			rank += 2 * blob.Avoid
		}
		t.ranks[n.ID] = rank
	}
	return t
}
