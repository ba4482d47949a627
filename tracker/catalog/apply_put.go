package catalog

import (
	"encoding/binary"

	"holdfast/tracker"
)

// current reads row 10 of a key; o points into b.curVal until the next call.
func (b *batch) current(bucket tracker.BucketID, key []byte, o *objectRow) bool {
	b.key = keyObject(b.key, bucket, key)
	v, ok := b.get(b.key, &b.curVal)
	if !ok {
		return false
	}
	if err := o.decode(v); err != nil {
		b.fail(err)
		return false
	}
	return true
}

func (b *batch) put(c *command) any {
	var p putBody
	if !p.decode(&c.body) {
		return tracker.ErrInvalid
	}
	var cur, src objectRow
	var live *objectRow
	if b.current(p.bucket, p.key, &cur) {
		live = &cur
	}
	st := b.bucket(p.bucket)
	if known := b.putKnown(c, &p, st, live); known != nil {
		return known
	}
	if err := b.expired(c); err != nil {
		return err
	}
	if st == nil {
		return tracker.ErrNoSuchBucket
	}
	if err := p.cond.judge(live); err != nil {
		return err
	}
	switch p.kind {
	case dataBlobs:
		if p.blobs.expiry <= b.fence {
			return tracker.ErrFenced
		}
		if p.blobs.count > 1 || c.req == (tracker.RequestID{}) { // else putKnown looked
			if err := b.unknownBlobs(&p.blobs); err != nil {
				return err
			}
		}
	case dataSource:
		if err := b.findSource(&p, live, &src); err != nil {
			return err
		}
		p.size = src.size
	}
	return b.putVersion(c, &p, st, live, &src)
}

// putKnown answers an attempt whose work was done by an earlier one.
func (b *batch) putKnown(c *command, p *putBody, st *bucketState, live *objectRow) any {
	if c.req == (tracker.RequestID{}) || st == nil {
		return nil
	}
	if live != nil && live.req == c.req {
		return putResult(st, live.flags, live.seq, c.req, &live.attrs, live.size, p.kind == dataSource)
	}
	var a attrs
	if p.kind == dataBlobs {
		var r blobRow
		n := p.blobs.first()
		if !b.getBlob(n.blobID(), &r) {
			return nil
		}
		if r.tag != tagOf(c.req) || r.owner.bucket != p.bucket {
			return tracker.ErrConflict // a grant is for one attempt
		}
		flags := uint16(0)
		if r.flags&blobNull != 0 {
			flags = flagNull
		}
		a.decode(&dec{p: p.attrs})
		return putResult(st, flags, r.seq, c.req, &a, p.size, false)
	}
	var r resultRow
	if !b.recall(p.bucket, p.key, c.req, &r) || r.kind != resultPut {
		return nil
	}
	d := dec{p: r.rest}
	size := d.size()
	a.decode(&d)
	b.check(d, "result row")
	return putResult(st, r.flags, r.seq, c.req, &a, size, p.kind == dataSource)
}

// putResult makes the answer to a Put; with full its Meta is set.
func putResult(st *bucketState, flags uint16, seq uint64, req tracker.RequestID, a *attrs, size int64, full bool) *tracker.PutResult {
	r := &tracker.PutResult{Seq: seq, Modified: seqTime(seq), ETag: a.etagString(), VersionID: st.versionOf(flags, seq, tagOf(req))}
	if full {
		r.Meta = &tracker.Meta{Size: size}
		a.meta(r.Meta)
	}
	return r
}

// putVersion writes a version that was judged.
func (b *batch) putVersion(c *command, p *putBody, st *bucketState, live, src *objectRow) any {
	seq := b.next()
	var prev uint64
	if live != nil {
		prev = live.seq
	}
	flags := uint16(0)
	if st.core.versioning != tracker.VersioningEnabled {
		flags |= flagNull
	}
	var a attrs
	a.decode(&dec{p: p.attrs})
	h := holder{st.id, seq}
	extents, parts := p.extents, 0
	switch p.kind {
	case dataBlobs:
		flags |= b.putBlobs(c, p, h, byte(flags&flagNull)*blobNull)
	case dataInline:
		flags |= flagProof | flagInline
		b.putInline(st, p.key, seq, p.inline)
	case dataSource:
		flags |= flagProof | src.flags&(flagInline|flagPieces)
		parts = src.parts
		a.inherit(&src.attrs)
		b.copySource(p, st, src, h)
		extents = func(dst []byte) []byte { return append(append(dst, byte(src.count)), src.extents...) }
	default:
		flags |= flagProof
	}
	b.obj = appendObjectHead(b.obj[:0], flags, seq, c.req, 0)
	b.obj = a.append(uv(b.obj, uint64(p.size)))
	b.obj = append(extents(uv(b.obj, uint64(parts))), p.headers...)
	delta := p.size + b.makeRoom(st, p.key, live, seq, true)
	b.key = keyObject(b.key, st.id, p.key)
	b.set(b.key, b.obj)
	b.count(st, usageRow{objects: 1, versions: 1, bytes: p.size})
	b.changed(changePut, st, p.key, flags, seq, prev, delta)
	return putResult(st, flags, seq, c.req, &a, p.size, p.kind == dataSource)
}

func (b *batch) putInline(st *bucketState, key []byte, seq uint64, val []byte) {
	b.key = keyInline(b.key, st.id, key, seq)
	b.set(b.key, val)
	b.count(st, usageRow{inline: int64(len(val) - 1)})
}

// inherit takes from a copy's source what the request does not give.
func (a *attrs) inherit(src *attrs) {
	if a.etagKind == etagNone {
		a.etagKind, a.etag, a.etagParts = src.etagKind, src.etag, src.etagParts
	}
	if a.algorithm == 0 {
		a.algorithm, a.composite, a.sum = src.algorithm, src.composite, src.sum
	}
	a.hasCRC, a.crc = src.hasCRC, src.crc
}

// extents appends the count and the first extents of new blobs.
func (p *putBody) extents(dst []byte) []byte {
	dst = append(dst, byte(min(p.blobs.count, rowExtents)))
	n := 0
	p.blobs.each(func(nb *newBlob) {
		if n++; n <= rowExtents {
			dst = appendExtent(dst, nb.id, nb.length, 0)
		}
	})
	return dst
}

// pieceExtentMax is how many extents a row 13 holds, under 32 KiB and few
// enough for one step of a sweep.
const pieceExtentMax = 250

const pieceRowVersion = 1

// putBlobs writes the blobs' rows, and row 13 for the extents over the first 8.
func (b *batch) putBlobs(c *command, p *putBody, h holder, blobFlags byte) (flags uint16) {
	b.commitBlobs(&p.blobs, h, c, h.seq, blobFlags)
	if p.blobs.count <= rowExtents {
		return 0
	}
	w := extentWriter{emit: func(end int64, val []byte) {
		b.key = be64(keyPiece(b.key, h.bucket, p.key, h.seq, pieceExtents), uint64(end))
		b.set(b.key, val)
	}}
	p.blobs.each(func(n *newBlob) { w.add(n.id, n.length, 0) })
	w.flush()
	return flagPieces
}

// extentWriter cuts a version's extents into the first ones, which the object
// row takes, and pieces of row 13:
//
//	version u8, 1; object offset where the piece starts u64; count uvarint; extents
type extentWriter struct {
	emit       func(end int64, val []byte)
	first      []byte // of the object row, if keep is set
	keep       bool
	total      int
	offset     int64
	start      int64
	n          int
	buf, entry []byte
}

func (w *extentWriter) add(blob []byte, length, offset int64) {
	if w.total++; w.total <= rowExtents {
		if w.offset += length; w.keep {
			w.first = appendExtent(w.first, blob, length, offset)
		}
		return
	}
	if w.n == 0 {
		w.start, w.buf = w.offset, w.buf[:0]
	}
	w.buf = appendExtent(w.buf, blob, length, offset)
	w.offset += length
	if w.n++; w.n == pieceExtentMax {
		w.flush()
	}
}

// flush writes what is left.
func (w *extentWriter) flush() {
	if w.n == 0 {
		return
	}
	w.entry = uv(le64(append(w.entry[:0], pieceRowVersion), uint64(w.start)), uint64(w.n))
	w.entry = append(w.entry, w.buf...)
	w.emit(w.offset, w.entry)
	w.n = 0
}

// makeRoom takes the current version, if there is one, and the null version,
// if the new one is null too, out of the way of a new version or marker of
// sequence seq. It returns the change in bytes. Row 10 is deleted only where
// nothing overwrites it.
func (b *batch) makeRoom(st *bucketState, key []byte, live *objectRow, seq uint64, overwrite bool) (delta int64) {
	null := st.core.versioning != tracker.VersioningEnabled
	if live != nil {
		b.count(st, usageRow{objects: -1})
		if null && live.null() {
			b.dropVersion(st, key, live, seq)
			delta -= live.size
		} else {
			b.retire(st, key, live)
		}
		if !overwrite {
			b.key = keyObject(b.key, st.id, key)
			b.delete(b.key)
		}
	}
	if st.core.versioning == tracker.VersioningSuspended && (live == nil || !live.null()) {
		delta -= b.dropNull(st, key, seq)
	}
	return delta
}

// retire moves row 10, which b.curVal holds, to row 11.
func (b *batch) retire(st *bucketState, key []byte, live *objectRow) {
	b.outlive(st, key, live)
	b.key = keyVersion(b.key, st.id, key, live.seq)
	b.set(b.key, b.curVal)
	if live.null() {
		b.setNull(st, key, live.seq)
	}
}

// setNull notes where the null version lives in row 11: version u8 (1), seq u64.
func (b *batch) setNull(st *bucketState, key []byte, seq uint64) {
	b.key = keyOf(b.key, rowNull, st.id, key)
	b.row = le64(append(b.row[:0], 1), seq)
	b.set(b.key, b.row)
}

// nullSeq returns the seq of the null version in row 11, 0 if there is none.
func (b *batch) nullSeq(st *bucketState, key []byte) uint64 {
	b.key = keyOf(b.key, rowNull, st.id, key)
	v, ok := b.get(b.key, &b.val)
	if !ok {
		return 0
	}
	if len(v) != 9 || v[0] != 1 {
		b.fail(badRow("null version"))
		return 0
	}
	return binary.LittleEndian.Uint64(v[1:])
}

// dropNull removes the null version from row 11 and returns its size.
func (b *batch) dropNull(st *bucketState, key []byte, seq uint64) int64 {
	old := b.nullSeq(st, key)
	if old == 0 {
		return 0
	}
	var o objectRow
	if !b.noncurrent(st, key, old, &o) {
		b.fail(badRow("null version without a row"))
		return 0
	}
	b.dropVersion(st, key, &o, seq)
	b.deleteNoncurrent(st, key, &o)
	return o.size
}

// noncurrent reads a row 11; o points into b.val.
func (b *batch) noncurrent(st *bucketState, key []byte, seq uint64, o *objectRow) bool {
	b.key = keyVersion(b.key, st.id, key, seq)
	v, ok := b.get(b.key, &b.val)
	if !ok {
		return false
	}
	if err := o.decode(v); err != nil {
		b.fail(err)
		return false
	}
	return true
}

// deleteNoncurrent deletes the row 11 of o, and row 12 if it is null.
func (b *batch) deleteNoncurrent(st *bucketState, key []byte, o *objectRow) {
	b.key = keyVersion(b.key, st.id, key, o.seq)
	b.delete(b.key)
	if o.null() {
		b.key = keyOf(b.key, rowNull, st.id, key)
		b.delete(b.key)
	}
}
