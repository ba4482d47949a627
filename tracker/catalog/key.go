package catalog

import (
	"bytes"
	"encoding/binary"

	"holdfast/storage"
	"holdfast/tracker"
)

// The first byte of each key. The values are on disk and never change.
const (
	rowState   = 0x01
	rowMap     = 0x02
	rowName    = 0x04
	rowBucket  = 0x05
	rowUsage   = 0x06
	rowObject  = 0x10
	rowVersion = 0x11
	rowNull    = 0x12
	rowPiece   = 0x13
	rowInline  = 0x14
	rowUpload  = 0x20
	rowPart    = 0x21
	rowOutcome = 0x22
	rowGarbage = 0x30
	rowChange  = 0x40
	rowCursor  = 0x41
	rowResult  = 0x50
	rowTrim    = 0x51
	rowBlob    = 0x60
	rowHolder  = 0x61
	rowJob     = 0x70
)

// The kinds of a row 13.
const (
	pieceExtents = 0x01
	pieceParts   = 0x02
)

// coreSection names the row of a bucket's core.
const coreSection = "core"

// uploadIDLen is the length of an upload's name in keys: seq and tag.
const uploadIDLen = 12

type text interface{ ~string | ~[]byte }

func be64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }
func be32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// appendEscaped appends E(k).
func appendEscaped[T text](dst []byte, k T) []byte {
	n := len(dst)
	dst = append(dst, k...)
	if bytes.IndexByte(dst[n:], 0) >= 0 {
		dst = dst[:n]
		for i := 0; i < len(k); i++ {
			dst = append(dst, k[i])
			if k[i] == 0 {
				dst = append(dst, 0xFF)
			}
		}
	}
	return append(dst, 0, 1)
}

// unescape splits E(K) off src: it appends K to dst[:0] and returns the rest.
func unescape(dst, src []byte) (key, rest []byte, ok bool) {
	dst = dst[:0]
	for {
		i := bytes.IndexByte(src, 0)
		if i < 0 || i+1 >= len(src) {
			return nil, nil, false
		}
		dst = append(dst, src[:i]...)
		mark := src[i+1]
		src = src[i+2:]
		switch mark {
		case 1:
			return dst, src, true
		case 0xFF:
			dst = append(dst, 0)
		default:
			return nil, nil, false
		}
	}
}

func keyState(dst []byte, name string) []byte { return append(append(dst[:0], rowState), name...) }

func keyName[T text](dst []byte, name T) []byte { return append(append(dst[:0], rowName), name...) }

func keySection(dst []byte, b tracker.BucketID, section string) []byte {
	return append(be64(append(dst[:0], rowBucket), uint64(b)), section...)
}

func keyUsage(dst []byte, b tracker.BucketID) []byte {
	return be64(append(dst[:0], rowUsage), uint64(b))
}

func keyObject[T text](dst []byte, b tracker.BucketID, k T) []byte {
	return append(be64(append(dst[:0], rowObject), uint64(b)), k...)
}

// keyOf makes row B E(K), to which most rows of a key append.
func keyOf[T text](dst []byte, row byte, b tracker.BucketID, k T) []byte {
	return appendEscaped(be64(append(dst[:0], row), uint64(b)), k)
}

func keyVersion[T text](dst []byte, b tracker.BucketID, k T, seq uint64) []byte {
	return be64(keyOf(dst, rowVersion, b, k), ^seq)
}

func keyInline[T text](dst []byte, b tracker.BucketID, k T, seq uint64) []byte {
	return be64(keyOf(dst, rowInline, b, k), seq)
}

func keyPiece[T text](dst []byte, b tracker.BucketID, k T, seq uint64, kind byte) []byte {
	return append(be64(keyOf(dst, rowPiece, b, k), seq), kind)
}

func keyUpload[T text](dst []byte, row byte, b tracker.BucketID, k T, id uploadID) []byte {
	return append(keyOf(dst, row, b, k), id[:]...)
}

func keyResult[T text](dst []byte, b tracker.BucketID, k T, req tracker.RequestID) []byte {
	return append(keyOf(dst, rowResult, b, k), req[:]...)
}

func keyTrim(dst []byte, index uint64, req tracker.RequestID) []byte {
	return append(be64(append(dst[:0], rowTrim), index), req[:]...)
}

func keyGarbage(dst []byte, seq uint64, n uint32) []byte {
	return be32(be64(append(dst[:0], rowGarbage), seq), n)
}

func keyChange(dst []byte, index uint64, sub uint32) []byte {
	return be32(be64(append(dst[:0], rowChange), index), sub)
}

func keyBlob(dst []byte, id storage.BlobID) []byte {
	return append(append(dst[:0], rowBlob), id[:]...)
}

func keyHolder(dst []byte, id storage.BlobID, h holder) []byte {
	dst = append(append(dst[:0], rowHolder), id[:]...)
	return be64(be64(dst, uint64(h.bucket)), h.seq)
}

func keyNode(dst []byte, id storage.NodeID) []byte {
	return be32(append(dst[:0], rowMap, 'n'), uint32(id))
}

func keyGroup(dst []byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst[:0], rowMap, 'g'), id)
}

// keyAfter appends the end of the range of keys that start with prefix to
// dst[:0]: the least key over all of them. A prefix of FF alone, which no row
// has, gives nil: no bound.
func keyAfter(dst, prefix []byte) []byte {
	dst = append(dst[:0], prefix...)
	for i := len(dst) - 1; i >= 0; i-- {
		if dst[i] != 0xFF {
			dst[i]++
			return dst[:i+1]
		}
	}
	return nil
}
