// Package stripe cuts blobs into stripes of checksummed frames, one frame for
// each shard, and joins them again. It is pure: it reads and writes only
// through what its callers hand it, starts no goroutine and knows no clock,
// node or bucket.
//
// Encoder fills Batches of stripes from a stream; Window joins the frames of
// some stripes that were read back, from any K good ones; Rebuild makes one
// shard of a blob from others.
//
// The parity frames of rs-K+M are those of the systematic Vandermonde matrix
// over GF(2^8) with polynomial 0x11D that klauspost/reedsolomon makes by
// default; testdata/parity.txt holds them fast, for they are on disks.
package stripe

import (
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"

	"holdfast/erasure"
)

// Codec encodes and decodes the stripes of one scheme. It is immutable and
// safe for concurrent use.
type Codec struct {
	scheme erasure.Scheme
	rs     reedsolomon.Encoder // nil where K is 1: parity is copies
}

// Scheme returns the codec's scheme.
func (c *Codec) Scheme() erasure.Scheme { return c.scheme }

// Codecs keeps one codec for each scheme in use, since making one is costly.
// Safe for concurrent use.
type Codecs struct {
	mu struct {
		sync.RWMutex
		codecs map[erasure.Scheme]*Codec
	}
}

// NewCodecs returns an empty cache.
func NewCodecs() *Codecs {
	c := &Codecs{}
	c.mu.codecs = make(map[erasure.Scheme]*Codec)
	return c
}

// Codec returns the codec of a scheme; the error wraps erasure.ErrScheme.
func (c *Codecs) Codec(s erasure.Scheme) (*Codec, error) {
	c.mu.RLock()
	codec := c.mu.codecs[s]
	c.mu.RUnlock()
	if codec != nil {
		return codec, nil
	}
	codec, err := newCodec(s)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.mu.codecs[s]; other != nil {
		return other, nil
	}
	c.mu.codecs[s] = codec
	return codec, nil
}

func newCodec(s erasure.Scheme) (*Codec, error) {
	if p, err := erasure.ParseScheme(s.String()); err != nil || p != s {
		return nil, fmt.Errorf("%d+%d: %w", s.Data, s.Parity, erasure.ErrScheme)
	}
	c := &Codec{scheme: s}
	if s.Data == 1 {
		return c, nil
	}
	// Streams run side by side, so a stripe is not split over goroutines.
	rs, err := reedsolomon.New(int(s.Data), int(s.Parity), reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", s, erasure.ErrScheme, err)
	}
	c.rs = rs
	return c, nil
}
