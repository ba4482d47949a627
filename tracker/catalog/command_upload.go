package catalog

import (
	"holdfast/tracker"
)

// CreateUpload starts a multipart upload. Result: *tracker.Upload with its
// name and time only.
//
//	bucket u64, key block, owner block, attrs block, headers block
type CreateUpload struct{ *tracker.CreateUpload }

func (CreateUpload) op() op { return opCreateUpload }

func (c CreateUpload) tagged() bool { return len(c.Tags) > 0 }

func (c CreateUpload) append(dst []byte) []byte {
	dst = block(block(le64(dst, uint64(c.Bucket)), c.Key), c.Owner)
	return appendMeta(dst, &c.Meta)
}

// PutPart commits a part. Result: nil.
//
//	bucket u64, key block, upload 12, number u32, part, blobs
type PutPart struct{ *tracker.PutPart }

func (PutPart) op() op { return opPutPart }

func (c PutPart) append(dst []byte) []byte {
	r := c.PutPart
	dst = le32(appendUploadRef(dst, &r.UploadRef), uint32(r.Number))
	return appendBlobs(appendPart(dst, &r.Part), r.Blobs)
}

// SizeHint is about how long the command is, encoded.
func (c PutPart) SizeHint() int { return 256 + len(c.PutPart.Key) + 384*len(c.PutPart.Blobs) }

func appendUploadRef(dst []byte, r *tracker.UploadRef) []byte {
	id, _ := parseID(r.Upload)
	return append(block(le64(dst, uint64(r.Bucket)), r.Key), id[:]...)
}

// uploadRef is a decoded reference; key points into the command.
type uploadRef struct {
	bucket tracker.BucketID
	key    []byte
	id     uploadID
}

func (r *uploadRef) decode(d *dec) {
	r.bucket, r.key = tracker.BucketID(d.u64()), d.block()
	copy(r.id[:], d.take(uploadIDLen))
	if !goodKey(r.key) {
		d.bad = true
	}
}

// Complete makes the object of an upload from parts that PrepareComplete
// read. It is refused with tracker.ErrConflict if a part changed since.
// Result: *tracker.PutResult with Meta.
//
//	bucket u64, key block, upload 12, sequence of the last part change u64,
//	conditions, size uvarint, attrs block, headers block, parts uvarint,
//	kept parts: count uvarint, each first and length uvarint, as a block
//	first extents: count u8, extents, as a block
//	pieces: count uvarint, each kind u8, key suffix block, value of row 13 block
type Complete struct {
	ref     tracker.UploadRef
	changes uint64
	cond    tracker.Conditions
	size    int64
	attrs   []byte
	headers []byte
	parts   int
	keep    []byte
	first   []byte
	pieces  []piece

	withTags bool
}

// piece is a row 13 to be: what follows the seq in its key, and its value.
type piece struct {
	kind   byte
	suffix []byte
	val    []byte
}

func (*Complete) op() op { return opComplete }

func (c *Complete) tagged() bool { return c.withTags }

func (c *Complete) append(dst []byte) []byte {
	dst = le64(appendUploadRef(dst, &c.ref), c.changes)
	dst = uv(appendConditions(dst, &c.cond), uint64(c.size))
	dst = uv(block(block(dst, c.attrs), c.headers), uint64(c.parts))
	dst = block(block(dst, c.keep), c.first)
	dst = uv(dst, uint64(len(c.pieces)))
	for i := range c.pieces {
		p := &c.pieces[i]
		dst = block(block(append(dst, p.kind), p.suffix), p.val)
	}
	return dst
}

// SizeHint is about how long the command is, encoded.
func (c *Complete) SizeHint() int {
	n := 512 + len(c.ref.Key) + len(c.attrs) + len(c.headers) + len(c.keep) + len(c.first)
	for i := range c.pieces {
		n += len(c.pieces[i].val) + 24
	}
	return n
}

type completeBody struct {
	ref     uploadRef
	changes uint64
	cond    conditions
	size    int64
	attrs   []byte
	headers []byte
	parts   int
	keep    []byte
	first   []byte
	pieces  dec
	count   int
}

func (p *completeBody) decode(d *dec) bool {
	p.ref.decode(d)
	p.changes = d.u64()
	p.cond.decode(d)
	p.size = d.size()
	p.attrs, p.headers = takeMeta(d)
	p.parts = d.count(maxParts)
	p.keep, p.first = d.block(), d.block()
	p.count = d.count(2 * maxParts)
	p.pieces = dec{p: d.p}
	for range p.count {
		kind, suffix, val := d.u8(), d.block(), d.block()
		var e extentPiece
		switch {
		case kind == pieceExtents && len(suffix) == 8 && e.decode(val) == nil && e.count <= pieceExtentMax:
		case kind == pieceParts && len(suffix) == 4:
		default:
			d.bad = true
		}
	}
	keep := dec{p: p.keep}
	for n := keep.count(maxParts); n > 0; n-- {
		keep.uv()
		keep.uv()
	}
	first := dec{p: p.first}
	n := first.u8()
	for range n {
		first.take(16)
		first.size()
		first.size()
	}
	return d.done() && keep.done() && first.done() && n <= rowExtents && p.parts > 0
}

// each calls f for each piece in order.
func (p *completeBody) each(f func(kind byte, suffix, val []byte)) {
	d := p.pieces
	for range p.count {
		kind, suffix := d.u8(), d.block()
		f(kind, suffix, d.block())
	}
}

// Abort ends an upload. Result: nil.
//
//	bucket u64, key block, upload 12, u8: 1 if a time follows, i64 in ms
type Abort struct{ *tracker.AbortUpload }

func (Abort) op() op { return opAbort }

func (c Abort) append(dst []byte) []byte {
	dst = appendUploadRef(dst, &c.UploadRef)
	if c.IfInitiated == nil {
		return append(dst, 0)
	}
	return le64(append(dst, 1), uint64(*c.IfInitiated))
}
