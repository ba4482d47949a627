package catalog

import (
	"encoding/hex"
	"strconv"

	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// How an ETag is kept.
const (
	etagNone  = 0
	etagMD5   = 1 // 16 bytes
	etagParts = 2 // 16 bytes and a uvarint: md5-of-md5s-N
	etagText  = 3 // block
)

// classes are the storage classes that take one byte in rows, by code. Code 0
// is STANDARD, which reads as "". The list is on disk: only append.
var classes = [...]string{"", "STANDARD_IA", "REDUCED_REDUNDANCY", "GLACIER_IR", "ONEZONE_IA", "INTELLIGENT_TIERING",
	"GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE"}

const classText = 0xFF

// maxText bounds any text of a request: an ETag, a class, a header's value.
const maxText = 64 << 10

// attrs is what a row says of its bytes beside their size. Layout:
//
//	etag      kind u8; md5: 16 bytes; parts: 16 bytes, uvarint; text: block
//	class     code u8; FF: block
//	checksum  algorithm u8, 80 set if composite; if not none: block
//	more      u8: 1 if a CRC64NVME follows, u64; 2 if tags follow, block; 3: both
//
// Slices point into what was decoded.
type attrs struct {
	etagKind  byte
	etag      []byte // 16 bytes, or the text
	etagParts uint64
	classCode byte
	class     []byte
	algorithm checksum.Algorithm
	composite bool
	sum       []byte
	hasCRC    bool
	crc       uint64
	tags      []byte // as appendHeaders; nil for none
}

// What follows the checksum.
const (
	moreCRC  = 1 << 0
	moreTags = 1 << 1
)

func (a *attrs) decode(d *dec) {
	a.etagKind = d.u8()
	switch a.etagKind {
	case etagNone:
	case etagMD5:
		a.etag = d.take(16)
	case etagParts:
		a.etag = d.take(16)
		a.etagParts = d.uv()
	case etagText:
		a.etag = d.block()
	default:
		d.bad = true
	}
	a.classCode = d.u8()
	switch {
	case a.classCode == classText:
		a.class = d.block()
	case int(a.classCode) >= len(classes):
		d.bad = true
	}
	alg := d.u8()
	a.algorithm, a.composite = checksum.Algorithm(alg&0x7F), alg&0x80 != 0
	if a.algorithm != checksum.None {
		a.sum = d.block()
	}
	more := d.u8()
	if more&moreCRC != 0 {
		a.hasCRC, a.crc = true, d.u64()
	}
	if more&moreTags != 0 {
		a.tags = d.block()
	}
	if more > moreCRC|moreTags {
		d.bad = true
	}
}

// appendAttrs encodes what m says, Size and Headers apart.
func appendAttrs(dst []byte, m *tracker.Meta) []byte {
	dst = appendETag(dst, m.ETag)
	dst = appendClass(dst, m.Class)
	alg := byte(m.Checksum.Algorithm)
	if m.Checksum.Composite {
		alg |= 0x80
	}
	dst = append(dst, alg)
	if m.Checksum.Algorithm != checksum.None {
		dst = block(dst, m.Checksum.Value)
	}
	at := len(dst)
	dst = append(dst, 0)
	if m.HasCRC64 {
		dst[at] |= moreCRC
		dst = le64(dst, m.CRC64NVME)
	}
	if len(m.Tags) > 0 {
		dst[at] |= moreTags
		var buf [256]byte
		dst = block(dst, appendHeaders(buf[:0], m.Tags))
	}
	return dst
}

func appendETag(dst []byte, etag string) []byte {
	if etag == "" {
		return append(dst, etagNone)
	}
	var md5 [16]byte
	if len(etag) >= 32 && unhex(md5[:], etag[:32]) {
		if len(etag) == 32 {
			return append(append(dst, etagMD5), md5[:]...)
		}
		if etag[32] == '-' {
			n, err := strconv.ParseUint(etag[33:], 10, 32)
			if err == nil && strconv.FormatUint(n, 10) == etag[33:] {
				return uv(append(append(dst, etagParts), md5[:]...), n)
			}
		}
	}
	return block(append(dst, etagText), etag)
}

// unhex decodes lower-case hexadecimal digits only, so that the way back is exact.
func unhex(dst []byte, s string) bool {
	for i := range dst {
		hi, lo := nibble(s[2*i]), nibble(s[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xFF
}

func appendClass(dst []byte, class string) []byte {
	if class == "" || class == "STANDARD" {
		return append(dst, 0)
	}
	for i, c := range classes[1:] {
		if c == class {
			return append(dst, byte(i+1))
		}
	}
	return block(append(dst, classText), class)
}

// appendETagText appends the ETag as a client sees it.
func (a *attrs) appendETagText(dst []byte) []byte {
	switch a.etagKind {
	case etagMD5:
		return hex.AppendEncode(dst, a.etag)
	case etagParts:
		return strconv.AppendUint(append(hex.AppendEncode(dst, a.etag), '-'), a.etagParts, 10)
	case etagText:
		return append(dst, a.etag...)
	}
	return dst
}

func (a *attrs) etagString() string {
	var buf [48]byte
	return string(a.appendETagText(buf[:0]))
}

// classString returns the storage class, "" for STANDARD.
func (a *attrs) classString() string {
	if a.classCode == classText {
		return string(a.class)
	}
	return classes[a.classCode]
}

// meta fills m, Size, Headers and Tags apart.
func (a *attrs) meta(m *tracker.Meta) {
	m.ETag = a.etagString()
	m.Class = a.classString()
	m.CRC64NVME, m.HasCRC64 = a.crc, a.hasCRC
	if a.algorithm != checksum.None {
		m.Checksum = tracker.Checksum{Algorithm: a.algorithm, Composite: a.composite}
		if len(a.sum) > 0 {
			m.Checksum.Value = append([]byte(nil), a.sum...)
		}
	}
}

// appendHeaders encodes fields: count uvarint, then two blocks each.
func appendHeaders(dst []byte, fields []tracker.Field) []byte {
	dst = uv(dst, uint64(len(fields)))
	for i := range fields {
		dst = block(block(dst, fields[i].Name), fields[i].Value)
	}
	return dst
}

// maxFields bounds the headers of an object.
const maxFields = 4096

// skipHeaders reads past fields.
func skipHeaders(d *dec) {
	for n := d.count(maxFields); n > 0; n-- {
		d.block()
		d.block()
	}
}

// decodeHeaders reads fields. Their texts share one string.
func decodeHeaders(p []byte) ([]tracker.Field, error) {
	all := string(p)
	d := dec{p: p}
	n := d.count(maxFields)
	if n == 0 {
		return nil, nil
	}
	text := func() string {
		l := d.uv()
		from := len(all) - len(d.p)
		d.take(int(min(l, 1<<30)))
		if d.bad {
			return ""
		}
		return all[from : from+int(l)]
	}
	fields := make([]tracker.Field, 0, min(n, len(p)/2))
	for ; n > 0 && !d.bad; n-- {
		name := text()
		fields = append(fields, tracker.Field{Name: name, Value: text()})
	}
	if d.bad {
		return nil, badRow("headers")
	}
	return fields, nil
}

// append encodes a as it was decoded.
func (a *attrs) append(dst []byte) []byte {
	dst = append(dst, a.etagKind)
	switch a.etagKind {
	case etagMD5:
		dst = append(dst, a.etag...)
	case etagParts:
		dst = uv(append(dst, a.etag...), a.etagParts)
	case etagText:
		dst = block(dst, a.etag)
	}
	if dst = append(dst, a.classCode); a.classCode == classText {
		dst = block(dst, a.class)
	}
	alg := byte(a.algorithm)
	if a.composite {
		alg |= 0x80
	}
	if dst = append(dst, alg); a.algorithm != checksum.None {
		dst = block(dst, a.sum)
	}
	at := len(dst)
	dst = append(dst, 0)
	if a.hasCRC {
		dst[at] |= moreCRC
		dst = le64(dst, a.crc)
	}
	if len(a.tags) > 0 {
		dst[at] |= moreTags
		dst = block(dst, a.tags)
	}
	return dst
}

// tagFields reads the tags, nil for none.
func (a *attrs) tagFields() ([]tracker.Field, error) {
	if len(a.tags) == 0 {
		return nil, nil
	}
	return decodeHeaders(a.tags)
}

// countTags counts a command's tags; ok is false if they cannot be read or
// are out of bounds.
func countTags(tags []byte) (n int, ok bool) {
	d := dec{p: tags}
	n = d.count(tracker.MaxTags)
	for range n {
		d.block()
		d.block()
	}
	return n, d.done() && len(tags) <= maxText
}
