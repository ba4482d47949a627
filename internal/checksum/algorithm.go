// Package checksum owns the additional checksums that S3 knows: their names,
// their digests, and how those of parts make one of the whole.
package checksum

// Algorithm is one of S3's additional checksum algorithms. The values are in
// the catalog and never change.
type Algorithm uint8

// The algorithms. None is the zero value.
const (
	None Algorithm = iota
	CRC32
	CRC32C
	CRC64NVME
	SHA1
	SHA256
	SHA512
	MD5
	XXHASH64
	XXHASH3
	XXHASH128
)
