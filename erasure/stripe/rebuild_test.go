package stripe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"holdfast/erasure"
	"holdfast/erasure/frame"
)

// held is a shard in memory that serves frames as a node does.
type held struct {
	data  []byte
	opens int
	fail  error // of Open
	cut   int   // readers end after so many bytes, if not 0
}

type heldReader struct{ *bytes.Reader }

func (h *held) open(ctx context.Context, first, n int64) (Frames, error) {
	h.opens++
	if h.fail != nil {
		return nil, h.fail
	}
	start := min(int(first)*frame.Stride, len(h.data))
	end := min(start+int(n)*frame.Stride, len(h.data))
	if h.cut > 0 {
		end = min(end, h.cut)
	}
	return heldReader{bytes.NewReader(h.data[start:max(start, end)])}, nil
}

func (r heldReader) ReadFrames(p []byte) (int, error) { return r.Read(p) }
func (heldReader) Close() error                       { return nil }

func sourcesOf(shards [][]byte, but int) (sources []Source, nodes []*held) {
	for i, s := range shards {
		if i == but {
			continue
		}
		h := &held{data: bytes.Clone(s)}
		nodes = append(nodes, h)
		sources = append(sources, Source{Index: uint8(i), Gen: uint32(i + 1), Open: h.open})
	}
	return sources, nodes
}

func rebuild(t testing.TB, c *Codec, target Target, sources []Source) ([]byte, Built, error) {
	t.Helper()
	var out []byte
	b, err := Rebuild(t.Context(), c, target, sources, func(run []byte) error {
		if len(run) > 1<<20 || len(run) == 0 {
			t.Fatalf("run of %d bytes", len(run))
		}
		out = append(out, run...)
		clear(run) // emit may overwrite
		return nil
	})
	return out, b, err
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rep-2", "rep-3", "rs-2+2", "rs-4+2", "rs-8+4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := mustCodec(t, name)
			for _, size := range sizesOf(c.Scheme()) {
				shards := encodeAll(t, c, bytes.NewReader(content(size)), -1, 4)
				for target := range shards {
					sources, _ := sourcesOf(shards, target)
					tg := Target{testBlob, uint8(target), uint32(target + 1), int64(size)}
					got, b, err := rebuild(t, c, tg, sources)
					if err != nil || !bytes.Equal(got, shards[target]) {
						t.Fatalf("%d bytes, shard %d: got %d of %d, %v", size, target, len(got), len(shards[target]), err)
					}
					if b.Length != int64(len(got)) || b.Sum != frame.SumRun(got) || b.Frames != c.Scheme().Frames(int64(size)) {
						t.Fatalf("%d bytes, shard %d: %+v", size, target, b)
					}
				}
			}
		})
	}
}

// TestRebuildMove copies a shard of the same index to another generation,
// with one source only.
func TestRebuildMove(t *testing.T) {
	t.Parallel()
	c := mustCodec(t, "rs-4+2")
	size := 3<<20 + 7
	shards := encodeAll(t, c, bytes.NewReader(content(size)), -1, 4)
	all, nodes := sourcesOf(shards, -1)
	got, b, err := rebuild(t, c, Target{testBlob, 2, 77, int64(size)}, all)
	if err != nil || len(b.Bad) != 0 {
		t.Fatal(err, b)
	}
	seed := frame.SeedOf(testBlob, 2, 77)
	if _, err := seed.CheckRun(0, got); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if at := i * len(got) / 100; at%frame.Stride < erasure.FrameSize && len(got)-at > 8 && got[at] != shards[2][at] {
			t.Fatal("payload changed")
		}
	}
	for i, n := range nodes {
		if want := map[bool]int{true: 1}[i == 2]; n.opens != want {
			t.Errorf("shard %d opened %d times", i, n.opens)
		}
	}
}

func TestRebuildFallsOver(t *testing.T) {
	t.Parallel()
	c := mustCodec(t, "rs-3+2")
	size := int64(40*3*erasure.FrameSize + 5)
	shards := encodeAll(t, c, bytes.NewReader(content(int(size))), -1, 4)
	tg := Target{testBlob, 4, 5, size}
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		harm func(n []*held)
		bad  int
		err  error
	}{
		"one source offline":                {func(n []*held) { n[0].fail = boom }, 1, nil},
		"one flipped bit":                   {func(n []*held) { n[1].data[20*frame.Stride+5] ^= 1 }, 1, nil},
		"one cut":                           {func(n []*held) { n[2].data = n[2].data[:9*frame.Stride+7] }, 1, nil},
		"cut streams that can be reopened":  {func(n []*held) { n[0].cut = 7 * frame.Stride }, 1, nil},
		"bad frames apart in two of four":   {func(n []*held) { n[0].data[3] ^= 1; n[1].data[30*frame.Stride] ^= 4 }, 2, nil},
		"bad frames apart in all":           {func(n []*held) { apart(n, 4) }, 4, nil},
		"two bad at one frame":              {func(n []*held) { n[0].data[3] ^= 1; n[1].data[3] ^= 4 }, 2, erasure.ErrTooFew},
		"two offline":                       {func(n []*held) { n[0].fail, n[3].fail = boom, boom }, 2, boom},
		"a shard in another's place":        {func(n []*held) { n[0].data = bytes.Clone(n[1].data) }, 1, nil},
		"stored bytes gone, empty in place": {func(n []*held) { n[0].data = nil }, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sources, nodes := sourcesOf(shards, 4)
			tc.harm(nodes)
			got, b, err := rebuild(t, c, tg, sources)
			if !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) || len(b.Bad) != tc.bad {
				t.Fatalf("%v, bad %v", err, b.Bad)
			}
			if !bytes.HasPrefix(shards[4], got) || err == nil && len(got) != len(shards[4]) {
				t.Error("wrong bytes")
			}
		})
	}
}

// apart flips a bit in each of the first n shards, each in another frame.
func apart(nodes []*held, n int) {
	for i := range n {
		nodes[i].data[i*9*frame.Stride+i] ^= 0x10
	}
}

func TestRebuildStops(t *testing.T) {
	t.Parallel()
	c := mustCodec(t, "rep-2")
	shards := encodeAll(t, c, bytes.NewReader(content(3<<20)), -1, 4)
	sources, _ := sourcesOf(shards, 1)
	boom := errors.New("boom")
	_, err := Rebuild(t.Context(), c, Target{testBlob, 1, 2, 3 << 20}, sources, func([]byte) error { return boom })
	if err != boom {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	_, err = Rebuild(ctx, c, Target{testBlob, 1, 2, 3 << 20}, sources, func([]byte) error { runs++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || runs != 1 {
		t.Error(runs, err)
	}
}

func TestReadRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		r    Frames
		n    int
		want error
	}{
		"whole": {heldReader{bytes.NewReader(make([]byte, 10))}, 10, nil},
		"short": {heldReader{bytes.NewReader(make([]byte, 9))}, 9, ErrShort},
		"stuck": {idle{}, 0, io.ErrNoProgress},
	} {
		if n, err := ReadRun(tc.r, make([]byte, 10)); n != tc.n || err != tc.want {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

type idle struct{}

func (idle) ReadFrames([]byte) (int, error) { return 0, nil }
func (idle) Close() error                   { return nil }

// FuzzDecode feeds damaged shards to the decoder and to Rebuild: they answer
// with the bytes that were written or with an error.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(3), uint32(200000), []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint8(0), uint32(1), []byte{})
	f.Add(uint8(4), uint32(400001), []byte("\x00\xff\x10\x20\x01\x80\x00\x00\x03cut"))
	cs := make([]*Codec, len(schemes))
	for i, name := range schemes {
		cs[i] = mustCodec(f, name)
	}
	f.Fuzz(func(t *testing.T, scheme uint8, size uint32, harm []byte) {
		c := cs[int(scheme)%len(cs)]
		length := int64(size % (1 << 20))
		data := content(int(length))
		shards := encodeAll(t, c, bytes.NewReader(data), -1, 2)
		for ; len(harm) >= 5; harm = harm[5:] {
			i := int(harm[0]) % len(shards)
			at := (int(harm[1])<<16 | int(harm[2])<<8 | int(harm[3])) % (len(shards[i]) + 1)
			switch {
			case harm[4] == 0:
				shards[i] = shards[i][:at]
			case harm[4] == 1:
				j := int(harm[1]) % len(shards)
				shards[i], shards[j] = shards[j], shards[i]
			case at < len(shards[i]):
				shards[i][at] ^= harm[4]
			}
		}
		off := length / 3
		got, err := decode(c, shards, length, off, -1, 2)
		if err == nil && !bytes.Equal(got, data[off:]) {
			t.Fatal("wrong bytes")
		}
		sources, _ := sourcesOf(shards, 0)
		want := encodeAll(t, c, bytes.NewReader(data), -1, 2)[0]
		run, _, err := rebuild(t, c, Target{testBlob, 0, 1, length}, sources)
		if !bytes.HasPrefix(want, run) || err == nil && len(run) != len(want) {
			t.Fatal("wrong shard")
		}
	})
}

// TestRebuildProperty harms shards at random and compares with what can be
// known: it must succeed if and only if each stripe has K good frames.
func TestRebuildProperty(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := mustCodec(t, "rs-4+2")
	s := c.Scheme()
	size := 13*s.StripeSize() + 999
	shards := encodeAll(t, c, bytes.NewReader(content(int(size))), -1, 4)
	for round := range 40 {
		target := rng.IntN(s.Width())
		sources, nodes := sourcesOf(shards, target)
		rng.Shuffle(len(sources), func(i, j int) {
			sources[i], sources[j] = sources[j], sources[i]
			nodes[i], nodes[j] = nodes[j], nodes[i]
		})
		harmed := map[int]map[int]bool{}
		for range rng.IntN(12) {
			i, f := rng.IntN(len(nodes)), rng.IntN(int(s.Frames(size)))
			if harmed[f] == nil {
				harmed[f] = map[int]bool{}
			}
			if !harmed[f][i] {
				nodes[i].data[f*frame.Stride+rng.IntN(200)] ^= 1
			}
			harmed[f][i] = true
		}
		can := true
		for _, h := range harmed {
			can = can && len(nodes)-len(h) >= int(s.Data)
		}
		got, _, err := rebuild(t, c, Target{testBlob, uint8(target), uint32(target + 1), size}, sources)
		if (err == nil) != can || err == nil && !bytes.Equal(got, shards[target]) {
			t.Fatalf("round %d: harm %v: %v", round, fmt.Sprint(harmed), err)
		}
	}
}
