package blob

import (
	"context"
	"sync/atomic"
	"time"

	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/storage"
)

// fate is what is known of a shard in the course of a read; lower ones are
// tried first.
type fate uint8

const (
	sound   fate = iota
	slow         // a spare was read in its stead
	bad          // had bad frames; others of it may be good
	offline      // its node does not answer
	missing      // its node does not have it
)

// lane is one shard of a blob that is being read.
type lane struct {
	place    storage.Placement // as the map has it now; zero: a hole
	order    int64             // among lanes of equal fate
	fate     fate
	tried    uint64            // rows read, or tried to, in this window
	reported storage.Placement // told as damage
	why      error             // of the last failure
	op       *op               // in flight
	reading                    // idle stream, if op is nil
}

// reading is an open stream of frames, and where it stands.
type reading struct {
	rd     storage.ShardReader // nil: none
	place  storage.Placement
	seed   frame.Seed
	at     int64 // next frame
	end    int64 // first frame that is not asked for
	ctx    context.Context
	cancel context.CancelFunc // nil: the stream's own context
}

func (r *reading) close() {
	if r.rd != nil {
		_ = r.rd.Close()
	}
	if r.cancel != nil {
		r.cancel()
	}
	*r = reading{}
}

// op reads frames of one shard for one window. Until it is over, everything
// in it but given, due and counted is its goroutine's.
type op struct {
	reading
	index    int
	first, n int64 // frames
	mask     uint64
	rows     stripe.Rows
	run      *run
	good     uint64
	err      error
	given    atomic.Bool // up by the fetcher, or over: whoever sets it first
	due      time.Time   // when a spare is read beside it
	counted  bool        // not yet due
	took     time.Duration
}

// read opens the stream unless it is open at the right frame, reads and
// verifies.
func (p *op) read(f *fetcher) {
	started := f.r.clock.Now()
	if p.rd == nil {
		if p.err = p.open(f); p.err != nil {
			return
		}
	}
	from, to := p.rows.Extent(p.first, p.n)
	got, err := stripe.ReadRun(p.rd, p.run.buf[from:to])
	whole := p.n
	if err != nil {
		whole = int64(got / frame.Stride)
	}
	good, wrong := p.rows.Verify(p.seed, p.run.buf, p.first, whole)
	p.good, p.err = good, err
	if wrong != nil {
		p.err = wrong // and not what came after it
	}
	p.at += p.n
	p.took = f.r.clock.Now().Sub(started)
}

func (p *op) open(f *fetcher) error {
	node, err := f.o.Nodes.Shards(p.place.Node)
	if err != nil {
		return err
	}
	id := storage.ShardID{Blob: f.blob.ID, Index: uint8(p.index), Gen: p.place.Gen}
	rd, err := node.Open(p.ctx, id, p.first, p.end-p.first)
	if err != nil {
		return err
	}
	p.rd, p.seed = rd, frame.SeedOf(f.blob.ID, uint8(p.index), p.place.Gen)
	return nil
}

// fly reads in a goroutine of its own.
func (p *op) fly(f *fetcher, done chan<- *op) {
	defer f.r.wg.Done()
	p.read(f)
	if p.given.Swap(true) {
		p.discard(f.r)
		return
	}
	done <- p // has room for every lane
}

// discard ends an op whose frames nobody wants.
func (p *op) discard(r *Reader) {
	p.close()
	r.runs.put(p.run)
}

// nodeStat is what a Reader remembers of a node.
type nodeStat struct {
	reads latency
	slow  atomic.Int64 // nanoseconds since 1970 until which spares are preferred
}

// slowFor is how long new reads prefer spares of a node that was slow.
const slowFor = time.Second

// patience is how long to wait for a node before a spare is read too.
func (r *Reader) patience(n *nodeStat) time.Duration {
	return min(max(time.Duration(n.reads.p95.Load()), r.cfg.Hedge), r.cfg.HedgeMax)
}
