package catalog

import (
	"holdfast/tracker"
)

// uploadRow is the value of row 20:
//
//	version u8, 1; owner block; attrs; headers to the end
//
// The time an upload began is that of its id.
type uploadRow struct {
	owner   []byte
	attrs   attrs
	headers []byte
}

func (u *uploadRow) decode(v []byte) error {
	d := dec{p: v}
	d.version(1)
	u.owner = d.block()
	u.attrs.decode(&d)
	u.headers = d.p
	if d.bad {
		return badRow("upload row")
	}
	return nil
}

// upload makes the answer to a read.
func (u *uploadRow) upload(b tracker.BucketID, key string, id uploadID) (tracker.Upload, error) {
	up := tracker.Upload{UploadRef: tracker.UploadRef{Bucket: b, Key: key, Upload: id.String()}, Owner: string(u.owner), Initiated: seqTime(id.seq())}
	u.attrs.meta(&up.Meta)
	var err error
	if up.Headers, err = decodeHeaders(u.headers); err == nil {
		up.Tags, err = u.attrs.tagFields()
	}
	return up, err
}

// The states of an upload.
const (
	uploadOpen      = 0
	uploadCompleted = 1
	uploadAborted   = 2
)

// outcomeRow is the value of row 22:
//
//	0   1   version, 1
//	1   1   state
//	2   8   open: sequence of the last change of a part, 0 for none; else of what ended it
//	        completed: flags u16 of the object row, request id 16, size uvarint, attrs
//	        aborted: request id 16
type outcomeRow struct {
	state byte
	seq   uint64
	flags uint16
	req   tracker.RequestID
	size  int64
	attrs attrs
}

func (o *outcomeRow) decode(v []byte) error {
	d := dec{p: v}
	d.version(1)
	*o = outcomeRow{state: d.u8(), seq: d.u64()}
	switch o.state {
	case uploadOpen:
	case uploadCompleted:
		o.flags, o.req, o.size = d.u16(), d.raw16(), d.size()
		o.attrs.decode(&d)
	case uploadAborted:
		o.req = d.raw16()
	default:
		d.bad = true
	}
	if !d.done() {
		return badRow("upload state")
	}
	return nil
}

func (o *outcomeRow) append(dst []byte) []byte {
	dst = le64(append(dst, 1, o.state), o.seq)
	switch o.state {
	case uploadCompleted:
		dst = append(le16(dst, o.flags), o.req[:]...)
		dst = o.attrs.append(uv(dst, uint64(o.size)))
	case uploadAborted:
		dst = append(dst, o.req[:]...)
	}
	return dst
}

// partRow is the value of row 21:
//
//	version u8, 1; the part (see appendPart); count uvarint and extents
type partRow struct {
	partBody
	extentList
}

// partBody is a part as rows 13 and 21 and PutPart have it:
//
//	seq u64; size uvarint; attrs; md5: u8 0 if it is the ETag, else 1 and 16 bytes
type partBody struct {
	seq   uint64
	size  int64
	attrs attrs
	md5   [16]byte
}

func (p *partBody) decode(d *dec) {
	p.seq, p.size = d.u64(), d.size()
	p.attrs = attrs{}
	p.attrs.decode(d)
	switch d.u8() {
	case 0:
		if p.attrs.etagKind != etagMD5 || len(p.attrs.etag) != 16 {
			d.bad = true
			return
		}
		p.md5 = [16]byte(p.attrs.etag)
	case 1:
		p.md5 = d.raw16()
	default:
		d.bad = true
	}
}

func (p *partBody) append(dst []byte) []byte {
	dst = p.attrs.append(uv(le64(dst, p.seq), uint64(p.size)))
	if p.attrs.etagKind == etagMD5 && p.md5 == [16]byte(p.attrs.etag) {
		return append(dst, 0)
	}
	return append(append(dst, 1), p.md5[:]...)
}

// appendPart encodes a part of a request.
func appendPart(dst []byte, p *tracker.Part) []byte {
	m := tracker.Meta{ETag: p.ETag, Checksum: p.Checksum, CRC64NVME: p.CRC64NVME, HasCRC64: true}
	dst = appendAttrs(uv(le64(dst, p.Seq), uint64(p.Size)), &m)
	var md5 [16]byte
	if len(p.ETag) == 32 && unhex(md5[:], p.ETag) && md5 == p.MD5 {
		return append(dst, 0)
	}
	return append(append(dst, 1), p.MD5[:]...)
}

func (p *partBody) part(number int) tracker.Part {
	var m tracker.Meta
	p.attrs.meta(&m)
	return tracker.Part{Number: number, Size: p.size, ETag: m.ETag, MD5: p.md5, Modified: seqTime(p.seq), Checksum: m.Checksum,
		CRC64NVME: m.CRC64NVME, Seq: p.seq}
}

func (p *partRow) decode(v []byte) error {
	d := dec{p: v}
	d.version(1)
	p.partBody.decode(&d)
	p.take(&d, d.count(maxBlobs))
	if !d.done() {
		return badRow("part row")
	}
	return nil
}

// partPieceMax is how many parts a row 13 holds: under 32 KiB.
const partPieceMax = 200

// partPiece is the value of a row 13 with parts:
//
//	version u8, 1; count uvarint; each: number uvarint, part
type partPiece struct {
	count int
	parts []byte
}

func (p *partPiece) decode(v []byte) error {
	d := dec{p: v}
	d.version(pieceRowVersion)
	p.count = d.count(maxParts)
	if p.parts = d.p; d.bad {
		return badRow("parts piece")
	}
	return nil
}

func (p *partPiece) each(f func(number int, b *partBody) bool) error {
	d := dec{p: p.parts}
	var b partBody
	for range p.count {
		n := d.count(maxParts)
		if b.decode(&d); d.bad {
			return badRow("parts piece")
		}
		if !f(n, &b) {
			return nil
		}
	}
	return nil
}
