package catalog

import (
	"bytes"

	"holdfast/tracker"
)

// findSource finds the version a copy shares the data of, and refuses it if
// it is gone or too many blobs would change in one command. src points into
// b.srcVal or, for a copy onto itself, into b.curVal.
func (b *batch) findSource(p *putBody, live *objectRow, src *objectRow) error {
	s := &p.source
	if live != nil && live.seq == s.seq && s.bucket == p.bucket && bytes.Equal(s.key, p.key) {
		*src = *live
	} else {
		b.key = keyObject(b.key, s.bucket, s.key)
		v, ok := b.get(b.key, &b.srcVal)
		if ok {
			b.decoded(src, v)
		}
		if !ok || src.seq != s.seq {
			b.key = keyVersion(b.key, s.bucket, s.key, s.seq)
			if v, ok = b.get(b.key, &b.srcVal); !ok {
				return tracker.ErrNoSuchKey
			}
			b.decoded(src, v)
		}
	}
	if src.marker() {
		return tracker.ErrNoSuchKey
	}
	if src.flags&flagPieces != 0 {
		n := src.count
		b.walkPieces(p, src.seq, func(_, val []byte) bool {
			var e extentPiece
			if err := e.decode(val); err != nil {
				b.fail(err)
			}
			n += e.count
			return n <= maxBlobs
		})
		if n > maxBlobs {
			return tracker.ErrTooLarge
		}
	}
	return nil
}

func (b *batch) decoded(o *objectRow, v []byte) {
	if err := o.decode(v); err != nil {
		b.fail(err)
	}
}

// walkPieces walks the rows 13 with extents of a copy's source.
func (b *batch) walkPieces(p *putBody, seq uint64, f func(key, val []byte) bool) {
	b.key2 = keyPiece(b.key2, p.source.bucket, p.source.key, seq, pieceExtents)
	b.walk(b.key2, keyAfter(nil, b.key2), f)
}

// copySource gives h a hold on what src holds, and its own rows 13 and 14.
func (b *batch) copySource(p *putBody, st *bucketState, src *objectRow, h holder) {
	s := &p.source
	if src.flags&flagInline != 0 {
		b.key = keyInline(b.key, s.bucket, s.key, src.seq)
		v, ok := b.get(b.key, &b.val)
		if !ok {
			b.fail(badRow("inline bytes are missing"))
			return
		}
		b.putInline(st, p.key, h.seq, v)
	}
	src.eachExtent(func(e *extent) { b.share(e.id(), h) })
	if src.flags&flagPieces == 0 {
		return
	}
	type row struct{ suffix, val []byte }
	var rows []row
	b.key2 = keyOf(b.key2, rowPiece, s.bucket, s.key)
	b.key2 = be64(b.key2, src.seq)
	from := len(b.key2)
	b.walk(b.key2, keyAfter(nil, b.key2), func(key, val []byte) bool {
		rows = append(rows, row{bytes.Clone(key[from:]), bytes.Clone(val)})
		return true
	})
	for _, r := range rows {
		b.key = be64(keyOf(b.key, rowPiece, st.id, p.key), h.seq)
		b.key = append(b.key, r.suffix...)
		b.set(b.key, r.val)
		if r.suffix[0] == pieceExtents {
			var e extentPiece
			b.fail(e.decode(r.val))
			e.eachExtent(func(x *extent) { b.share(x.id(), h) })
		}
	}
}

// extentPiece is a decoded row 13 with extents; see extentWriter.
type extentPiece struct {
	start int64
	extentList
}

func (p *extentPiece) decode(v []byte) error {
	d := dec{p: v}
	d.version(pieceRowVersion)
	p.start = int64(d.u64())
	p.take(&d, d.count(1<<16))
	if !d.done() {
		return badRow("extents piece")
	}
	return nil
}
