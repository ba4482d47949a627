package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/erasure/frame"
)

// limited is a Memory that notes what it is asked for.
type limited struct {
	max   int64
	taken int64   // by Take, first
	asked []int64 // of Try
	err   error
}

func (l *limited) Take(_ context.Context, n int64) error {
	if l.taken != 0 || len(l.asked) > 0 {
		panic("Take is not the first call")
	}
	l.taken = n
	return l.err
}

func (l *limited) Try(n int64) bool {
	l.asked = append(l.asked, n)
	return n <= l.max
}

// trickle is a source that gives rate bytes each second.
type trickle struct {
	src  io.Reader
	rate int
	at   int // bytes from which it is slow
	got  int
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.got >= s.at {
		p = p[:min(len(p), s.rate)]
		time.Sleep(time.Second)
	}
	n, err := s.src.Read(p)
	s.got += n
	return n, err
}

// TestMemoryOfStreams: a write holds one stripe for as long as its source is
// slow, and more only where it may.
func TestMemoryOfStreams(t *testing.T) {
	t.Parallel()
	const full, size = int64(2 * 4 * 4 * frame.Stride), 9 << 20 // two batches of four stripes
	const stripe, pieces = int64(4 * frame.Stride), int64(1+4+16+64+256) << 10
	for name, tc := range map[string]struct {
		src   io.Reader
		size  int64
		max   int64
		taken int64
		least int64 // that was asked for
		most  int64
	}{
		"fast":             {bytes.NewBuffer(content(size)), size, 1 << 40, pieces, full, full},
		"of unknown size":  {bytes.NewBuffer(content(size)), -1, 1 << 40, pieces, full, full},
		"no room":          {bytes.NewBuffer(content(size)), size, stripe, pieces, stripe, full},
		"slow":             {&trickle{src: bytes.NewReader(content(1 << 20)), rate: 32 << 10}, 1 << 20, 1 << 40, pieces, stripe, stripe},
		"slow later":       {&trickle{src: bytes.NewReader(content(4 << 20)), rate: 32 << 10, at: 3 << 20}, 4 << 20, 1 << 40, pieces, stripe, full},
		"in memory":        {bytes.NewReader(content(size)), size, 1 << 40, 0, 1 << 40, 0},
		"all within free":  {bytes.NewBuffer(content(20 << 10)), 20 << 10, 1 << 40, 0, 1 << 40, 0},
		"small of no size": {bytes.NewBuffer(content(20 << 10)), -1, 1 << 40, 0, 1 << 40, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newTimed(4, DefaultConfig())
			m := &limited{max: tc.max}
			b, holes, err := c.writer.WriteWithin(t.Context(), m, c.grant("rs-2+2"), c, tc.src, tc.size)
			if err != nil || len(holes) > 0 {
				t.Fatalf("%s: %v, %v", name, holes, err)
			}
			if got, err := c.read(b.Blob, 0, -1, Options{}); err != nil || !bytes.Equal(got, content(int(b.Length))) {
				t.Errorf("%s: read %d bytes, %v", name, len(got), err)
			}
			least, most := int64(1<<40), int64(0)
			for _, n := range m.asked {
				least, most = min(least, n), max(most, n)
			}
			if m.taken != tc.taken || least != tc.least || most != tc.most {
				t.Errorf("%s: took %d, asked for %d to %d; want %d, %d to %d", name, m.taken, least, most, tc.taken, tc.least, tc.most)
			}
			c.idle(t)
		})
	}
	c := newCluster(4)
	m := &limited{err: errors.New("no room")}
	if _, _, err := c.writer.WriteWithin(t.Context(), m, c.grant("rs-2+2"), c, bytes.NewBuffer(content(size)), size); !errors.Is(err, m.err) || c.stored() > 0 {
		t.Errorf("%v, %d shards", err, c.stored())
	}
	c.idle(t)
}
