package catalog

import (
	"holdfast/tracker"
)

func (b *batch) createUpload(c *command) any {
	d := &c.body
	bucket, key, owner := tracker.BucketID(d.u64()), d.block(), d.block()
	attrBytes, headers := takeMeta(d)
	if !d.done() || !goodKey(key) || len(owner) > maxText {
		return tracker.ErrInvalid
	}
	answer := func(seq uint64) *tracker.Upload {
		id := makeID(seq, tagOf(c.req))
		return &tracker.Upload{UploadRef: tracker.UploadRef{Bucket: bucket, Key: string(key), Upload: id.String()}, Initiated: seqTime(seq)}
	}
	var known resultRow
	if b.recall(bucket, key, c.req, &known) && known.kind == resultID {
		return answer(known.seq)
	}
	if err := b.expired(c); err != nil {
		return err
	}
	st := b.bucket(bucket)
	if st == nil {
		return tracker.ErrNoSuchBucket
	}
	seq := b.next()
	id := makeID(seq, tagOf(c.req))
	b.key = keyUpload(b.key, rowUpload, bucket, key, id)
	b.row = append(append(block(append(b.row[:0], 1), owner), attrBytes...), headers...)
	b.set(b.key, b.row)
	b.setOutcome(bucket, key, id, &outcomeRow{state: uploadOpen})
	b.count(st, usageRow{uploads: 1})
	b.rememberID(bucket, key, c, seq)
	return answer(seq)
}

func (b *batch) setOutcome(bucket tracker.BucketID, key []byte, id uploadID, o *outcomeRow) {
	b.key = keyUpload(b.key, rowOutcome, bucket, key, id)
	b.row = o.append(b.row[:0])
	b.set(b.key, b.row)
}

// outcome reads row 22; o points into b.srcVal.
func (b *batch) outcome(r *uploadRef, o *outcomeRow) bool {
	b.key = keyUpload(b.key, rowOutcome, r.bucket, r.key, r.id)
	v, ok := b.get(b.key, &b.srcVal)
	if !ok {
		return false
	}
	if err := o.decode(v); err != nil {
		b.fail(err)
		return false
	}
	return true
}

func (b *batch) putPart(c *command) any {
	var ref uploadRef
	var part partBody
	var list blobs
	ref.decode(&c.body)
	number := c.body.u32()
	part.decode(&c.body)
	list.decode(&c.body)
	if !c.body.done() || number < 1 || number > maxParts || list.length != part.size {
		return tracker.ErrInvalid
	}
	h := holder{ref.bucket, ref.id.seq()}
	if b.partKnown(c, &ref, &list, h) {
		return nil
	}
	if err := b.expired(c); err != nil {
		return err
	}
	if b.bucket(ref.bucket) == nil {
		return tracker.ErrNoSuchBucket
	}
	var o outcomeRow
	if !b.outcome(&ref, &o) || o.state != uploadOpen {
		return tracker.ErrNoSuchUpload
	}
	if list.count > 0 && list.expiry <= b.fence {
		return tracker.ErrFenced
	}
	if err := b.unknownBlobs(&list); err != nil {
		return err
	}
	seq := b.next()
	b.key2 = be32(keyUpload(b.key2, rowPart, ref.bucket, ref.key, ref.id), number)
	if v, ok := b.get(b.key2, &b.val); ok {
		var old partRow
		b.fail(old.decode(v))
		old.eachExtent(func(e *extent) { b.release(e.id(), h, seq) })
	}
	b.commitBlobs(&list, h, c, seq, 0)
	part.seq = seq
	b.obj = uv(part.append(append(b.obj[:0], 1)), uint64(list.count))
	list.each(func(n *newBlob) { b.obj = appendExtent(b.obj, n.id, n.length, 0) })
	b.key2 = be32(keyUpload(b.key2, rowPart, ref.bucket, ref.key, ref.id), number)
	b.set(b.key2, b.obj)
	b.setOutcome(ref.bucket, ref.key, ref.id, &outcomeRow{state: uploadOpen, seq: seq})
	if list.count == 0 {
		b.rememberID(ref.bucket, ref.key, c, seq)
	}
	return nil
}

// partKnown reports whether an earlier attempt committed this part.
func (b *batch) partKnown(c *command, ref *uploadRef, list *blobs, h holder) bool {
	if list.count == 0 {
		var known resultRow
		return b.recall(ref.bucket, ref.key, c.req, &known)
	}
	var r blobRow
	n := list.first()
	return c.req != (tracker.RequestID{}) && b.getBlob(n.blobID(), &r) && r.tag == tagOf(c.req) && r.owner == h
}

func (b *batch) complete(c *command) any {
	var p completeBody
	if !p.decode(&c.body) {
		return tracker.ErrInvalid
	}
	ref := &p.ref
	st := b.bucket(ref.bucket)
	if st == nil {
		return tracker.ErrNoSuchBucket
	}
	var o outcomeRow
	switch {
	case !b.outcome(ref, &o) || o.state == uploadAborted:
		return tracker.ErrNoSuchUpload
	case o.state == uploadCompleted:
		return o.result(st)
	}
	if err := b.expired(c); err != nil {
		return err
	}
	var cur objectRow
	var live *objectRow
	if b.current(ref.bucket, ref.key, &cur) {
		live = &cur
	}
	if err := p.cond.judge(live); err != nil {
		return err
	}
	if o.seq != p.changes {
		return tracker.ErrConflict
	}
	return b.completeVersion(c, &p, st, live)
}

// result makes the answer of a completed upload.
func (o *outcomeRow) result(st *bucketState) *tracker.PutResult {
	return putResult(st, o.flags, o.seq, o.req, &o.attrs, o.size, true)
}

// completeVersion writes the object of an upload that was judged. The parts'
// rows stay for a sweep, which leaves the blobs of the kept ones alone.
func (b *batch) completeVersion(c *command, p *completeBody, st *bucketState, live *objectRow) any {
	ref := &p.ref
	seq := b.next()
	var prev uint64
	if live != nil {
		prev = live.seq
	}
	flags := uint16(flagHolder | flagPieces)
	if st.core.versioning != tracker.VersioningEnabled {
		flags |= flagNull
	}
	p.each(func(kind byte, suffix, val []byte) {
		b.key = append(keyPiece(b.key, ref.bucket, ref.key, seq, kind), suffix...)
		b.set(b.key, val)
	})
	b.obj = appendObjectHead(b.obj[:0], flags, seq, c.req, ref.id.seq())
	b.obj = uv(append(uv(b.obj, uint64(p.size)), p.attrs...), uint64(p.parts))
	b.obj = append(append(b.obj, p.first...), p.headers...)
	delta := p.size + b.makeRoom(st, ref.key, live, seq, true)
	b.key = keyObject(b.key, st.id, ref.key)
	b.set(b.key, b.obj)
	b.key = keyUpload(b.key, rowUpload, ref.bucket, ref.key, ref.id)
	b.delete(b.key)
	out := outcomeRow{state: uploadCompleted, seq: seq, flags: flags, req: c.req, size: p.size}
	out.attrs.decode(&dec{p: p.attrs})
	out.attrs.tags = nil // of no use to the one who asks again
	b.setOutcome(ref.bucket, ref.key, ref.id, &out)
	b.sweepUploadLater(ref, p.keep, seq)
	b.count(st, usageRow{objects: 1, versions: 1, bytes: p.size, uploads: -1})
	b.changed(changePut, st, ref.key, flags, seq, prev, delta)
	return out.result(st)
}

// sweepUploadLater writes the garbage row of an upload's parts.
func (b *batch) sweepUploadLater(ref *uploadRef, keep []byte, seq uint64) {
	k := b.garbage(seq)
	b.row = le64(append(b.row[:0], 1, garbageUpload), uint64(ref.bucket))
	b.row = append(block(append(b.row, ref.id[:]...), ref.key), keep...)
	b.set(k, b.row)
}

// noneKept is an empty list of kept parts.
var noneKept = []byte{0}

func (b *batch) abort(c *command) any {
	var ref uploadRef
	ref.decode(&c.body)
	timed, initiated := c.body.u8() == 1, int64(0)
	if timed {
		initiated = int64(c.body.u64())
	}
	if !c.body.done() {
		return tracker.ErrInvalid
	}
	var o outcomeRow
	found := b.outcome(&ref, &o)
	if found && o.state == uploadAborted && o.req == c.req && c.req != (tracker.RequestID{}) {
		return nil
	}
	if err := b.expired(c); err != nil {
		return err
	}
	st := b.bucket(ref.bucket)
	if st == nil {
		return tracker.ErrNoSuchBucket
	}
	if !found || o.state != uploadOpen {
		return tracker.ErrNoSuchUpload
	}
	if timed && seqTime(ref.id.seq())/1000 != initiated/1000 {
		return tracker.ErrPrecondition
	}
	b.abortUpload(st, &ref, o.seq != 0, c.req)
	return nil
}

// abortUpload ends an open upload.
func (b *batch) abortUpload(st *bucketState, ref *uploadRef, parts bool, req tracker.RequestID) {
	seq := b.next()
	b.key = keyUpload(b.key, rowUpload, ref.bucket, ref.key, ref.id)
	b.delete(b.key)
	b.setOutcome(ref.bucket, ref.key, ref.id, &outcomeRow{state: uploadAborted, seq: seq, req: req})
	if parts {
		b.sweepUploadLater(ref, noneKept, seq)
	}
	b.count(st, usageRow{uploads: -1})
}
