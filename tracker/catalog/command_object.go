package catalog

import (
	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// MaxKey is the length of the longest key in bytes.
const MaxKey = 1024

// maxBlobs bounds the new blobs, or the shared extents, of one command.
const maxBlobs = 1100

// Where the bytes of a Put come from.
const (
	dataNone   = 0
	dataInline = 1
	dataBlobs  = 2
	dataSource = 3
)

// inlineRowVersion begins the value of row 14; the bytes follow.
const inlineRowVersion = 1

// Put commits a version of an object. Result: *tracker.PutResult.
//
//	bucket u64, key block, conditions, size uvarint, attrs block, headers block,
//	kind u8, and by kind:
//	1 inline: the value of row 14 to the end
//	2 blobs: count uvarint, each as appendBlob
//	3 source: bucket u64, key block, seq u64
type Put struct{ *tracker.PutObject }

func (Put) op() op { return opPut }

func (p Put) tagged() bool { return len(p.Tags) > 0 }

func (p Put) append(dst []byte) []byte {
	r := p.PutObject
	dst = block(le64(dst, uint64(r.Bucket)), r.Key)
	dst = appendConditions(dst, &r.Conditions)
	dst = appendMeta(uv(dst, uint64(r.Size)), &r.Meta)
	switch {
	case r.Source != nil:
		dst = block(le64(append(dst, dataSource), uint64(r.Source.Bucket)), r.Source.Key)
		return le64(dst, r.Source.Seq)
	case len(r.Blobs) > 0:
		return appendBlobs(append(dst, dataBlobs), r.Blobs)
	case len(r.Inline) > 0:
		return append(append(dst, dataInline, inlineRowVersion), r.Inline...)
	}
	return append(dst, dataNone)
}

// appendMeta appends attrs and headers as two blocks.
func appendMeta(dst []byte, m *tracker.Meta) []byte {
	var buf [256]byte
	dst = block(dst, appendAttrs(buf[:0], m))
	return block(dst, appendHeaders(buf[:0], m.Headers))
}

// appendBlobs appends a count and new blobs: id 16, scheme 2, length uvarint,
// ticket expiry u64, width u8, each shard node u32 and generation u32.
func appendBlobs(dst []byte, blobs []tracker.NewBlob) []byte {
	dst = uv(dst, uint64(len(blobs)))
	for i := range blobs {
		b := &blobs[i]
		dst = append(append(dst, b.ID[:]...), b.Scheme.Data, b.Scheme.Parity)
		dst = le64(uv(dst, uint64(b.Length)), uint64(b.Expiry))
		dst = append(dst, byte(len(b.Shards)))
		for _, s := range b.Shards {
			dst = appendPlacement(dst, s)
		}
	}
	return dst
}

// newBlob is a decoded new blob; slices point into the command.
type newBlob struct {
	id     []byte
	scheme erasure.Scheme
	length int64
	expiry int64
	shards []byte
}

func (b *newBlob) decode(d *dec) {
	b.id = d.take(16)
	b.scheme = erasure.Scheme{Data: d.u8(), Parity: d.u8()}
	b.length = d.size()
	b.expiry = int64(d.u64())
	width := int(d.u8())
	b.shards = d.take(width * 8)
	live := 0
	for i := 0; i+8 <= len(b.shards); i += 8 {
		if s := b.shards[i : i+4]; s[0]|s[1]|s[2]|s[3] != 0 {
			live++
		}
	}
	if width == 0 || width > erasure.MaxWidth || width != b.scheme.Width() || live < int(b.scheme.Data) ||
		b.length < 1 || b.length > erasure.MaxBlob {
		d.bad = true
	}
}

func (b *newBlob) blobID() storage.BlobID { return storage.BlobID(b.id) }

// blobs is an encoded list of new blobs that was walked once: each is called
// in order.
type blobs struct {
	count  int
	length int64 // of all
	expiry int64 // the earliest
	p      []byte
}

func (l *blobs) decode(d *dec) {
	l.count = d.count(maxBlobs)
	l.p = d.p
	var b newBlob
	for i := range l.count {
		b.decode(d)
		l.length += b.length
		if i == 0 || b.expiry < l.expiry {
			l.expiry = b.expiry
		}
	}
	l.p = l.p[:len(l.p)-len(d.p)]
}

func (l *blobs) each(f func(*newBlob)) {
	d := dec{p: l.p}
	var b newBlob
	for range l.count {
		b.decode(&d)
		f(&b)
	}
}

// first returns the first blob of a list that is not empty.
func (l *blobs) first() (b newBlob) {
	d := dec{p: l.p}
	b.decode(&d)
	return b
}

type putBody struct {
	bucket  tracker.BucketID
	key     []byte
	cond    conditions
	size    int64
	attrs   []byte
	headers []byte
	kind    byte
	inline  []byte // value of row 14
	blobs   blobs
	source  struct {
		bucket tracker.BucketID
		key    []byte
		seq    uint64
	}
}

func (p *putBody) decode(d *dec) bool {
	p.bucket, p.key = tracker.BucketID(d.u64()), d.block()
	p.cond.decode(d)
	p.size = d.size()
	p.attrs, p.headers = takeMeta(d)
	p.kind = d.u8()
	length := int64(0)
	switch p.kind {
	case dataNone:
	case dataInline:
		p.inline, d.p = d.p, nil
		if len(p.inline) < 1 || p.inline[0] != inlineRowVersion {
			return false
		}
		length = int64(len(p.inline) - 1)
	case dataBlobs:
		p.blobs.decode(d)
		if p.blobs.count == 0 {
			return false
		}
		length = p.blobs.length
	case dataSource:
		p.source.bucket, p.source.key, p.source.seq = tracker.BucketID(d.u64()), d.block(), d.u64()
		length = p.size
	default:
		return false
	}
	return d.done() && goodKey(p.key) && length == p.size
}

// takeMeta reads what appendMeta wrote and checks that it can be decoded.
func takeMeta(d *dec) (attrBytes, headers []byte) {
	attrBytes, headers = d.block(), d.block()
	var a attrs
	in := dec{p: attrBytes}
	a.decode(&in)
	if !in.done() {
		d.bad = true
	}
	if a.tags != nil {
		if n, ok := countTags(a.tags); !ok || n == 0 {
			d.bad = true
		}
	}
	in = dec{p: headers}
	if skipHeaders(&in); !in.done() {
		d.bad = true
	}
	return attrBytes, headers
}

func goodKey(k []byte) bool { return len(k) >= 1 && len(k) <= MaxKey }

// What a deletion names.
const (
	deleteCurrent = 0
	deleteNull    = 1
	deleteVersion = 2
)

// Delete removes a key's current object or one version of it.
// Result: *tracker.DeleteResult.
//
//	bucket u64, then as in DeleteMany
type Delete struct{ *tracker.DeleteObject }

func (Delete) op() op { return opDelete }

func (c Delete) append(dst []byte) []byte {
	r := c.DeleteObject
	return appendDelete(le64(dst, uint64(r.Bucket)), r.Key, r.Version, &r.Conditions)
}

// appendDelete appends: key block, kind u8, version id 12 if kind is 2, conditions.
func appendDelete(dst []byte, key, version string, c *tracker.Conditions) []byte {
	dst = block(dst, key)
	switch version {
	case "":
		dst = append(dst, deleteCurrent)
	case nullVersion:
		dst = append(dst, deleteNull)
	default:
		id, _ := parseID(version)
		dst = append(append(dst, deleteVersion), id[:]...)
	}
	return appendConditions(dst, c)
}

type deleteBody struct {
	key     []byte
	kind    byte
	version uploadID
	cond    conditions
}

func (b *deleteBody) decode(d *dec) bool {
	*b = deleteBody{key: d.block(), kind: d.u8()}
	switch b.kind {
	case deleteCurrent, deleteNull:
	case deleteVersion:
		copy(b.version[:], d.take(uploadIDLen))
	default:
		d.bad = true
	}
	b.cond.decode(d)
	return !d.bad && goodKey(b.key)
}

// MaxDeletes and MaxDeleteBytes bound a DeleteMany.
const (
	MaxDeletes     = 250
	MaxDeleteBytes = 256 << 10
)

// DeleteMany deletes up to MaxDeletes keys; First is the place of the first
// entry in the client's request, from which each entry's own request id is
// made. Result: []tracker.DeleteResult.
//
//	bucket u64, first u32, count uvarint, each: key block, kind u8, version id 12
//	if kind is 2, conditions
type DeleteMany struct {
	Bucket  tracker.BucketID
	First   int
	Entries []tracker.DeleteEntry
}

func (DeleteMany) op() op { return opDeleteMany }

func (c DeleteMany) append(dst []byte) []byte {
	dst = uv(le32(le64(dst, uint64(c.Bucket)), uint32(c.First)), uint64(len(c.Entries)))
	for i := range c.Entries {
		e := &c.Entries[i]
		dst = appendDelete(dst, e.Key, e.Version, &e.Conditions)
	}
	return dst
}

// SizeHint is about how long the command is, encoded.
func (p Put) SizeHint() int {
	n := 512 + len(p.Key) + len(p.Inline) + 384*len(p.Blobs)
	for i := range p.Headers {
		n += len(p.Headers[i].Name) + len(p.Headers[i].Value) + 4
	}
	for i := range p.Tags {
		n += len(p.Tags[i].Name) + len(p.Tags[i].Value) + 4
	}
	return n
}

// SizeHint is about how long the command is, encoded.
func (c DeleteMany) SizeHint() int { return 64 + 128*len(c.Entries) }
