package catalog

import (
	"encoding/binary"
	"fmt"

	"holdfast/internal/fault"
)

// ErrRow is returned for a row that cannot be read.
var ErrRow = fault.New(fault.Corrupt, "tracker.corrupt-row", "a row of the catalog cannot be read")

func badRow(what string) error { return fmt.Errorf("%s: %w", what, ErrRow) }

func le64(dst []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(dst, v) }
func le32(dst []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(dst, v) }
func le16(dst []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(dst, v) }

func uv(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// block appends a length and the bytes.
func block[T text](dst []byte, b T) []byte { return append(uv(dst, uint64(len(b))), b...) }

// dec reads little-endian fields from p. After the first short read bad is
// set and every further read gives zero. Slices it returns point into p.
type dec struct {
	p   []byte
	bad bool
}

func (d *dec) take(n int) []byte {
	if n < 0 || n > len(d.p) {
		d.bad, d.p = true, nil
		return nil
	}
	b := d.p[:n:n]
	d.p = d.p[n:]
	return b
}

func (d *dec) u8() byte {
	if len(d.p) == 0 {
		d.bad = true
		return 0
	}
	b := d.p[0]
	d.p = d.p[1:]
	return b
}

func (d *dec) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *dec) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *dec) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *dec) uv() uint64 {
	if len(d.p) > 0 && d.p[0] < 0x80 {
		v := d.p[0]
		d.p = d.p[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.bad, d.p = true, nil
		return 0
	}
	d.p = d.p[n:]
	return v
}

// size reads a uvarint that must fit a non-negative int64.
func (d *dec) size() int64 {
	v := d.uv()
	if v > 1<<62 {
		d.bad, d.p = true, nil
		return 0
	}
	return int64(v)
}

// count reads a uvarint of at most limit.
func (d *dec) count(limit int) int {
	v := d.uv()
	if v > uint64(limit) {
		d.bad, d.p = true, nil
		return 0
	}
	return int(v)
}

// block reads a length and that many bytes.
func (d *dec) block() []byte {
	n := d.uv()
	if n > uint64(len(d.p)) {
		d.bad, d.p = true, nil
		return nil
	}
	return d.take(int(n))
}

func (d *dec) text() string { return string(d.block()) }

func (d *dec) raw16() (v [16]byte) {
	copy(v[:], d.take(16))
	return v
}

// version reads a version byte and reports whether it is want.
func (d *dec) version(want byte) bool {
	if d.u8() != want {
		d.bad, d.p = true, nil
		return false
	}
	return true
}

// done reports whether all was read and nothing is left.
func (d *dec) done() bool { return !d.bad && len(d.p) == 0 }
