package checksum

import (
	"fmt"
	"hash/crc32"

	"github.com/minio/crc64nvme"
)

// Part is the checksum of one part and its length in bytes.
type Part struct {
	Sum  []byte
	Size int64
}

// field is arithmetic of polynomials over GF(2) modulo the one of a CRC, all
// in reflected form: the highest of the width bits is the coefficient of x^0.
type field struct {
	width uint
	poly  uint64
	// power of the last length asked for, since parts are mostly equally long
	lastLen int64
	last    uint64
}

// fieldOf returns the field of a CRC.
func fieldOf(a Algorithm) (f field, ok bool) {
	switch a {
	case CRC32:
		f = field{width: 32, poly: crc32.IEEE}
	case CRC32C:
		f = field{width: 32, poly: crc32.Castagnoli}
	case CRC64NVME:
		f = field{width: 64, poly: crc64nvme.NVME}
	default:
		return f, false
	}
	return f, true
}

// mul returns a*b.
func (f *field) mul(a, b uint64) (p uint64) {
	for m := uint64(1) << (f.width - 1); a != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
			a ^= m
		}
		if b&1 != 0 {
			b = b>>1 ^ f.poly
		} else {
			b >>= 1
		}
	}
	return p
}

// shift returns x^(8n), by which a CRC is multiplied to stand before n bytes.
func (f *field) shift(n int64) uint64 {
	if f.last != 0 && f.lastLen == n {
		return f.last
	}
	p := uint64(1) << (f.width - 1)      // x^0
	square := uint64(1) << (f.width - 9) // x^8
	for k := n; k > 0; k >>= 1 {
		if k&1 != 0 {
			p = f.mul(square, p)
		}
		square = f.mul(square, square)
	}
	f.lastLen, f.last = n, p
	return p
}

// combine returns the CRC of a followed by b, where b is n bytes long. The
// inversions before and after cancel out, as in zlib's crc32_combine.
func (f *field) combine(a, b uint64, n int64) uint64 { return f.mul(f.shift(n), a) ^ b }

// Combine returns the CRC of the concatenation of two runs of bytes from the
// CRCs of both and the length of the second in bytes. CRC32, CRC32C and
// CRC64NVME can be combined; for others it returns ErrType.
func Combine(a Algorithm, sum1, sum2 []byte, len2 int64) ([]byte, error) {
	return FullObjectSum(a, []Part{{sum1, 0}, {sum2, len2}})
}

// FullObjectSum returns the checksum of an object from those of its parts in
// order. Its error wraps ErrType for an algorithm that is no CRC and ErrValue
// for a digest of the wrong length or a negative size. Without parts it is the
// checksum of no bytes.
func FullObjectSum(a Algorithm, parts []Part) ([]byte, error) {
	f, ok := fieldOf(a)
	if !ok {
		return nil, fmt.Errorf("FULL_OBJECT of parts with %v: %w", a, ErrType)
	}
	crc := uint64(0) // of no bytes
	for i, p := range parts {
		if len(p.Sum) != a.Size() || p.Size < 0 {
			return nil, fmt.Errorf("part %d of %d, %v of %d bytes, size %d: %w", i+1, len(parts), a, len(p.Sum), p.Size, ErrValue)
		}
		next := uint64(0)
		for _, c := range p.Sum {
			next = next<<8 | uint64(c)
		}
		if i == 0 {
			crc = next
			continue
		}
		crc = f.combine(crc, next, p.Size)
	}
	sum := make([]byte, a.Size())
	for i := range sum {
		sum[len(sum)-1-i] = byte(crc >> (8 * i))
	}
	return sum, nil
}

// CompositeSum returns the checksum over the digests of the parts in order,
// which EncodeComposite writes. Its errors are those of FullObjectSum.
func CompositeSum(a Algorithm, parts []Part) ([]byte, error) {
	if !a.Multipart(Composite) {
		return nil, fmt.Errorf("COMPOSITE with %v: %w", a, ErrType)
	}
	h := New(a)
	for i, p := range parts {
		if len(p.Sum) != a.Size() {
			return nil, fmt.Errorf("part %d of %d, %v of %d bytes: %w", i+1, len(parts), a, len(p.Sum), ErrValue)
		}
		h.Write(p.Sum)
	}
	return h.Sum(nil), nil
}
