// Package checksum computes, encodes and combines the checksums of S3: the ten
// algorithms of the model, their header names and base64 forms, full-object
// values computed from those of the parts, and MD5 for entity tags. It knows
// nothing of HTTP and keeps no state but the lanes of an MD5Pool.
//
// The rules of types and combinations are those of the Amazon S3 User Guide,
// "Checking object integrity for data uploads".
package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"

	"holdfast/internal/fault"
)

// Sentinels.
var (
	// ErrAlgorithm: the name is no known algorithm.
	ErrAlgorithm = fault.New(fault.Invalid, "checksum.algorithm", "unknown checksum algorithm")
	// ErrType: the name is no known type, or the algorithm does not have it.
	ErrType = fault.New(fault.Invalid, "checksum.type", "the checksum type cannot be used with the algorithm")
	// ErrValue: the text is no checksum of the algorithm.
	ErrValue = fault.New(fault.Invalid, "checksum.value", "the checksum value is not valid")
)

// Algorithm is a checksum algorithm. The values are stored and never change;
// zero is none.
type Algorithm uint8

// The algorithms.
const (
	None Algorithm = iota
	CRC32
	CRC32C
	CRC64NVME
	SHA1
	SHA256
	SHA512
	MD5
	XXHash64
	XXHash3
	XXHash128
)

// Last is the highest known algorithm.
const Last = XXHash128

// MaxSize is the length of the longest digest in bytes.
const MaxSize = sha512.Size

type description struct {
	name   string // as in x-amz-checksum-algorithm
	header string // canonical MIME form
	size   int    // bytes
}

func describe(a Algorithm) description {
	switch a {
	case CRC32:
		return description{"CRC32", "X-Amz-Checksum-Crc32", 4}
	case CRC32C:
		return description{"CRC32C", "X-Amz-Checksum-Crc32c", 4}
	case CRC64NVME:
		return description{"CRC64NVME", "X-Amz-Checksum-Crc64nvme", 8}
	case SHA1:
		return description{"SHA1", "X-Amz-Checksum-Sha1", sha1.Size}
	case SHA256:
		return description{"SHA256", "X-Amz-Checksum-Sha256", sha256.Size}
	case SHA512:
		return description{"SHA512", "X-Amz-Checksum-Sha512", sha512.Size}
	case MD5:
		return description{"MD5", "X-Amz-Checksum-Md5", md5.Size}
	case XXHash64:
		return description{"XXHASH64", "X-Amz-Checksum-Xxhash64", 8}
	case XXHash3:
		return description{"XXHASH3", "X-Amz-Checksum-Xxhash3", 8}
	case XXHash128:
		return description{"XXHASH128", "X-Amz-Checksum-Xxhash128", 16}
	}
	return description{"NONE", "", 0}
}

// String returns the name as S3 writes it, for instance "CRC64NVME".
func (a Algorithm) String() string { return describe(a).name }

// Header returns the header of the value under its canonical MIME name, for
// instance "X-Amz-Checksum-Crc32c".
func (a Algorithm) Header() string { return describe(a).header }

// Size returns the length of the digest in bytes.
func (a Algorithm) Size() int { return describe(a).size }

// Valid reports whether a is one of the algorithms.
func (a Algorithm) Valid() bool { return a > None && a <= Last }

// Parse returns the algorithm of a name such as "crc32c", in any letter case.
// Its error wraps ErrAlgorithm.
func Parse(name string) (Algorithm, error) {
	for a := CRC32; a <= Last; a++ {
		if strings.EqualFold(name, describe(a).name) {
			return a, nil
		}
	}
	return None, fmt.Errorf("%.32q: %w", name, ErrAlgorithm)
}

// ParseHeader returns the algorithm whose value a header carries, by the
// header's name in any letter case.
func ParseHeader(name string) (Algorithm, bool) {
	const prefix = "x-amz-checksum-"
	if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return None, false
	}
	a, err := Parse(name[len(prefix):])
	return a, err == nil
}

// Type says what a multipart object's checksum covers. The values are stored
// and never change; zero is none.
type Type uint8

// The types.
const (
	NoType     Type = iota
	FullObject      // of the object's bytes
	Composite       // of the parts' checksums, written with "-N"
)

// String returns the type as S3 writes it.
func (t Type) String() string {
	switch t {
	case FullObject:
		return "FULL_OBJECT"
	case Composite:
		return "COMPOSITE"
	}
	return "NONE"
}

// ParseType parses the value of x-amz-checksum-type. Its error wraps ErrType.
func ParseType(s string) (Type, error) {
	switch {
	case s == "FULL_OBJECT":
		return FullObject, nil
	case s == "COMPOSITE":
		return Composite, nil
	}
	return NoType, fmt.Errorf("%.32q: %w", s, ErrType)
}

// Multipart reports whether a multipart upload may have a checksum of type t.
// CRC32 and CRC32C have both, CRC64NVME only FULL_OBJECT, all others only
// COMPOSITE, since only a CRC of the whole follows from those of the parts. An
// object of a single PUT is always FULL_OBJECT.
func (a Algorithm) Multipart(t Type) bool {
	switch a {
	case CRC32, CRC32C:
		return t == FullObject || t == Composite
	case CRC64NVME:
		return t == FullObject
	}
	return a.Valid() && t == Composite
}

// DefaultType is the type of a multipart upload that names none.
func (a Algorithm) DefaultType() Type {
	switch {
	case a == CRC64NVME:
		return FullObject
	case a.Valid():
		return Composite
	}
	return NoType
}

// New returns a hash of the algorithm, or nil for None and unknown ones. Its
// Sum is in the byte order that S3 encodes (big-endian).
func New(a Algorithm) hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case CRC64NVME:
		return crc64nvme.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	case MD5:
		return md5.New()
	case XXHash64:
		return xxhash.New()
	case XXHash3:
		return xxh3.New()
	case XXHash128:
		return &xxh128{*xxh3.New()}
	}
	return nil
}

// xxh128 gives the 128-bit sum of an xxh3.Hasher.
type xxh128 struct{ xxh3.Hasher }

// Size implements hash.Hash.
func (h *xxh128) Size() int { return 16 }

// Sum implements hash.Hash.
func (h *xxh128) Sum(b []byte) []byte {
	sum := h.Sum128().Bytes()
	return append(b, sum[:]...)
}
