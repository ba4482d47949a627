package catalog

import "holdfast/tracker"

// SetTags replaces the tags of an existing version, current or not, and
// leaves its data, ETag, time and order as they are. Result: the version's id,
// a string, "" where the bucket does not version.
//
//	bucket u64, key block, kind u8, version id 12 if kind is 2, no conditions
//	(see Delete), tags to the end as in attrs
type SetTags struct{ *tracker.SetTags }

func (SetTags) op() op { return opSetTags }

func (c SetTags) append(dst []byte) []byte {
	r := c.SetTags
	dst = appendDelete(le64(dst, uint64(r.Bucket)), r.Key, r.Version, &tracker.Conditions{})
	return appendHeaders(dst, r.Tags)
}

// SizeHint is about how long the command is, encoded.
func (c SetTags) SizeHint() int {
	n := 128 + len(c.Key)
	for i := range c.Tags {
		n += len(c.Tags[i].Name) + len(c.Tags[i].Value) + 4
	}
	return n
}

func (b *batch) setTags(c *command) any {
	bucket := tracker.BucketID(c.body.u64())
	var d deleteBody
	good := d.decode(&c.body) && d.cond.flags == 0
	tags := c.body.p
	n, ok := countTags(tags)
	if !good || !ok {
		return tracker.ErrInvalid
	}
	if n == 0 {
		tags = nil
	}
	st := b.bucket(bucket)
	var known resultRow
	if st != nil && b.recall(bucket, d.key, c.req, &known) && known.kind == resultTags {
		return st.versionOf(known.flags, known.seq, [4]byte(known.rest))
	}
	if err := b.expired(c); err != nil {
		return err
	}
	if st == nil {
		return tracker.ErrNoSuchBucket
	}
	var cur, old objectRow
	var live *objectRow
	if b.current(bucket, d.key, &cur) {
		live = &cur
	}
	o, val, err := b.tagged(st, &d, live, &old)
	if err != nil {
		return err
	}
	b.writeTags(o, val, tags)
	var current uint64
	if live != nil {
		current = live.seq
	}
	b.changed(changeTags, st, d.key, o.flags, o.seq, current, 0)
	tag := tagOf(o.req)
	if c.req != (tracker.RequestID{}) {
		expiry := b.resultHead(resultTags, o.flags, o.seq, c.notAfter)
		b.row = append(b.row, tag[:]...)
		b.remember(bucket, d.key, c.req, expiry)
	}
	return st.versionOf(o.flags, o.seq, tag)
}

// tagged finds the version that is named and its row's value, and leaves the
// row's key in b.key.
func (b *batch) tagged(st *bucketState, d *deleteBody, live, old *objectRow) (*objectRow, []byte, error) {
	switch {
	case live != nil && (d.kind == deleteCurrent || d.names(live)):
		b.key = keyObject(b.key, st.id, d.key)
		return live, b.curVal, nil
	case d.kind == deleteCurrent:
		if b.newest(st, d.key) != 0 {
			return nil, nil, tracker.ErrDeleteMarker
		}
		return nil, nil, tracker.ErrNoSuchKey
	case !b.findNoncurrent(st, d, old):
		return nil, nil, tracker.ErrNoSuchVersion
	case old.marker():
		return nil, nil, tracker.ErrDeleteMarker
	}
	b.key = keyVersion(b.key, st.id, d.key, old.seq)
	return old, b.val, nil
}

// writeTags writes the row, val of o, anew at b.key, with other tags.
func (b *batch) writeTags(o *objectRow, val, tags []byte) {
	in := dec{p: val[objectHead:]}
	if o.flags&flagHolder != 0 {
		in.u64()
	}
	in.size()
	from := len(val) - len(in.p)
	b.obj = append(b.obj[:0], val[:from]...)
	a := o.attrs
	a.tags = tags
	b.obj = append(a.append(b.obj), val[from+len(o.attrBytes):]...)
	b.set(b.key, b.obj)
}

// versionOf is the id of a version as an answer tells it.
func (st *bucketState) versionOf(flags uint16, seq uint64, tag [4]byte) string {
	switch {
	case flags&flagNull == 0:
		return makeID(seq, tag).String()
	case st.core.versioning != tracker.Unversioned:
		return nullVersion
	}
	return ""
}
