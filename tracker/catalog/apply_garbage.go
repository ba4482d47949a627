package catalog

import (
	"bytes"

	"holdfast/tracker"
)

const (
	// sweepRows bounds the rows one Sweep takes.
	sweepRows = 250
	// sweepUploads bounds the uploads one Sweep of a bucket aborts.
	sweepUploads = 50
	// dropRows bounds the rows one DropGarbage or trim takes.
	dropRows = 1000
	// outcomeLife is how long the outcome of an upload is kept, in ms.
	outcomeLife = 7 * 24 * 3600 * 1000
)

// Step answers the commands that do a bounded step of a longer work.
type Step struct {
	Done int    // rows taken
	More bool   // there is more to do
	Next []byte // where the next step goes on, for those that ask
}

// Sweep takes one bounded step of a garbage row that asks for it, and drops
// the row with the last. A row that is gone is no error. Result: *Step.
//
//	seq u64, n u32
type Sweep struct{ GarbageID }

func (Sweep) op() op { return opSweep }

func (c Sweep) append(dst []byte) []byte { return le32(le64(dst, c.Seq), c.N) }

func (b *batch) sweep(c *command) any {
	id := GarbageID{c.body.u64(), c.body.u32()}
	if !c.body.done() {
		return tracker.ErrInvalid
	}
	key := keyGarbage(nil, id.Seq, id.N)
	v, ok := b.get(key, &b.curVal)
	if !ok {
		return new(Step)
	}
	var g Garbage
	if err := g.decode(key, bytes.Clone(v)); err != nil {
		b.fail(err)
		return nil
	}
	s := new(Step)
	switch g.Kind {
	case GarbageVersion:
		b.sweepVersion(&g, s)
	case GarbageUpload:
		b.sweepUpload(&g, s)
	case GarbageBucket:
		b.sweepBucket(&g, s)
	default:
		return tracker.ErrInvalid
	}
	if !s.More {
		b.delete(key)
	}
	return s
}

// kvRow is a row that was copied out of a walk.
type kvRow struct{ key, val []byte }

// take copies up to limit rows with a prefix.
func (b *batch) take(prefix []byte, limit int) (rows []kvRow) {
	b.walk(prefix, keyAfter(nil, prefix), func(k, v []byte) bool {
		rows = append(rows, kvRow{bytes.Clone(k), bytes.Clone(v)})
		return len(rows) < limit
	})
	return rows
}

// sweepVersion takes a few pieces of a version that went: as many as have no
// extents, or one that has.
func (b *batch) sweepVersion(g *Garbage, s *Step) {
	prefix := be64(keyOf(nil, rowPiece, g.bucket, g.key), g.seq)
	rows := b.take(prefix, 4)
	s.More = len(rows) == 4
	seq := b.next()
	h := holder{g.bucket, g.holder}
	for i, r := range rows {
		if len(r.key) <= len(prefix) {
			b.fail(badRow("piece key"))
			return
		}
		if r.key[len(prefix)] == pieceExtents {
			var e extentPiece
			if err := e.decode(r.val); err != nil {
				b.fail(err)
				return
			}
			if i > 0 && s.Done+e.count > sweepRows {
				s.More = true
				return
			}
			e.eachExtent(func(x *extent) { b.release(x.id(), h, seq) })
			s.Done += e.count
		}
		b.delete(r.key)
		s.Done++
	}
}

func (b *batch) sweepUpload(g *Garbage, s *Step) {
	prefix := keyUpload(nil, rowPart, g.bucket, g.key, g.upload)
	rows := b.take(prefix, sweepRows)
	s.More = len(rows) == sweepRows
	seq := b.next()
	h := holder{g.bucket, g.upload.seq()}
	for _, r := range rows {
		number := dec{p: r.key[len(prefix):]}
		if len(number.p) != 4 {
			b.fail(badRow("part key"))
			return
		}
		if !g.kept(partNumber(r.key)) {
			var p partRow
			if err := p.decode(r.val); err != nil {
				b.fail(err)
				return
			}
			p.eachExtent(func(e *extent) { b.release(e.id(), h, seq) })
		}
		b.delete(r.key)
		s.Done++
	}
}

// partNumber reads the number at the end of a row 21's key.
func partNumber(key []byte) int {
	k := key[len(key)-4:]
	return int(k[0])<<24 | int(k[1])<<16 | int(k[2])<<8 | int(k[3])
}

// sweepBucket aborts what uploads a removed bucket had, forgets their
// outcomes, and at last its own rows.
func (b *batch) sweepBucket(g *Garbage, s *Step) {
	st := b.anyBucket(g.bucket)
	if st == nil {
		return
	}
	if st.core.state == bucketOpen {
		b.fail(badRow("an open bucket is garbage"))
		return
	}
	of := func(row byte) []byte { return be64([]byte{row}, uint64(g.bucket)) }
	for _, r := range b.take(of(rowUpload), sweepUploads) {
		ref := uploadRef{bucket: g.bucket}
		if !ref.fromKey(r.key) {
			b.fail(badRow("upload key"))
			return
		}
		b.abortUpload(st, &ref, true, tracker.RequestID{})
		s.Done++
	}
	if s.Done > 0 {
		s.More = true
		return
	}
	for _, r := range b.take(of(rowOutcome), sweepRows) {
		b.delete(r.key)
		s.Done++
	}
	if s.More = s.Done == sweepRows; s.More {
		return
	}
	for _, row := range []byte{rowBucket, rowUsage} {
		for _, r := range b.take(of(row), sweepRows) {
			b.delete(r.key)
		}
	}
	delete(b.buckets, g.bucket)
	b.spare = append(b.spare, st)
}

// fromKey reads the key and id of an upload out of a key of row 20 or 22.
func (r *uploadRef) fromKey(key []byte) bool {
	k, rest, ok := unescape(nil, key[9:])
	if !ok || len(rest) != uploadIDLen {
		return false
	}
	r.key = k
	copy(r.id[:], rest)
	return true
}

// DropGarbage drops the garbage rows up to one that was processed, and with a
// dying blob's its row, in bounded steps; it stops before a row that is still
// to be swept. Result: *Step.
//
//	seq u64, n u32
type DropGarbage struct{ UpTo GarbageID }

func (DropGarbage) op() op { return opDropGarbage }

func (c DropGarbage) append(dst []byte) []byte { return le32(le64(dst, c.UpTo.Seq), c.UpTo.N) }

func (b *batch) dropGarbage(c *command) any {
	upto := GarbageID{c.body.u64(), c.body.u32()}
	if !c.body.done() {
		return tracker.ErrInvalid
	}
	s := new(Step)
	var rows []kvRow
	b.walk([]byte{rowGarbage}, append(keyGarbage(nil, upto.Seq, upto.N), 0), func(k, v []byte) bool {
		rows = append(rows, kvRow{bytes.Clone(k), bytes.Clone(v)})
		return len(rows) < dropRows
	})
	for _, r := range rows {
		var g Garbage
		if err := g.decode(r.key, r.val); err != nil {
			b.fail(err)
			return nil
		}
		if g.Swept() {
			return s
		}
		var blob blobRow
		if g.Kind == GarbageBlob && b.getBlob(g.Blob, &blob) && blob.flags&blobDying != 0 {
			b.delete(b.blobKey)
		}
		b.delete(r.key)
		s.Done++
	}
	s.More = len(rows) == dropRows
	return s
}

// TrimResults forgets the results of requests that destructive time has
// passed, in bounded steps. Result: *Step.
type TrimResults struct{}

func (TrimResults) op() op { return opTrimResults }

func (TrimResults) append(dst []byte) []byte { return dst }

func (b *batch) trimResults() any {
	s := new(Step)
	for _, r := range b.take([]byte{rowTrim}, dropRows) {
		d := dec{p: r.val}
		d.version(1)
		expiry, bucket := int64(d.u64()), tracker.BucketID(d.u64())
		if d.bad || len(r.key) != 25 {
			b.fail(badRow("trim row"))
			return nil
		}
		if expiry >= b.now {
			return s
		}
		b.key = keyResult(b.key, bucket, d.p, tracker.RequestID(r.key[9:]))
		b.delete(b.key)
		b.delete(r.key)
		s.Done++
	}
	s.More = s.Done == dropRows
	return s
}

// TrimOutcomes forgets uploads that ended over seven days ago, looking at a
// bounded number of rows after the key After (Step.Next of the last one).
// Result: *Step.
//
//	after, to the end
type TrimOutcomes struct{ After []byte }

func (TrimOutcomes) op() op { return opTrimOutcomes }

func (c TrimOutcomes) append(dst []byte) []byte { return append(dst, c.After...) }

func (b *batch) trimOutcomes(c *command) any {
	lower := append([]byte{rowOutcome}, 0)
	if after := c.body.p; len(after) > 0 {
		if after[0] != rowOutcome {
			return tracker.ErrInvalid
		}
		lower = append(bytes.Clone(after), 0)
	}
	s := new(Step)
	var old [][]byte
	seen := 0
	b.walk(lower, []byte{rowOutcome + 1}, func(k, v []byte) bool {
		var o outcomeRow
		if err := o.decode(v); err != nil {
			b.fail(err)
			return false
		}
		if o.state != uploadOpen && seqTime(o.seq)+outcomeLife < b.now {
			old = append(old, bytes.Clone(k))
		}
		if seen++; seen == dropRows {
			s.More, s.Next = true, bytes.Clone(k)
		}
		return seen < dropRows
	})
	for _, k := range old {
		b.delete(k)
	}
	s.Done = len(old)
	return s
}

// TrimChanges forgets the change log up to and with an index. Result: nil.
//
//	index u64
type TrimChanges struct{ UpTo uint64 }

func (TrimChanges) op() op { return opTrimChanges }

func (c TrimChanges) append(dst []byte) []byte { return le64(dst, c.UpTo) }

func (b *batch) trimChanges(c *command) any {
	upto := c.body.u64()
	if !c.body.done() || upto >= b.index {
		return tracker.ErrInvalid
	}
	if b.err == nil {
		b.fail(b.txn.DeleteRange([]byte{rowChange}, keyChange(nil, upto+1, 0)))
	}
	return nil
}
