package s3

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/erasure/stripe"
	"holdfast/gateway"
	"holdfast/gateway/blob"
	"holdfast/internal/checksum"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// dataPath is what the bytes of objects go through: writer and reader of
// blobs, hashing lanes, and buffers of bodies that are held in memory.
type dataPath struct {
	deps   gateway.Deps
	writer *blob.Writer
	reader *blob.Reader
	md5    *checksum.MD5Pool
	bufs   [len(bufferSizes)]sync.Pool // of *[]byte, by class
	writes *budget
	reads  *budget
	ranks  atomic.Pointer[rankTable]
}

// bufferSizes are the classes of buffers in bytes. The first takes the first
// piece of a body, the last any body that is held before it is written.
var bufferSizes = [...]int{firstPiece, 4 << 10, 16 << 10, gateway.MaxInlineLimit + 1, 256 << 10, maxHeld}

// firstPiece is how many bytes of a body must be there before more memory is
// given to it than they need.
const firstPiece = 1 << 10

// freeHeld is how many bytes of a body are held before it takes a share of the
// budget.
const freeHeld = 16 << 10

// maxHeld is the length up to which a body is held in memory before it is
// written, so that it can be written again under another grant. The writer
// takes about as much at once in any case.
const maxHeld = 1 << 20

// buffer returns a buffer of n bytes, at most maxHeld.
func (d *dataPath) buffer(n int) *[]byte {
	class := 0
	for bufferSizes[class] < n {
		class++
	}
	b, _ := d.bufs[class].Get().(*[]byte)
	if b == nil {
		s := make([]byte, bufferSizes[class])
		b = &s
	}
	*b = (*b)[:n]
	return b
}

// giveBack returns a buffer to its pool.
func (d *dataPath) giveBack(b *[]byte) {
	for class, size := range bufferSizes {
		if cap(*b) == size {
			d.bufs[class].Put(b)
			return // b is another's from here on
		}
	}
}

// newDataPath makes the data path of a server. It starts nothing. Without a
// clock it goes by the machine's.
func newDataPath(deps gateway.Deps, clk clock.Clock) *dataPath {
	if clk == nil {
		clk = clock.System{}
	}
	bd := blob.Deps{Clock: clk, Codecs: stripe.NewCodecs()}
	bc := blob.DefaultConfig()
	return &dataPath{deps: deps, writer: blob.NewWriter(bc, bd, deps.Scheduler.Renew), reader: blob.NewReader(bc, bd),
		md5: checksum.NewMD5Pool(), writes: newBudget(4), reads: newBudget(2)}
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
	s.asides.close()
	return nil
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
		// In powers of two, since finer differences are noise.
		rank := bits.Len64(uint64(max(n.Load.LatencyMicros, 0))>>10) + bits.Len64(uint64(max(n.Load.InFlight, 0))>>20)
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
