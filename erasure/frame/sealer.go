package frame

import (
	"github.com/zeebo/xxh3"

	"holdfast/erasure"
)

// Sealer counts and sums the frames of one shard as they pass, for the seal
// that ends it (storage.Seal). The sum is XXH3-64 without a seed over the
// frames' checksums in order, 8 bytes each as stored; it is 0 for a shard of
// no frames. The zero value is ready. It is about 1.2 KB: keep it by value in
// the writer that owns it.
type Sealer struct {
	Frames int64 // frames added
	Length int64 // stored bytes added, checksums included

	h xxh3.Hasher
}

// Add adds one stored frame, payload and checksum. It does not verify it.
func (s *Sealer) Add(buf []byte) {
	s.Frames++
	s.Length += int64(len(buf))
	s.h.Write(buf[len(buf)-erasure.SumSize:])
}

// AddRun adds a run of stored frames, of which only the last may be short.
func (s *Sealer) AddRun(run []byte) {
	for len(run) > 0 {
		l := min(Stride, len(run))
		s.Add(run[:l])
		run = run[l:]
	}
}

// Sum returns the sum over what was added so far.
func (s *Sealer) Sum() uint64 {
	if s.Frames == 0 {
		return 0
	}
	return s.h.Sum64()
}

// Reset makes the sealer ready for another shard.
func (s *Sealer) Reset() {
	s.Frames, s.Length = 0, 0
	s.h.Reset()
}

// SumRun returns the seal's sum of a whole shard's stored frames at once.
func SumRun(run []byte) uint64 {
	if 0 < len(run) && len(run) <= Stride {
		return xxh3.Hash(run[len(run)-erasure.SumSize:])
	}
	var s Sealer
	s.AddRun(run)
	return s.Sum()
}
