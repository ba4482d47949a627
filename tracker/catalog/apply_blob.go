package catalog

import (
	"fmt"

	"holdfast/storage"
	"holdfast/tracker"
)

// getBlob reads a blob's row; r points into b.blobVal.
func (b *batch) getBlob(id storage.BlobID, r *blobRow) bool {
	b.blobKey = keyBlob(b.blobKey, id)
	v, ok := b.get(b.blobKey, &b.blobVal)
	if !ok {
		return false
	}
	if err := r.decode(v); err != nil {
		b.fail(err)
		return false
	}
	return true
}

func (b *batch) setBlob(id storage.BlobID, r *blobRow) {
	b.blobKey = keyBlob(b.blobKey, id)
	b.row = r.append(b.row[:0])
	b.set(b.blobKey, b.row)
}

// unknownBlobs refuses a list that names a blob which is in the catalog: a
// grant is for one attempt.
func (b *batch) unknownBlobs(l *blobs) (err error) {
	var r blobRow
	l.each(func(n *newBlob) {
		if err == nil && b.getBlob(n.blobID(), &r) {
			err = fmt.Errorf("blob %s was committed before: %w", n.blobID(), tracker.ErrConflict)
		}
	})
	return err
}

// commitBlobs writes the rows of new blobs.
func (b *batch) commitBlobs(l *blobs, owner holder, c *command, seq uint64, flags byte) {
	l.each(func(n *newBlob) {
		r := blobRow{flags: flags, owner: owner, seq: seq, tag: tagOf(c.req), scheme: n.scheme, mapGen: 1, length: n.length, shards: n.shards}
		b.setBlob(n.blobID(), &r)
	})
}

// release takes holder h from a blob. With the last one the blob is set dying
// and becomes garbage of sequence seq.
func (b *batch) release(id storage.BlobID, h holder, seq uint64) {
	var r blobRow
	if !b.getBlob(id, &r) || r.flags&blobDying != 0 {
		return
	}
	if r.flags&blobShared != 0 {
		b.key2 = keyHolder(b.key2, id, h)
		b.delete(b.key2)
		lower := append(append(b.key2[:0], rowHolder), id[:]...)
		b.key2 = lower
		held := false
		b.walk(lower, keyAfter(nil, lower), func(_, _ []byte) bool {
			held = true
			return false
		})
		if held || b.err != nil {
			return
		}
	} else if r.owner != h {
		return
	}
	r.flags |= blobDying
	b.setBlob(id, &r)
	key := b.garbage(seq)
	b.row = append(append(b.row[:0], 1, garbageBlob), id[:]...)
	b.set(key, b.row)
}

// share gives a live blob one more holder.
func (b *batch) share(id storage.BlobID, h holder) {
	var r blobRow
	if !b.getBlob(id, &r) || r.flags&blobDying != 0 {
		b.fail(fmt.Errorf("blob %s of a live version is not live: %w", id, ErrRow))
		return
	}
	if r.flags&blobShared == 0 {
		b.key2 = keyHolder(b.key2, id, r.owner)
		b.set(b.key2, holderValue)
		r.flags |= blobShared
		b.setBlob(id, &r)
	}
	b.key2 = keyHolder(b.key2, id, h)
	b.set(b.key2, holderValue)
}

// holderValue is the value of row 61: its version.
var holderValue = []byte{1}

// dropVersion gives up what a version owns: its bytes, its place in the
// usage, and, where nothing else proves it, the memory of its request. Its row
// is the caller's to overwrite or delete.
func (b *batch) dropVersion(st *bucketState, key []byte, o *objectRow, seq uint64) {
	b.count(st, usageRow{versions: -1, bytes: -o.size})
	if o.marker() {
		return
	}
	b.outlive(st, key, o)
	h := holder{st.id, o.holder}
	o.eachExtent(func(e *extent) { b.release(e.id(), h, seq) })
	if o.flags&flagInline != 0 {
		b.key = keyInline(b.key, st.id, key, o.seq)
		b.delete(b.key)
		b.count(st, usageRow{inline: -o.size})
	}
	if o.flags&flagPieces != 0 {
		k := b.garbage(seq)
		b.row = le64(le64(le64(append(b.row[:0], 1, garbageVersion), uint64(st.id)), o.holder), o.seq)
		b.row = append(b.row, key...)
		b.set(k, b.row)
	}
}
