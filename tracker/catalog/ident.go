package catalog

import (
	"encoding/base32"
	"encoding/binary"

	"holdfast/tracker"
)

// The hybrid sequence: milliseconds since 1970 and a counter.
const seqCounterBits = 20

// seqTime returns the time of a sequence in ms.
func seqTime(seq uint64) int64 { return int64(seq >> seqCounterBits) }

// SeqTime returns the catalog time in milliseconds at which a sequence was given.
func SeqTime(seq uint64) int64 { return seqTime(seq) }

// nullVersion is the version id of what was written without versioning.
const nullVersion = "null"

// idEncoding keeps the order of bytes in its text.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// uploadID names an upload: the sequence of its start and the tag of the
// request that started it. Version ids have the same form.
type uploadID [uploadIDLen]byte

func makeID(seq uint64, tag [4]byte) (id uploadID) {
	binary.BigEndian.PutUint64(id[:], seq)
	copy(id[8:], tag[:])
	return id
}

func (id uploadID) seq() uint64 { return binary.BigEndian.Uint64(id[:]) }

func (id uploadID) String() string {
	var buf [20]byte
	idEncoding.Encode(buf[:], id[:])
	return string(buf[:])
}

// parseID reads the text of an upload or version id.
func parseID(s string) (id uploadID, ok bool) {
	if len(s) != 20 {
		return id, false
	}
	var out [13]byte
	n, err := idEncoding.Decode(out[:], []byte(s))
	if err != nil || n != uploadIDLen {
		return id, false
	}
	copy(id[:], out[:])
	return id, id.String() == s
}

// tagOf returns the part of a request id that goes into version ids.
func tagOf(req tracker.RequestID) [4]byte { return [4]byte(req[:4]) }

// holder is what refers to a blob.
type holder struct {
	bucket tracker.BucketID
	seq    uint64
}

// GoodVersion reports whether s can name a version: none, "null" or an id.
func GoodVersion(s string) bool {
	if s == "" || s == nullVersion {
		return true
	}
	_, ok := parseID(s)
	return ok
}
