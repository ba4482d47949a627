package catalog

import (
	"holdfast/tracker"
)

// The kinds of a remembered result.
const (
	resultPut    = 1
	resultDelete = 2
	resultID     = 3
	resultTags   = 4
)

// The flags of a remembered deletion.
const (
	deletedVersion = 1 << 0 // a version id is answered
	deletedNull    = 1 << 1 // it is "null"
	deletedMarker  = 1 << 2
)

// resultRow is the value of row 50:
//
//	0   1   version, 1
//	1   1   kind
//	2   8   expiry, ms: kept at least until destructive time is over it
//	10  2   flags: of the object row, or of the deletion
//	12  8   seq, or the id that was given
//	20      put: size uvarint, attrs; delete and tags: tag 4
type resultRow struct {
	kind   byte
	expiry int64
	flags  uint16
	seq    uint64
	rest   []byte
}

func (r *resultRow) decode(v []byte) error {
	d := dec{p: v}
	d.version(1)
	*r = resultRow{kind: d.u8(), expiry: int64(d.u64()), flags: d.u16(), seq: d.u64()}
	if r.rest = d.p; d.bad || (r.kind == resultDelete || r.kind == resultTags) && len(r.rest) != 4 {
		return badRow("result row")
	}
	return nil
}

// recall finds the result of an earlier attempt; r points into b.resVal.
func (b *batch) recall(bucket tracker.BucketID, key []byte, req tracker.RequestID, r *resultRow) bool {
	if req == (tracker.RequestID{}) {
		return false
	}
	b.key = keyResult(b.key, bucket, key, req)
	v, ok := b.get(b.key, &b.resVal)
	if !ok {
		return false
	}
	if err := r.decode(v); err != nil {
		b.fail(err)
		return false
	}
	return true
}

// remember writes the rows 50 and 51 of a request whose result was appended
// to b.row by begin and the caller.
func (b *batch) remember(bucket tracker.BucketID, key []byte, req tracker.RequestID, expiry int64) {
	b.key = keyResult(b.key, bucket, key, req)
	b.set(b.key, b.row)
	b.key = keyTrim(b.key, b.index, req)
	b.row = append(le64(le64(append(b.row[:0], 1), uint64(expiry)), uint64(bucket)), key...)
	b.set(b.key, b.row)
}

// resultHead begins a result row in b.row and returns its expiry.
func (b *batch) resultHead(kind byte, flags uint16, seq uint64, notAfter int64) int64 {
	expiry := max(b.ct+resultLife, notAfter)
	b.row = le64(le16(le64(append(b.row[:0], 1, kind), uint64(expiry)), flags), seq)
	return expiry
}

// outlive remembers the request that made a version which is about to move or
// go, where nothing else proves that it was done.
func (b *batch) outlive(st *bucketState, key []byte, o *objectRow) {
	if o.flags&flagProof == 0 || o.req == (tracker.RequestID{}) || b.ct-seqTime(o.seq) > resultLife {
		return
	}
	if st.core.versioning != tracker.Unversioned {
		// It may have gone under others before and come back.
		var known resultRow
		if b.recall(st.id, key, o.req, &known) {
			return
		}
	}
	expiry := b.resultHead(resultPut, o.flags, o.seq, 0)
	b.row = append(uv(b.row, uint64(o.size)), o.attrBytes...)
	b.remember(st.id, key, o.req, expiry)
}

// rememberID remembers a request that was given an id.
func (b *batch) rememberID(bucket tracker.BucketID, key []byte, c *command, id uint64) {
	if c.req == (tracker.RequestID{}) {
		return
	}
	expiry := b.resultHead(resultID, 0, id, c.notAfter)
	b.remember(bucket, key, c.req, expiry)
}
