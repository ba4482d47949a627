package catalog

import "holdfast/tracker"

const bucketRowVersion = 1

// The states of a bucket.
const (
	bucketOpen    = 0
	bucketDeleted = 2
)

// bucketCore is the value of row 05 'core':
//
//	version u8, 1; state u8; versioning u8; name block; owner block; location block
//
// The time a bucket was made is that of its id, which is a sequence.
type bucketCore struct {
	state      byte
	versioning tracker.Versioning
	name       string
	owner      string
	location   string
}

func (c *bucketCore) decode(v []byte) error {
	d := dec{p: v}
	d.version(bucketRowVersion)
	c.state = d.u8()
	c.versioning = tracker.Versioning(d.u8())
	c.name, c.owner, c.location = d.text(), d.text(), d.text()
	if !d.done() {
		return badRow("bucket core")
	}
	return nil
}

func (c *bucketCore) append(dst []byte) []byte {
	dst = append(dst, bucketRowVersion, c.state, byte(c.versioning))
	return block(block(block(dst, c.name), c.owner), c.location)
}

func (c *bucketCore) bucket(id tracker.BucketID) tracker.Bucket {
	return tracker.Bucket{ID: id, Name: c.name, Owner: c.owner, Created: seqTime(uint64(id)), Location: c.location, Versioning: c.versioning}
}

// usageRow is the value of row 06: version u8 (1), then objects, versions
// (markers included), bytes of all versions, open uploads and inline bytes,
// i64 each.
type usageRow struct {
	objects, versions, bytes, uploads, inline int64
}

func (u *usageRow) decode(v []byte) error {
	d := dec{p: v}
	d.version(1)
	for _, p := range []*int64{&u.objects, &u.versions, &u.bytes, &u.uploads, &u.inline} {
		*p = int64(d.u64())
	}
	if !d.done() {
		return badRow("usage row")
	}
	return nil
}

func (u *usageRow) append(dst []byte) []byte {
	dst = append(dst, 1)
	for _, n := range [...]int64{u.objects, u.versions, u.bytes, u.uploads, u.inline} {
		dst = le64(dst, uint64(n))
	}
	return dst
}

// nameRow is the value of row 04: version u8 (1), bucket id u64.
func appendNameRow(dst []byte, id tracker.BucketID) []byte {
	return le64(append(dst, 1), uint64(id))
}

func decodeNameRow(v []byte) (tracker.BucketID, error) {
	d := dec{p: v}
	d.version(1)
	id := tracker.BucketID(d.u64())
	if !d.done() {
		return 0, badRow("bucket name")
	}
	return id, nil
}
