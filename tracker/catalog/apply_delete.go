package catalog

import (
	"encoding/binary"

	"holdfast/tracker"
)

func (b *batch) deleteOne(c *command) any {
	bucket := tracker.BucketID(c.body.u64())
	var d deleteBody
	if !d.decode(&c.body) || !c.body.done() {
		return tracker.ErrInvalid
	}
	r := new(tracker.DeleteResult)
	b.remove(c, bucket, &d, c.req, r)
	if r.Err != nil {
		return r.Err
	}
	return r
}

func (b *batch) deleteMany(c *command) any {
	bucket, first := tracker.BucketID(c.body.u64()), c.body.u32()
	n := c.body.count(MaxDeletes)
	rest := c.body // judge the form of all before any is done
	var d deleteBody
	for range n {
		if !d.decode(&rest) {
			return tracker.ErrInvalid
		}
	}
	if !rest.done() {
		return tracker.ErrInvalid
	}
	results := make([]tracker.DeleteResult, n)
	for i := range results {
		d.decode(&c.body)
		b.remove(c, bucket, &d, entryRequest(c.req, first+uint32(i)), &results[i])
	}
	return results
}

// entryRequest makes the request id of an entry of DeleteObjects.
func entryRequest(req tracker.RequestID, i uint32) tracker.RequestID {
	if req != (tracker.RequestID{}) {
		at := req[12:]
		binary.BigEndian.PutUint32(at, binary.BigEndian.Uint32(at)^(i+1))
	}
	return req
}

// remove does one deletion and fills r.
func (b *batch) remove(c *command, bucket tracker.BucketID, d *deleteBody, req tracker.RequestID, r *tracker.DeleteResult) {
	var known resultRow
	if b.recall(bucket, d.key, req, &known) && known.kind == resultDelete {
		deleteResult(r, known.flags, known.seq, [4]byte(known.rest))
		return
	}
	if r.Err = b.expired(c); r.Err != nil {
		return
	}
	st := b.bucket(bucket)
	if st == nil {
		r.Err = tracker.ErrNoSuchBucket
		return
	}
	var cur objectRow
	var live *objectRow
	if b.current(bucket, d.key, &cur) {
		live = &cur
	}
	if d.kind != deleteCurrent {
		b.removeVersion(c, st, d, live, req, r)
		return
	}
	if r.Err = d.cond.judge(live); r.Err != nil {
		return
	}
	if st.core.versioning != tracker.Unversioned {
		b.addMarker(c, st, d, live, req, r)
		return
	}
	if live == nil {
		return
	}
	seq := b.next()
	delta := b.makeRoom(st, d.key, live, seq, false)
	b.changed(changeRemove, st, d.key, live.flags, live.seq, live.seq, delta)
	b.rememberDelete(c, st, d.key, req, 0, live.seq, [4]byte{}, r)
}

// addMarker puts a delete marker on top.
func (b *batch) addMarker(c *command, st *bucketState, d *deleteBody, live *objectRow, req tracker.RequestID, r *tracker.DeleteResult) {
	seq := b.next()
	var prev uint64
	if live != nil {
		prev = live.seq
	}
	flags, deleted := uint16(flagMarker), uint16(deletedVersion|deletedMarker)
	if st.core.versioning == tracker.VersioningSuspended {
		flags |= flagNull
		deleted |= deletedNull
	}
	delta := b.makeRoom(st, d.key, live, seq, false)
	b.obj = appendObjectHead(b.obj[:0], flags, seq, req, 0)
	b.key = keyVersion(b.key, st.id, d.key, seq)
	b.set(b.key, b.obj)
	if flags&flagNull != 0 {
		b.setNull(st, d.key, seq)
	}
	b.count(st, usageRow{versions: 1})
	b.changed(changeMarker, st, d.key, flags, seq, prev, delta)
	b.rememberDelete(c, st, d.key, req, deleted, seq, tagOf(req), r)
}

// removeVersion removes the version that was named; where it was the current
// one, the next takes its place, unless that is a marker.
func (b *batch) removeVersion(c *command, st *bucketState, d *deleteBody, live *objectRow, req tracker.RequestID, r *tracker.DeleteResult) {
	var o objectRow
	current := live != nil && d.names(live)
	if current {
		o = *live
	} else if !b.findNoncurrent(st, d, &o) {
		if r.Err = d.cond.judge(nil); r.Err == nil && d.kind == deleteVersion {
			r.VersionID = d.version.String()
		} else if r.Err == nil {
			r.VersionID = nullVersion
		}
		return
	}
	named := &o
	if o.marker() {
		named = nil
	}
	if r.Err = d.cond.judge(named); r.Err != nil {
		return
	}
	seq := b.next()
	deleted := uint16(deletedVersion)
	if o.null() {
		deleted |= deletedNull
	}
	if o.marker() {
		deleted |= deletedMarker
	}
	delta := -o.size
	var prev uint64
	if live != nil {
		prev = live.seq
	}
	// The rows below are looked at before anything is written.
	promote := current || live == nil && b.newest(st, d.key) == o.seq
	var below noncurrentRow
	if promote {
		below = b.below(st, d.key, o.seq)
	}
	flags, tag, gone := o.flags, tagOf(o.req), o.seq
	b.dropVersion(st, d.key, &o, seq)
	if current {
		b.count(st, usageRow{objects: -1})
		b.key = keyObject(b.key, st.id, d.key)
		b.delete(b.key)
	} else {
		b.deleteNoncurrent(st, d.key, &o)
	}
	if promote && below.val != nil && below.row.flags&flagMarker == 0 {
		b.key = keyObject(b.key, st.id, d.key)
		b.set(b.key, below.val)
		b.deleteNoncurrent(st, d.key, &below.row)
		b.count(st, usageRow{objects: 1})
	}
	b.changed(changeRemove, st, d.key, flags, gone, prev, delta)
	b.rememberDelete(c, st, d.key, req, deleted, gone, tag, r)
}

// names reports whether the deletion names this version.
func (d *deleteBody) names(o *objectRow) bool {
	if d.kind == deleteNull {
		return o.null()
	}
	return !o.null() && d.version == makeID(o.seq, tagOf(o.req))
}

// findNoncurrent finds the version that was named in row 11.
func (b *batch) findNoncurrent(st *bucketState, d *deleteBody, o *objectRow) bool {
	seq := d.version.seq()
	if d.kind == deleteNull {
		if seq = b.nullSeq(st, d.key); seq == 0 {
			return false
		}
	}
	return b.noncurrent(st, d.key, seq, o) && d.names(o)
}

// newest returns the seq of the newest row 11 of a key, 0 if there is none.
func (b *batch) newest(st *bucketState, key []byte) (seq uint64) {
	b.key2 = keyOf(b.key2, rowVersion, st.id, key)
	b.walk(b.key2, keyAfter(nil, b.key2), func(k, _ []byte) bool {
		seq = ^seqFromKey(k)
		return false
	})
	return seq
}

// noncurrentRow is a row 11 that was copied out.
type noncurrentRow struct {
	row objectRow
	val []byte
}

// below returns the newest row 11 of a key under seq; val is nil if there is none.
func (b *batch) below(st *bucketState, key []byte, seq uint64) (n noncurrentRow) {
	lower := keyVersion(nil, st.id, key, seq-1)
	b.key2 = keyOf(b.key2, rowVersion, st.id, key)
	b.walk(lower, keyAfter(nil, b.key2), func(_, v []byte) bool {
		n.val = append([]byte(nil), v...)
		return false
	})
	if n.val != nil {
		b.decoded(&n.row, n.val)
	}
	return n
}

// rememberDelete remembers what a deletion did and fills r.
func (b *batch) rememberDelete(c *command, st *bucketState, key []byte, req tracker.RequestID, flags uint16, seq uint64, tag [4]byte, r *tracker.DeleteResult) {
	deleteResult(r, flags, seq, tag)
	if req == (tracker.RequestID{}) {
		return
	}
	expiry := b.resultHead(resultDelete, flags, seq, c.notAfter)
	b.row = append(b.row, tag[:]...)
	b.remember(st.id, key, req, expiry)
}

func deleteResult(r *tracker.DeleteResult, flags uint16, seq uint64, tag [4]byte) {
	r.Marker = flags&deletedMarker != 0
	switch {
	case flags&deletedNull != 0:
		r.VersionID = nullVersion
	case flags&deletedVersion != 0:
		r.VersionID = makeID(seq, tag).String()
	}
}
