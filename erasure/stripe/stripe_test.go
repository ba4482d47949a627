package stripe

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zeebo/xxh3"

	"holdfast/erasure"
	"holdfast/erasure/frame"
)

var update = flag.Bool("update", false, "rewrite the golden fixture")

var testBlob = [16]byte{0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}

func mustCodec(t testing.TB, scheme string) *Codec {
	t.Helper()
	s, err := erasure.ParseScheme(scheme)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCodecs().Codec(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// content is n bytes that no shift or cut of itself equals.
func content(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	for i := 0; i < n; i += 8 {
		v := rng.Uint64()
		for j := i; j < min(n, i+8); j++ {
			b[j], v = byte(v), v>>8
		}
	}
	return b
}

// encodeAll returns the stored frames of every shard, generation index+1, and
// checks the encoder's counts.
func encodeAll(t testing.TB, c *Codec, src io.Reader, size int64, stripes int) [][]byte {
	t.Helper()
	e, b := c.NewEncoder(size), c.NewBatch(stripes)
	width := c.Scheme().Width()
	shards := make([][]byte, width)
	for i := range width {
		e.Shard(testBlob, uint8(i), uint32(i+1))
	}
	for last := false; !last; {
		var err error
		if last, err = e.Fill(src, b); err != nil {
			t.Fatal(err)
		}
		for i := range width {
			shards[i] = append(shards[i], b.Shard(i)...)
		}
	}
	for i, s := range shards {
		if int64(len(s)) != c.Scheme().ShardSize(e.Length()) || e.Stored() != int64(len(s)) {
			t.Fatalf("shard %d: %d bytes, encoder says %d, geometry %d", i, len(s), e.Stored(), c.Scheme().ShardSize(e.Length()))
		}
		if e.Sum(i) != frame.SumRun(s) || e.Frames() != c.Scheme().Frames(e.Length()) {
			t.Fatalf("shard %d: sum %x of %x, %d frames", i, e.Sum(i), frame.SumRun(s), e.Frames())
		}
		if _, err := frame.SeedOf(testBlob, uint8(i), uint32(i+1)).CheckRun(0, s); err != nil {
			t.Fatalf("shard %d: %v", i, err)
		}
	}
	return shards
}

var schemes = []string{"rep-1", "rep-2", "rep-3", "rs-2+2", "rs-3+2", "rs-4+2", "rs-8+4", "rs-24+8"}

func sizesOf(s erasure.Scheme) []int {
	st := int(s.StripeSize())
	return []int{0, 1, int(s.Data) - 1, int(s.Data), int(s.Data) + 1, 1000, 64<<10 - 1, 64 << 10, 64<<10 + 1,
		st - 1, st, st + 1, 2*st - 1, 2 * st, 2*st + 1, 3<<20 + 7}
}

// decode joins the given shards (nil: lost) over the range by windows.
func decode(c *Codec, shards [][]byte, length, off, n int64, rows int) ([]byte, error) {
	span, err := SpanOf(c.Scheme(), length, off, n)
	if err != nil {
		return nil, err
	}
	var out []byte
	var w Window
	for first := span.First; first < span.First+span.Stripes; first += int64(rows) {
		k := min(int64(rows), span.First+span.Stripes-first)
		w.Reset(c, length, first, int(k))
		for i, s := range shards {
			buf := make([]byte, Room(int(k)))
			from, to := w.Extent(first, k)
			start := int(first) * frame.Stride
			if s == nil || len(s) < start+to {
				w.Take(i, buf, 0)
				continue
			}
			copy(buf[from:to], s[start:])
			good, _ := w.Verify(frame.SeedOf(testBlob, uint8(i), uint32(i+1)), buf, first, k)
			w.Take(i, buf, good)
		}
		for i := range int(c.Scheme().Data) {
			f, m := span.Frames(i)
			lo, hi := max(f, first), min(f+m, first+k)
			if err := w.Restore(i, w.Mask(lo, hi-lo)); err != nil {
				return nil, err
			}
		}
		for f := first; f < first+k; f++ {
			for i := range int(c.Scheme().Data) {
				from, to := span.Bytes(i, f)
				if from < to {
					out = append(out, w.Payload(i, f)[from:to]...)
				}
			}
		}
	}
	return out, nil
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, name := range schemes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := mustCodec(t, name)
			for _, size := range sizesOf(c.Scheme()) {
				data := content(size)
				shards := encodeAll(t, c, bytes.NewReader(data), int64(size), 3)
				other := encodeAll(t, c, iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data))), -1, 1)
				for i := range shards {
					if !bytes.Equal(shards[i], other[i]) {
						t.Fatalf("%d bytes: shard %d depends on how the source reads", size, i)
					}
				}
				got, err := decode(c, shards, int64(size), 0, -1, 2)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
				}
			}
		})
	}
}

func TestEveryLoss(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rep-3", "rs-2+2", "rs-4+2", "rs-5+3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := mustCodec(t, name)
			s := c.Scheme()
			size := int64(2*s.StripeSize() + 1234)
			data := content(int(size))
			shards := encodeAll(t, c, bytes.NewReader(data), -1, 2)
			for lost := range 1 << s.Width() {
				left := append([][]byte(nil), shards...)
				n := 0
				for i := range left {
					if lost>>i&1 != 0 {
						left[i], n = nil, n+1
					}
				}
				off := int64(lost*7919) % size
				for _, r := range [][2]int64{{0, size}, {off, min(70000, size-off)}, {size - 1, 1}} {
					got, err := decode(c, left, size, r[0], r[1], 3)
					if n <= int(s.Parity) && (err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]])) {
						t.Fatalf("lost %b, range %v: %d bytes, %v", lost, r, len(got), err)
					}
					if n > int(s.Parity) && err == nil && !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
						t.Fatalf("lost %b, range %v: wrong bytes", lost, r)
					}
				}
				if _, err := decode(c, left, size, 0, size, 3); n > int(s.Parity) && !errors.Is(err, erasure.ErrTooFew) {
					t.Fatalf("lost %b: %v", lost, err)
				}
			}
		})
	}
}

// TestSpan compares ranges with slices and checks that only frames that are
// touched are asked for.
func TestSpan(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, name := range []string{"rep-2", "rs-3+2", "rs-8+4"} {
		c := mustCodec(t, name)
		s := c.Scheme()
		for range 60 {
			size := rng.Int64N(3 * s.StripeSize())
			off := rng.Int64N(size + 1)
			n := rng.Int64N(size - off + 1)
			data := content(int(size))
			shards := encodeAll(t, c, bytes.NewReader(data), size, 4)
			got, err := decode(c, shards, size, off, n, 2)
			if err != nil || !bytes.Equal(got, data[off:off+n]) {
				t.Fatalf("%s: %d at %d of %d: %d bytes, %v", name, n, off, size, len(got), err)
			}
			span, _ := SpanOf(s, size, off, n)
			for i := range int(s.Data) {
				first, k := span.Frames(i)
				for f := range s.Frames(size) {
					from, to := span.Bytes(i, f)
					touched := f >= span.First && f < span.First+span.Stripes && from < to
					asked := f >= first && f < first+k
					// A frame of padding only may be asked for, no other.
					if touched && !asked || asked && !touched && (f != s.Frames(size)-1) {
						t.Fatalf("%s: %d at %d of %d: shard %d frame %d touched %v asked %v", name, n, off, size, i, f, touched, asked)
					}
				}
			}
		}
	}
	for _, r := range [][3]int64{{10, -1, 2}, {10, 11, -1}, {10, 0, 11}, {10, 5, 6}, {-1, 0, 0}, {10, 1, 1<<63 - 1}, {erasure.MaxBlob + 1, 0, 1}} {
		if _, err := SpanOf(erasure.Replicated(1), r[0], r[1], r[2]); !errors.Is(err, ErrRange) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func TestSourceErrors(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tc := range []struct {
		name string
		src  io.Reader
		size int64
		want error
	}{
		{"fails at once", iotest.ErrReader(boom), -1, boom},
		{"fails at the end", io.MultiReader(bytes.NewReader(make([]byte, 100000)), iotest.ErrReader(boom)), 100000, boom},
		{"fails beside the last bytes", &failing{left: 65536, err: boom}, 65536, boom},
		{"fails after a whole stripe", &failing{left: 131072, err: boom}, -1, boom},
		{"short", bytes.NewReader(make([]byte, 99)), 100, erasure.ErrLength},
		{"long", bytes.NewReader(make([]byte, 101)), 100, erasure.ErrLength},
		{"long by a stripe", bytes.NewReader(make([]byte, 131073)), 131072, erasure.ErrLength},
		{"empty for one", bytes.NewReader(nil), 1, erasure.ErrLength},
		{"one for empty", bytes.NewReader([]byte{1}), 0, erasure.ErrLength},
		{"cut", &failing{left: 50, err: io.ErrUnexpectedEOF}, 100, io.ErrUnexpectedEOF},
		{"stuck", stuck{}, -1, io.ErrNoProgress},
	} {
		for _, scheme := range []string{"rep-1", "rs-2+1"} {
			c := mustCodec(t, scheme)
			e, b := c.NewEncoder(tc.size), c.NewBatch(1)
			var err error
			for last := false; !last && err == nil; {
				last, err = e.Fill(tc.src, b)
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("%s, %s: %v", tc.name, scheme, err)
			}
			if s, ok := tc.src.(io.Seeker); ok {
				_, _ = s.Seek(0, io.SeekStart)
			}
			if f, ok := tc.src.(*failing); ok {
				f.left += f.given
				f.given = 0
			}
			if tc.name == "fails at the end" {
				break
			}
		}
	}
}

// failing returns its error beside the last bytes.
type failing struct {
	left, given int
	err         error
}

func (f *failing) Read(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.given += n
	if f.left == 0 {
		return n, f.err
	}
	return n, nil
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := mustCodec(t, "rep-1")
	e, b := c.NewEncoder(-1), c.NewBatch(1)
	e.length = erasure.MaxBlob - 10
	if _, err := e.Fill(bytes.NewReader(make([]byte, 11)), b); !errors.Is(err, erasure.ErrTooLarge) {
		t.Error(err)
	}
	e = c.NewEncoder(-1)
	e.length = erasure.MaxBlob - 10
	if _, err := e.Fill(bytes.NewReader(make([]byte, 10)), b); err != nil {
		t.Error(err)
	}
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	cs := NewCodecs()
	a, err := cs.Codec(erasure.Scheme{Data: 4, Parity: 2})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := cs.Codec(erasure.Scheme{Data: 4, Parity: 2}); a != b {
		t.Error("codec is not kept")
	}
	for _, s := range []erasure.Scheme{{}, {Data: 2}, {Data: 30, Parity: 2}, {Data: 4, Parity: 9}, {Data: 0, Parity: 3}, {Data: 1, Parity: 16}} {
		if _, err := cs.Codec(s); !errors.Is(err, erasure.ErrScheme) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// TestGoldenParity holds the format: a value that changes here makes stored
// parity useless.
func TestGoldenParity(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, name := range schemes {
		c := mustCodec(t, name)
		size := int(c.Scheme().StripeSize()) + 1001
		for i, s := range encodeAll(t, c, bytes.NewReader(content(size)), -1, 1) {
			fmt.Fprintf(&out, "%s shard %d of %d bytes: %d stored, %016x\n", name, i, size, len(s), xxh3.Hash(s))
		}
	}
	const path = "testdata/parity.txt"
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("shards changed:\n%s", out.String())
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range []string{"rep-1", "rep-3", "rs-2+2", "rs-4+2", "rs-8+4"} {
		c := mustCodec(b, name)
		for _, size := range []int{16 << 10, 1 << 20} {
			data, batch := content(size), c.NewBatch(MaxRun)
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					e, src := c.NewEncoder(int64(size)), bytes.NewReader(data)
					for i := range c.Scheme().Width() {
						e.Shard(testBlob, uint8(i), 1)
					}
					for last := false; !last; {
						var err error
						if last, err = e.Fill(src, batch); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
