package catalog

import (
	"holdfast/tracker"
)

// CreateBucket makes a bucket. Result: *BucketResult.
//
//	name block, owner block, location block
type CreateBucket struct{ *tracker.CreateBucket }

// BucketResult answers CreateBucket: the new bucket, or the one that has the name.
type BucketResult struct {
	Bucket  tracker.Bucket
	Existed bool
}

func (CreateBucket) op() op { return opCreateBucket }

func (c CreateBucket) append(dst []byte) []byte {
	return block(block(block(dst, c.Name), c.Owner), c.Location)
}

func (b *batch) createBucket(c *command) any {
	name, owner, location := c.body.block(), c.body.block(), c.body.block()
	if !c.body.done() || len(name) == 0 || len(name) > 255 || len(owner) > maxText || len(location) > maxText {
		return tracker.ErrInvalid
	}
	var known resultRow
	if b.recall(0, name, c.req, &known) {
		if st := b.bucket(tracker.BucketID(known.seq)); st != nil {
			return &BucketResult{Bucket: st.core.bucket(st.id)}
		}
		return tracker.ErrNoSuchBucket
	}
	if err := b.expired(c); err != nil {
		return err
	}
	b.key = keyName(b.key, name)
	if v, ok := b.get(b.key, &b.val); ok {
		id, err := decodeNameRow(v)
		b.fail(err)
		st := b.bucket(id)
		if st == nil {
			b.fail(badRow("bucket name without a bucket"))
			return nil
		}
		return &BucketResult{st.core.bucket(id), true}
	}
	id := tracker.BucketID(b.next())
	st := b.freshBucket(id)
	st.core = bucketCore{name: string(name), owner: string(owner), location: string(location)}
	st.dirty = true
	b.buckets[id] = st
	b.key = keyName(b.key, name)
	b.row = appendNameRow(b.row[:0], id)
	b.set(b.key, b.row)
	b.setCore(st)
	b.changed(changeBucket, st, nil, 0, uint64(id), 0, 0)
	b.rememberID(0, name, c, uint64(id))
	return &BucketResult{Bucket: st.core.bucket(id)}
}

func (b *batch) setCore(st *bucketState) {
	b.key = keySection(b.key, st.id, coreSection)
	b.row = st.core.append(b.row[:0])
	b.set(b.key, b.row)
}

// DeleteBucket removes an empty bucket and its placement policies; its uploads
// are aborted with it, their rows being swept later. Result: nil.
//
//	name block
type DeleteBucket struct{ Name string }

func (DeleteBucket) op() op { return opDeleteBucket }

func (c DeleteBucket) append(dst []byte) []byte { return block(dst, c.Name) }

func (b *batch) deleteBucket(c *command) any {
	name := c.body.block()
	if !c.body.done() {
		return tracker.ErrInvalid
	}
	var known resultRow
	if b.recall(0, name, c.req, &known) {
		return nil
	}
	if err := b.expired(c); err != nil {
		return err
	}
	b.key = keyName(b.key, name)
	v, ok := b.get(b.key, &b.val)
	if !ok {
		return tracker.ErrNoSuchBucket
	}
	id, err := decodeNameRow(v)
	b.fail(err)
	st := b.bucket(id)
	if st == nil {
		b.fail(badRow("bucket name without a bucket"))
		return nil
	}
	if st.usage.versions != 0 {
		return tracker.ErrBucketNotEmpty
	}
	seq := b.next()
	b.key = keyName(b.key, name)
	b.delete(b.key)
	st.core.state = bucketDeleted
	b.setCore(st)
	b.dropPolicies(id)
	k := b.garbage(seq)
	b.row = le64(append(b.row[:0], 1, garbageBucket), uint64(id))
	b.set(k, b.row)
	b.changed(changeBucket, st, nil, 0, seq, uint64(id), 0)
	b.rememberID(0, name, c, uint64(id))
	return nil
}

// SetVersioning changes a bucket's versioning. Result: nil.
//
//	bucket u64, state u8
type SetVersioning struct {
	Bucket tracker.BucketID
	State  tracker.Versioning
}

func (SetVersioning) op() op { return opSetVersioning }

func (c SetVersioning) append(dst []byte) []byte {
	return append(le64(dst, uint64(c.Bucket)), byte(c.State))
}

func (b *batch) setVersioning(c *command) any {
	id, state := tracker.BucketID(c.body.u64()), tracker.Versioning(c.body.u8())
	if !c.body.done() || state != tracker.VersioningEnabled && state != tracker.VersioningSuspended {
		return tracker.ErrInvalid
	}
	var known resultRow
	if b.recall(id, nil, c.req, &known) {
		return nil
	}
	if err := b.expired(c); err != nil {
		return err
	}
	st := b.bucket(id)
	if st == nil {
		return tracker.ErrNoSuchBucket
	}
	st.core.versioning = state
	b.setCore(st)
	b.changed(changeBucket, st, nil, 0, b.next(), 0, 0)
	b.rememberID(id, nil, c, uint64(id))
	return nil
}
