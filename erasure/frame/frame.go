// Package frame computes and checks the checksums of stored frames. It is
// pure: no I/O, no allocation, no goroutine.
//
// # Formats
//
// A stored frame (little-endian, for ever):
//
//	offset  length  field
//	0       n       payload, 1 to 65,536 bytes; 65,536 but for a shard's last
//	n       8       XXH3-64 of the payload, seeded as below
//
// The seed binds a frame to its place, so that a good frame in a wrong place
// is bad:
//
//	shard seed    XXH3-64 over the shard's name with seed "HFframe1"
//	frame seed    mix(shard seed + (n+1) x 0x9E3779B97F4A7C15)
//
// where n is the frame's number, 0-based, within the shard, and mix is the
// finaliser of SplitMix64, a bijection: two frames of a shard never share a
// seed. A shard's name is 21 bytes:
//
//	offset  length  field
//	0       16      blob id
//	16      1       index
//	17      4       generation, little-endian
//
// Strings used as seeds are read as 8 bytes little-endian.
package frame

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"holdfast/erasure"
	"holdfast/internal/fault"
)

// Stride is the stored length in bytes of a full frame.
const Stride = erasure.FrameSize + erasure.SumSize

// ErrSum is returned for a frame whose checksum does not hold, or whose length
// no frame can have.
var ErrSum = fault.New(fault.Corrupt, "erasure.frame", "frame does not match its checksum")

const (
	seedDomain = 0x31656d6172664648 // "HFframe1"
	nameDomain = 0x31656d616e734648 // "HFsname1"
	golden     = 0x9E3779B97F4A7C15
)

func shardName(blob [16]byte, index uint8, gen uint32) (b [21]byte) {
	copy(b[:], blob[:])
	b[16] = index
	binary.LittleEndian.PutUint32(b[17:], gen)
	return b
}

// Name is the hash of a shard's name that reconcile digests are made of
// (storage.Digest). It is unrelated to the shard's seed.
func Name(blob [16]byte, index uint8, gen uint32) uint64 {
	b := shardName(blob, index, gen)
	return xxh3.HashSeed(b[:], nameDomain)
}

// Seed is a shard's seed, from which each frame's is made. Compute it once
// per shard.
type Seed uint64

// SeedOf returns the seed of the shard (blob, index, gen).
func SeedOf(blob [16]byte, index uint8, gen uint32) Seed {
	b := shardName(blob, index, gen)
	return Seed(xxh3.HashSeed(b[:], seedDomain))
}

func (s Seed) frame(n int64) uint64 {
	x := uint64(s) + uint64(n+1)*golden
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// Sum returns the checksum of frame n with this payload.
func (s Seed) Sum(n int64, payload []byte) uint64 { return xxh3.HashSeed(payload, s.frame(n)) }

// Put writes the checksum of frame n into the last 8 bytes of buf, which
// holds payload and room for it. A buf without payload panics.
func (s Seed) Put(n int64, buf []byte) {
	p := len(buf) - erasure.SumSize
	if p <= 0 {
		panic("frame: no payload")
	}
	binary.LittleEndian.PutUint64(buf[p:], s.Sum(n, buf[:p]))
}

// Check verifies one stored frame: payload and checksum. The error wraps
// ErrSum.
func (s Seed) Check(n int64, buf []byte) error {
	p := len(buf) - erasure.SumSize
	if p <= 0 || p > erasure.FrameSize {
		return fmt.Errorf("frame %d of %d bytes: %w", n, len(buf), ErrSum)
	}
	if binary.LittleEndian.Uint64(buf[p:]) != s.Sum(n, buf[:p]) {
		return fmt.Errorf("frame %d: %w", n, ErrSum)
	}
	return nil
}

// CheckRun verifies a run of stored frames of which the first is number n and
// only the last may be short, and returns how many there are. On an error,
// which wraps ErrSum, it returns how many frames before the bad one are good.
func (s Seed) CheckRun(n int64, run []byte) (int64, error) {
	var i int64
	for ; len(run) > 0; i++ {
		l := min(Stride, len(run))
		if err := s.Check(n+i, run[:l]); err != nil {
			return i, err
		}
		run = run[l:]
	}
	return i, nil
}

// Count returns the number of frames in stored bytes, of which only the last
// may be short, and whether a run of frames can have that length at all.
func Count(stored int64) (n int64, ok bool) {
	if stored < 0 {
		return 0, false
	}
	rest := stored % Stride
	return (stored + Stride - 1) / Stride, rest == 0 || rest > erasure.SumSize
}
