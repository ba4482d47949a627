package blob

import (
	"context"
	"errors"
	"math/bits"
	"time"

	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// window is some stripes and the buffers that hold them; or an error.
type window struct {
	stripe.Window
	runs []*run
	err  error
}

// release gives back a window and its buffers.
func (w *window) release(r *Reader) {
	if w == nil || w.err != nil {
		return
	}
	for i, b := range w.runs {
		r.runs.put(b)
		w.runs[i] = nil
	}
	w.runs = w.runs[:0]
	r.spare.Put(w)
}

// fetcher reads the windows of a stream in order. One goroutine at a time.
type fetcher struct {
	r     *Reader
	o     Options
	ctx   context.Context
	codec *stripe.Codec
	blob  tracker.Blob
	span  stripe.Span
	rows  int   // stripes of a window
	row   int64 // first stripe of the next window
	lanes []lane
	alone bool // one shard holds all there is: nothing to hedge, no goroutine
	done  chan *op

	flying    int
	suspects  []int // lanes to ask the catalog about
	refreshes int
	gone      error // the catalog's answer that the blob is not there
}

func newFetcher(r *Reader, codec *stripe.Codec, blob tracker.Blob, span stripe.Span, o Options) *fetcher {
	f := &fetcher{r: r, o: o, codec: codec, blob: blob, span: span, row: span.First}
	f.rows = int(min(int64(windowRows(blob.Scheme)), span.Stripes))
	f.lanes = make([]lane, len(blob.Shards))
	there := 0
	for i, p := range blob.Shards {
		f.lanes[i].place = p
		if p.Node != 0 {
			there++
		}
	}
	f.alone = there == 1
	if !f.alone {
		f.done = make(chan *op, len(f.lanes))
		for i := range f.lanes {
			f.rank(i)
		}
	}
	return f
}

// rank sets a lane's order and what is remembered of its node. Copies of
// equal rank are read by the blob's id, so that one of them stays cached.
func (f *fetcher) rank(i int) {
	l := &f.lanes[i]
	l.order = int64(i)
	if k := int(f.blob.Scheme.Data); k == 1 {
		l.order = int64((i + int(f.blob.ID[15])) % len(f.lanes))
	}
	if l.place.Node == 0 {
		return
	}
	if f.o.Rank != nil {
		rank := int64(min(max(f.o.Rank(l.place.Node), 0), 2*Avoid))
		if i < int(f.blob.Scheme.Data) && f.blob.Scheme.Data > 1 && rank < Avoid {
			rank = 0 // decoding costs more than a busy node
		}
		l.order += rank << 8
	}
	if f.r.nodes.get(l.place.Node).slow.Load() > f.r.clock.Now().UnixNano() {
		l.fate = slow
	}
}

// more reports whether there is a window left.
func (f *fetcher) more() bool { return f.row < f.span.First+f.span.Stripes }

// fetch reads the next window: it returns when every byte of the range in it
// is there.
func (f *fetcher) fetch() (*window, error) {
	w, _ := f.r.spare.Get().(*window)
	if w == nil {
		w = new(window)
	}
	n := min(int64(f.rows), f.span.First+f.span.Stripes-f.row)
	w.Reset(f.codec, f.blob.Length, f.row, int(n))
	for i := range f.lanes {
		f.lanes[i].tried = 0
	}
	err := f.fill(w)
	if err == nil {
		err = f.restore(w)
	}
	f.giveUp()
	if err != nil {
		w.release(f.r)
		return nil, err
	}
	f.row += n
	return w, nil
}

// wanted returns the frames of data shard i that the range has in a window.
func (f *fetcher) wanted(w *window, i int) (first, n int64) {
	first, n = f.span.Frames(i)
	end := min(first+n, w.First+int64(w.Stripes))
	first = max(first, w.First)
	return first, max(0, end-first)
}

// fill reads frames until the window lacks none.
func (f *fetcher) fill(w *window) error {
	f.launchData(w)
	idle := f.r.clock.Now().Add(f.r.cfg.Idle)
	var timer <-chan time.Time
	for f.lacking(w) {
		f.launchSpares(w)
		if f.settle() {
			continue // the map has changed
		}
		if f.flying == 0 {
			if f.lacking(w) && !f.lastResort() {
				return f.hopeless(w)
			}
			continue
		}
		if timer == nil {
			timer = f.r.clock.After(f.deadline(idle).Sub(f.r.clock.Now()))
		}
		select {
		case p := <-f.done:
			f.land(w, p)
		case <-timer:
			timer = nil
			now := f.r.clock.Now()
			if !now.Before(idle) {
				return f.hopeless(w)
			}
			f.hedge(now)
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	_ = f.settle()
	return nil
}

// lacking reports whether the range's bytes in the window are not all there.
func (f *fetcher) lacking(w *window) bool {
	for i := range int(f.blob.Scheme.Data) {
		if w.Lacking(i, w.Mask(f.wanted(w, i))) != 0 {
			return true
		}
	}
	return false
}

// launchData reads the frames that the range needs from the shards that hold
// them, which is all that there is to do where nothing is amiss.
func (f *fetcher) launchData(w *window) {
	k := int(f.blob.Scheme.Data)
	if k == 1 {
		return // any copy will do
	}
	for i := range k {
		l := &f.lanes[i]
		if first, n := f.wanted(w, i); n > 0 && l.place.Node != 0 && l.fate == sound && l.order < Avoid<<8 {
			f.launch(w, i, first, n)
		}
	}
}

// launchSpares reads other shards for the rows that what is in flight will
// not fill.
func (f *fetcher) launchSpares(w *window) {
	for {
		mask := f.uncovered(w)
		if mask == 0 {
			return
		}
		i := f.candidate(w, mask)
		if i < 0 {
			return
		}
		low, high := bits.TrailingZeros64(mask), 63-bits.LeadingZeros64(mask)
		f.launch(w, i, w.First+int64(low), int64(high-low+1))
	}
}

// uncovered returns the rows in which frames are lacking that the reads in
// flight, those that are due left out, cannot give.
func (f *fetcher) uncovered(w *window) (rows uint64) {
	k := int(f.blob.Scheme.Data)
	for i := range k {
		lacking := w.Lacking(i, w.Mask(f.wanted(w, i)))
		if p := f.lanes[i].op; p != nil && p.counted {
			lacking &^= p.mask
		}
		for ; lacking != 0; lacking &= lacking - 1 {
			s := bits.TrailingZeros64(lacking)
			there := w.Count(s)
			for j := range f.lanes {
				if p := f.lanes[j].op; p != nil && p.counted && (p.mask&^w.Good(j))>>s&1 != 0 {
					there++
				}
			}
			if there < k {
				rows |= 1 << s
			}
		}
	}
	return rows
}

// candidate returns the best lane that lacks frames of the rows which were not
// tried, -1 if there is none.
func (f *fetcher) candidate(w *window, rows uint64) int {
	best := -1
	for i := range f.lanes {
		l := &f.lanes[i]
		if l.place.Node == 0 || l.op != nil || rows&^w.Good(i)&^l.tried == 0 {
			continue
		}
		if best < 0 || l.cost() < f.lanes[best].cost() {
			best = i
		}
	}
	return best
}

// cost orders lanes: by fate, with nodes to avoid after slow ones, then by
// rank and index.
func (l *lane) cost() int64 {
	c := l.order + int64(l.fate)<<56
	if l.order >= Avoid<<8 {
		c += 1 << 57 // past a slow one
	}
	return c
}

// launch reads frames [first, first+n) of shard i.
func (f *fetcher) launch(w *window, i int, first, n int64) {
	l := &f.lanes[i]
	p := &op{reading: l.reading, index: i, first: first, n: n, mask: w.Mask(first, n), rows: w.Rows, run: f.r.runs.get(w.Stripes), counted: true}
	l.reading, l.op = reading{}, p
	l.tried |= p.mask
	f.flying++
	if p.rd != nil && (p.at != first || p.end < first+n) {
		p.close()
	}
	if p.rd == nil {
		p.place, p.at, p.ctx = l.place, first, f.ctx
		p.end = f.openEnd(i, first+n)
		if !f.alone && int64(f.rows) < f.span.Stripes {
			p.ctx, p.cancel = context.WithCancel(f.ctx)
		}
	}
	if f.alone {
		p.read(f)
		f.land(w, p)
		return
	}
	p.due = f.r.clock.Now().Add(f.r.patience(f.r.nodes.get(p.place.Node)))
	f.r.wg.Add(1)
	go p.fly(f, f.done)
}

// openEnd is up to where a stream of shard i is opened: the last frame that
// the range may need of it.
func (f *fetcher) openEnd(i int, least int64) int64 {
	end := f.span.First + f.span.Stripes
	if k := int(f.blob.Scheme.Data); k > 1 && i < k {
		first, n := f.span.Frames(i)
		end = first + n
	}
	return max(end, least)
}

// land takes what an op has read.
func (f *fetcher) land(w *window, p *op) {
	l := &f.lanes[p.index]
	l.op = nil
	f.flying--
	w.Take(p.index, p.run.buf, p.good)
	w.runs = append(w.runs, p.run)
	if p.err == nil {
		l.reading = p.reading
		f.r.nodes.get(p.place.Node).reads.observe(p.took)
		return
	}
	failed := p.place
	p.close()
	switch {
	case f.ctx.Err() != nil:
	case failed != l.place:
		l.tried = 0 // it was moved meanwhile
	case isBad(p.err):
		l.fate = bad
		f.suspect(p.index, p.err)
	case errors.Is(p.err, storage.ErrNotHere):
		l.fate = missing
		f.suspect(p.index, p.err)
	default:
		l.fate, l.why = offline, p.err
	}
}

func isBad(err error) bool {
	return errors.Is(err, frame.ErrSum) || errors.Is(err, stripe.ErrShort) || fault.KindOf(err) == fault.Corrupt
}

// deadline is when to look again: when the next op is due, or at idle.
func (f *fetcher) deadline(idle time.Time) time.Time {
	for i := range f.lanes {
		if p := f.lanes[i].op; p != nil && p.counted && p.due.Before(idle) {
			idle = p.due
		}
	}
	return idle
}

// hedge stops counting on reads that are due. They may still win.
func (f *fetcher) hedge(now time.Time) {
	for i := range f.lanes {
		l := &f.lanes[i]
		if l.op == nil || !l.op.counted || l.op.due.After(now) {
			continue
		}
		l.op.counted = false
		if l.fate == sound {
			l.fate = slow
		}
		f.r.nodes.get(l.op.place.Node).slow.Store(now.Add(slowFor).UnixNano())
	}
}

// restore computes the missing frames of the range.
func (f *fetcher) restore(w *window) error {
	k := int(f.blob.Scheme.Data)
	if k == 1 {
		return nil
	}
	for i := range k {
		mask := w.Mask(f.wanted(w, i))
		if mask&^w.Good(i) == 0 {
			continue
		}
		if w.Buffer(i) == nil {
			b := f.r.runs.get(w.Stripes)
			w.runs = append(w.runs, b)
			w.Take(i, b.buf, 0)
		}
		if err := w.Restore(i, mask); err != nil {
			return err
		}
	}
	return nil
}

// giveUp leaves behind what is still in flight.
func (f *fetcher) giveUp() {
	for i := range f.lanes {
		l := &f.lanes[i]
		if p := l.op; p != nil {
			l.op = nil
			if p.cancel != nil {
				p.cancel()
			}
			if p.given.Swap(true) { // it was over before
				q := <-f.done
				q.discard(f.r)
			}
		}
	}
	f.flying = 0
}

// close ends all streams.
func (f *fetcher) close() {
	for i := range f.lanes {
		f.lanes[i].reading.close()
	}
}
