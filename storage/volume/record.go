// Package volume is the format of volume files and of shard files: encoding,
// decoding and scanning. It knows nothing of the index, of groups of writers
// or of tickets, and starts no goroutines.
//
// A volume is an append-only file of records behind a header block. A record
// is the header described at Record and, for a packed shard, its frames; it
// begins on a multiple of 32 bytes. Records of 4 KiB of payload and more
// begin on 4 KiB where that wastes at most an eighth of them, so that punching
// them frees whole blocks. Record headers are never punched: a scan hops over
// holes.
package volume

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"holdfast/erasure/frame"
	"holdfast/internal/fault"
	"holdfast/storage"
)

// Sizes in bytes.
const (
	RecordSize = 80      // of a record's header
	Slot       = 32      // records begin on a multiple of it
	Block      = 4096    // of a disk
	MaxPacked  = 1 << 20 // the largest payload of a packed shard
)

// ErrFormat is returned for bytes that are not what they should be, or of a
// version that this program does not know.
var ErrFormat = fault.New(fault.Corrupt, "storage.format", "not a valid record of this format")

// Kind says what a record is.
type Kind uint8

// The kinds. Their values are on disk.
const (
	Packed Kind = 1 // a shard whose frames follow the header
	Filed  Kind = 2 // a shard in a file of its own
	Filler Kind = 3 // nothing, up to the next record
)

// Record is what a record's header says.
type Record struct {
	Kind   Kind
	Copy   bool // moved here from another volume by a rewrite
	ID     storage.ShardID
	Seal   storage.Seal
	Expiry int64  // of the ticket, catalog time in ms
	File   uint64 // Filed: names the file
	Origin uint64 // Packed and Copy: where it was copied from, see Origin
	Span   int64  // length in the volume, header and padding included; a multiple of Slot
}

const (
	recordMagic   = 0x31435248 // "HRC1"
	recordVersion = 1
	flagCopy      = 1
)

// Origin packs a volume's number and an offset in it.
func Origin(number uint32, off int64) uint64 { return uint64(number)<<32 | uint64(off/Slot) }

// RecordSpan is the length in a volume of a packed shard of length payload
// bytes.
func RecordSpan(length int64) int64 { return (RecordSize + length + Slot - 1) &^ (Slot - 1) }

// FiledSpan is the length in a volume of a Filed record.
const FiledSpan = (RecordSize + Slot - 1) &^ (Slot - 1)

// Place returns where a record of span bytes with length payload bytes goes
// when the volume ends at tail: at tail, or on the next block if it is worth
// a gap, which a filler then fills.
func Place(tail, length, span int64) int64 {
	if gap := -tail & (Block - 1); length >= Block && gap <= span/8 {
		return tail + gap
	}
	return tail
}

func recordSeed(nonce uint64, off int64) uint64 {
	return nonce ^ uint64(off)*0x9E3779B97F4A7C15
}

// Encode writes the header of a record that begins at offset off of the
// volume with this nonce. dst has at least RecordSize bytes, for a filler at
// least Slot.
//
//	offset  length  field (little-endian)
//	0       4       magic "HRC1"
//	4       1       version, 1
//	5       1       kind: 1 packed, 2 filed, 3 filler
//	6       1       flags: bit 0 copied by a rewrite
//	7       1       index
//	8       4       span in units of 32 bytes
//	12      4       generation
//	16      16      blob id
//	32      8       expiry of the ticket, ms
//	40      8       frames
//	48      8       length: stored bytes of all frames, checksums included
//	56      8       sum of the seal
//	64      8       file (filed); origin (packed copy); else 0
//	72      8       XXH3-64 of bytes 0 to 72, seed = nonce xor (offset x 0x9E3779B97F4A7C15)
//
// A filler ends after byte 24: bytes 12 to 16 are 0 and the checksum, of bytes
// 0 to 16, follows. The frames of a packed shard follow at byte 80.
func (r *Record) Encode(dst []byte, nonce uint64, off int64) {
	le := binary.LittleEndian
	le.PutUint32(dst[0:], recordMagic)
	dst[4], dst[5], dst[6], dst[7] = recordVersion, byte(r.Kind), 0, r.ID.Index
	if r.Copy {
		dst[6] = flagCopy
	}
	le.PutUint32(dst[8:], uint32(r.Span/Slot))
	le.PutUint32(dst[12:], r.ID.Gen)
	if r.Kind == Filler {
		le.PutUint64(dst[16:], xxh3.HashSeed(dst[:16], recordSeed(nonce, off)))
		clear(dst[24:Slot])
		return
	}
	copy(dst[16:], r.ID.Blob[:])
	le.PutUint64(dst[32:], uint64(r.Expiry))
	le.PutUint64(dst[40:], uint64(r.Seal.Frames))
	le.PutUint64(dst[48:], uint64(r.Seal.Length))
	le.PutUint64(dst[56:], r.Seal.Sum)
	le.PutUint64(dst[64:], r.File|r.Origin) // one of them is 0
	le.PutUint64(dst[72:], xxh3.HashSeed(dst[:72], recordSeed(nonce, off)))
}

// DecodeRecord reads the header that Encode wrote for the same place. src may
// be cut after Slot bytes for a filler. The error wraps ErrFormat.
func DecodeRecord(src []byte, nonce uint64, off int64) (Record, error) {
	le := binary.LittleEndian
	if len(src) < Slot || le.Uint32(src) != recordMagic {
		return Record{}, fmt.Errorf("offset %d: no record: %w", off, ErrFormat)
	}
	if src[4] != recordVersion {
		return Record{}, fmt.Errorf("offset %d: record version %d: %w", off, src[4], ErrFormat)
	}
	r := Record{Kind: Kind(src[5]), Copy: src[6]&flagCopy != 0, Span: int64(le.Uint32(src[8:])) * Slot}
	seed := recordSeed(nonce, off)
	if r.Kind == Filler {
		if le.Uint64(src[16:]) != xxh3.HashSeed(src[:16], seed) || r.Span == 0 {
			return Record{}, fmt.Errorf("offset %d: filler: %w", off, ErrFormat)
		}
		return r, nil
	}
	if len(src) < RecordSize || le.Uint64(src[72:]) != xxh3.HashSeed(src[:72], seed) {
		return Record{}, fmt.Errorf("offset %d: record: %w", off, ErrFormat)
	}
	r.ID = storage.ShardID{Blob: storage.BlobID(src[16:32]), Index: src[7], Gen: le.Uint32(src[12:])}
	r.Expiry = int64(le.Uint64(src[32:]))
	r.Seal = storage.Seal{Frames: int64(le.Uint64(src[40:])), Length: int64(le.Uint64(src[48:])), Sum: le.Uint64(src[56:])}
	switch n := le.Uint64(src[64:]); {
	case r.Kind == Filed:
		r.File = n
	case r.Copy:
		r.Origin = n
	}
	if err := r.valid(); err != nil {
		return Record{}, fmt.Errorf("offset %d: %s: %w", off, err, ErrFormat)
	}
	return r, nil
}

func (r *Record) valid() error {
	n, ok := frame.Count(r.Seal.Length)
	switch {
	case r.Kind != Packed && r.Kind != Filed:
		return fmt.Errorf("kind %d", r.Kind)
	case !ok || n != r.Seal.Frames:
		return fmt.Errorf("%d frames in %d bytes", r.Seal.Frames, r.Seal.Length)
	case r.Kind == Packed && (r.Seal.Length > MaxPacked || r.Span != RecordSpan(r.Seal.Length)):
		return fmt.Errorf("span %d for %d bytes", r.Span, r.Seal.Length)
	case r.Kind == Filed && r.Span != FiledSpan:
		return fmt.Errorf("span %d", r.Span)
	}
	return nil
}

// Verify checks the frames of a whole shard against its seal. The error wraps
// storage.ErrCorrupt.
func (r *Record) Verify(frames []byte) error {
	if int64(len(frames)) != r.Seal.Length {
		return fmt.Errorf("shard %s: %d bytes of %d: %w", r.ID, len(frames), r.Seal.Length, storage.ErrCorrupt)
	}
	if n, err := frame.SeedOf(r.ID.Blob, r.ID.Index, r.ID.Gen).CheckRun(0, frames); err != nil {
		return fmt.Errorf("shard %s: frame %d: %w", r.ID, n, storage.ErrCorrupt)
	}
	if frame.SumRun(frames) != r.Seal.Sum {
		return fmt.Errorf("shard %s: seal: %w", r.ID, storage.ErrCorrupt)
	}
	return nil
}

// A shard file holds the frames from byte 0 on and then this trailer: the
// header of its Filed record, sealed for the file instead of for a volume, so
// that the file says of itself what it is.

const fileDomain = 0x454c494653464848 // "HHFSFILE"

// EncodeTrailer writes the trailer of r's file, RecordSize bytes.
func (r *Record) EncodeTrailer(dst []byte) { r.Encode(dst, fileDomain^r.File, 0) }

// DecodeTrailer reads the trailer of the file that is named by file.
func DecodeTrailer(src []byte, file uint64) (Record, error) {
	r, err := DecodeRecord(src, fileDomain^file, 0)
	if err == nil && (r.Kind != Filed || r.File != file) {
		err = fmt.Errorf("trailer: kind %d, file %x: %w", r.Kind, r.File, ErrFormat)
	}
	return r, err
}

// FileName is the path of a shard file under the directory for blobs: file's
// upper half is the number of the directory, its lower half random, so that
// no two attempts ever share a name.
func FileName(id storage.ShardID, file uint64) (dir, name string) {
	return fmt.Sprintf("%06d", file>>32), fmt.Sprintf("%s-%d-%d.%08x", id.Blob, id.Index, id.Gen, uint32(file))
}

// ParseFileName is FileName backwards, for a name in directory dir.
func ParseFileName(dir uint32, name string) (id storage.ShardID, file uint64, ok bool) {
	var blob []byte
	var index uint8
	var gen, low uint32
	if n, err := fmt.Sscanf(name, "%32x-%d-%d.%08x", &blob, &index, &gen, &low); n != 4 || err != nil || len(blob) != 16 {
		return id, 0, false
	}
	id = storage.ShardID{Blob: storage.BlobID(blob), Index: index, Gen: gen}
	file = uint64(dir)<<32 | uint64(low)
	_, again := FileName(id, file)
	return id, file, again == name
}
