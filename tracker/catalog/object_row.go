package catalog

import (
	"encoding/binary"

	"holdfast/storage"
	"holdfast/tracker"
)

const objectRowVersion = 1

// The flags of an object row.
const (
	flagNull   = 1 << 0 // the null version
	flagMarker = 1 << 1 // a delete marker: nothing after the request id
	flagInline = 1 << 2 // bytes in row 14
	flagPieces = 1 << 3 // more extents or parts in row 13
	flagHolder = 1 << 4 // the holder's sequence is not the row's: a multipart object
	flagProof  = 1 << 5 // nothing but the row proves its request: remember it when the row goes
)

// rowExtents is how many extents an object row holds; the rest is in row 13.
const rowExtents = 8

// objectRow is the value of rows 10 and 11:
//
//	0   1   version, 1
//	1   2   flags
//	3   8   seq
//	11  16  request id; its first 4 bytes are the tag of the version id
//	27  8   holder's seq, if flagHolder
//	        size uvarint
//	        attrs
//	        parts uvarint (0: not multipart)
//	        extents: count u8 (up to 8), each blob id 16, length uvarint, blob offset uvarint
//	        headers
//
// Slices point into the decoded value.
type objectRow struct {
	flags  uint16
	seq    uint64
	req    tracker.RequestID
	holder uint64
	size   int64
	attrs
	attrBytes []byte
	parts     int
	extentList
	headers []byte
}

const objectHead = 27

func (o *objectRow) null() bool   { return o.flags&flagNull != 0 }
func (o *objectRow) marker() bool { return o.flags&flagMarker != 0 }

// decode reads a row; headers are not walked.
func (o *objectRow) decode(v []byte) error {
	if len(v) < objectHead || v[0] != objectRowVersion {
		return badRow("object row")
	}
	*o = objectRow{flags: binary.LittleEndian.Uint16(v[1:]), seq: binary.LittleEndian.Uint64(v[3:]), req: tracker.RequestID(v[11:27])}
	o.holder = o.seq
	d := dec{p: v[objectHead:]}
	if o.marker() {
		if len(d.p) != 0 {
			return badRow("marker row")
		}
		return nil
	}
	if o.flags&flagHolder != 0 {
		o.holder = d.u64()
	}
	o.size = d.size()
	before := d.p
	o.attrs.decode(&d)
	o.attrBytes = before[:len(before)-len(d.p)]
	o.parts = d.count(maxParts)
	count := int(d.u8())
	if count > rowExtents {
		return badRow("object row extents")
	}
	o.take(&d, count)
	if d.bad {
		return badRow("object row")
	}
	o.headers = d.p
	return nil
}

// appendObjectHead begins a row; the caller appends size, attrs, parts,
// extents and headers.
func appendObjectHead(dst []byte, flags uint16, seq uint64, req tracker.RequestID, holder uint64) []byte {
	dst = le64(le16(append(dst, objectRowVersion), flags), seq)
	dst = append(dst, req[:]...)
	if flags&flagHolder != 0 {
		dst = le64(dst, holder)
	}
	return dst
}

// appendExtent encodes a run of a blob.
func appendExtent(dst []byte, blob []byte, length, offset int64) []byte {
	return uv(uv(append(dst, blob...), uint64(length)), uint64(offset))
}

// extent is a run of a blob; its place in the object follows from its order.
type extent struct {
	blob           []byte // 16 bytes
	length, offset int64
}

func (e *extent) decode(d *dec) {
	e.blob = d.take(16)
	e.length = d.size()
	e.offset = d.size()
}

// extentList is a run of encoded extents. It points into the decoded value.
type extentList struct {
	count   int
	extents []byte
}

// take reads a list of count extents.
func (l *extentList) take(d *dec, count int) {
	before := d.p
	for range count {
		d.take(16)
		d.size()
		d.size()
	}
	l.count, l.extents = count, before[:len(before)-len(d.p)]
}

// eachExtent calls f for each in order.
func (l *extentList) eachExtent(f func(*extent)) {
	d := dec{p: l.extents}
	var e extent
	for range l.count {
		e.decode(&d)
		f(&e)
	}
}

func (e *extent) id() storage.BlobID { return storage.BlobID(e.blob) }

// versionID returns the text of the row's version id.
func (o *objectRow) versionID() string {
	if o.null() {
		return nullVersion
	}
	return makeID(o.seq, tagOf(o.req)).String()
}

// version fills a tracker.Version; headers and tags only if asked for.
func (o *objectRow) version(v *tracker.Version, headers bool) (err error) {
	v.Seq, v.Modified, v.Marker, v.Parts = o.seq, seqTime(o.seq), o.marker(), o.parts
	v.ID = o.versionID()
	if v.Marker {
		return nil
	}
	v.Size = o.size
	o.attrs.meta(&v.Meta)
	if headers {
		if v.Headers, err = decodeHeaders(o.headers); err == nil {
			v.Tags, err = o.tagFields()
		}
	}
	return err
}
