package volume

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"holdfast/storage"
)

// HeaderSize is the length in bytes of a volume's header block, where its
// first record begins.
const HeaderSize = Block

// Header says which volume a file is. The nonce is random: it binds records to
// their volume, so that no stored byte can pass for a record.
type Header struct {
	Number  uint32 // from 1 on, never used twice on a node
	Node    storage.NodeID
	Cluster string
	Nonce   uint64
	Created int64 // ms since 1970, for people
}

const (
	headerMagic   = "HFVOLUME"
	headerVersion = 1
)

func clusterHash(cluster string) uint64 { return xxh3.HashString(cluster) }

// Encode returns the header block.
//
//	offset  length  field (little-endian)
//	0       8       magic "HFVOLUME"
//	8       4       version, 1
//	12      4       number of the volume
//	16      4       node id
//	20      4       0
//	24      8       XXH3-64 of the cluster's id
//	32      8       nonce
//	40      8       created, ms since 1970
//	48      4040    0
//	4088    8       XXH3-64 of bytes 0 to 4088
func (h *Header) Encode() []byte {
	b, le := make([]byte, HeaderSize), binary.LittleEndian
	copy(b, headerMagic)
	le.PutUint32(b[8:], headerVersion)
	le.PutUint32(b[12:], h.Number)
	le.PutUint32(b[16:], uint32(h.Node))
	le.PutUint64(b[24:], clusterHash(h.Cluster))
	le.PutUint64(b[32:], h.Nonce)
	le.PutUint64(b[40:], uint64(h.Created))
	le.PutUint64(b[HeaderSize-8:], xxh3.Hash(b[:HeaderSize-8]))
	return b
}

// DecodeHeader reads a header block and checks that it belongs to cluster.
// The error wraps ErrFormat.
func DecodeHeader(b []byte, cluster string) (Header, error) {
	le := binary.LittleEndian
	if len(b) < HeaderSize || string(b[:8]) != headerMagic || le.Uint64(b[HeaderSize-8:]) != xxh3.Hash(b[:HeaderSize-8]) {
		return Header{}, fmt.Errorf("no volume header: %w", ErrFormat)
	}
	if v := le.Uint32(b[8:]); v != headerVersion {
		return Header{}, fmt.Errorf("volume version %d, this program knows %d: %w", v, headerVersion, ErrFormat)
	}
	if le.Uint64(b[24:]) != clusterHash(cluster) {
		return Header{}, fmt.Errorf("volume of another cluster: %w", ErrFormat)
	}
	return Header{
		Number:  le.Uint32(b[12:]),
		Node:    storage.NodeID(le.Uint32(b[16:])),
		Cluster: cluster,
		Nonce:   le.Uint64(b[32:]),
		Created: int64(le.Uint64(b[40:])),
	}, nil
}

const nameSuffix = ".vol"

// Name is the file name of a volume.
func Name(number uint32) string { return fmt.Sprintf("%08d%s", number, nameSuffix) }

// ParseName returns the number of a volume's file name.
func ParseName(name string) (uint32, bool) {
	s, ok := strings.CutSuffix(name, nameSuffix)
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), ok && err == nil && n > 0 && Name(uint32(n)) == name
}
