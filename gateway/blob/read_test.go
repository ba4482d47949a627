package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

func TestRanges(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, scheme := range []string{"rep-1", "rep-2", "rs-2+2", "rs-3+2", "rs-8+4"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			s := mustScheme(scheme)
			c := newCluster(s.Width())
			size := 5*s.StripeSize()*int64(windowRows(s))/2 + 4321
			data := content(int(size))
			b := c.write(t, scheme, data)
			edge := s.StripeSize()
			ranges := [][2]int64{{0, 0}, {size, 0}, {0, 1}, {size - 1, 1}, {0, size}, {1, size - 1}, {edge - 1, 2}, {edge, edge}, {65535, 2}, {size - 5000, 5000}}
			for range 40 {
				off := rng.Int64N(size)
				ranges = append(ranges, [2]int64{off, rng.Int64N(size - off + 1)})
			}
			for _, r := range ranges {
				got, err := c.read(b, r[0], r[1], Options{})
				if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
					t.Fatalf("%v: %d bytes, %v", r, len(got), err)
				}
			}
			for _, r := range [][2]int64{{-1, 1}, {0, size + 1}, {size, 1}} {
				if _, err := c.read(b, r[0], r[1], Options{}); !errors.Is(err, stripe.ErrRange) {
					t.Errorf("%v: %v", r, err)
				}
			}
			c.idle(t)
		})
	}
}

// gather is a VecWriter. It overwrites the slices it was given, as it may.
type gather struct {
	bytes.Buffer
	calls []int // pieces in each
}

func (g *gather) WriteVec(bufs [][]byte) (n int64, err error) {
	g.calls = append(g.calls, len(bufs))
	for i, p := range bufs {
		m, _ := g.Write(p)
		n += int64(m)
		bufs[i] = nil
	}
	return n, nil
}

// TestVec: a writer that takes many pieces at once gets each window whole.
func TestVec(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	for _, scheme := range []string{"rep-1", "rep-2", "rs-2+2", "rs-4+2"} {
		c := newCluster(mustScheme(scheme).Width())
		data := content(2 << 20)
		b := c.write(t, scheme, data)
		ranges := [][2]int{{0, len(data)}, {0, 0}, {1, 1}, {70000, 65536}}
		for range 20 {
			off := rng.IntN(len(data))
			ranges = append(ranges, [2]int{off, rng.IntN(len(data) - off + 1)})
		}
		for i, r := range ranges {
			s, err := c.reader.Open(t.Context(), b, int64(r[0]), int64(r[1]), Options{Nodes: c})
			if err != nil {
				t.Fatal(err)
			}
			var g gather
			if r[1] > 100000 && i%2 == 1 { // with something taken before
				_, err = io.CopyN(&g.Buffer, struct{ io.Reader }{s}, 3)
			}
			if n, werr := s.WriteTo(&g); err != nil || werr != nil || int(n) > r[1] || !bytes.Equal(g.Bytes(), data[r[0]:r[0]+r[1]]) {
				t.Fatalf("%s, %v: %d bytes of %d, %v, %v", scheme, r, g.Len(), n, err, werr)
			}
			if i == 0 && !slices.Equal(g.calls, []int{8, 8, 8, 8}) {
				t.Errorf("%s: pieces %v", scheme, g.calls)
			}
			_ = s.Close()
		}
		c.idle(t)
	}
}

// TestOneShardReadAsTaken: of a blob that has one shard no more is read, and
// held, than its reader has asked for.
func TestOneShardReadAsTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(1)
	b := c.write(t, "rep-1", content(4<<20))
	s, err := c.reader.Open(t.Context(), b, 0, -1, Options{Nodes: c})
	if err != nil {
		t.Fatal(err)
	}
	const window = 8
	for i, take := range []int64{1, window*erasure.FrameSize - 1, 1, window * erasure.FrameSize} {
		if _, err := io.CopyN(io.Discard, struct{ io.Reader }{s}, take); err != nil {
			t.Fatal(err)
		}
		c.reader.Wait() // nothing reads beside
		if want := []int{1, 1, 2, 3}[i] * window * frame.Stride; c.nodes[0].reads != want {
			t.Errorf("after step %d: %d bytes were read, not %d", i, c.nodes[0].reads, want)
		}
	}
	_ = s.Close()
	c.idle(t)
}

// TestReadsWhatItNeeds: a range reads only the frames it touches, from data
// shards, and one copy only.
func TestReadsWhatItNeeds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		scheme string
		off, n int64
		frames int
	}{
		{"rep-3", 0, 1 << 20, 16},
		{"rep-3", 100000, 1, 1},
		{"rs-4+2", 0, 1 << 20, 16},
		{"rs-4+2", 65536 * 5, 65536, 1},
		{"rs-4+2", 65536*5 + 1, 65536, 2},
		{"rs-4+2", 65536*3 + 1, 65536 * 6, 7},
	} {
		s := mustScheme(tc.scheme)
		c := newCluster(s.Width())
		b := c.write(t, tc.scheme, content(1<<20))
		if _, err := c.read(b, tc.off, tc.n, Options{}); err != nil {
			t.Fatal(err)
		}
		reads, nodes := 0, 0
		for i, n := range c.nodes {
			reads += n.reads
			if n.opens > 0 {
				nodes++
			}
			if n.opens > 1 || s.Data > 1 && i >= int(s.Data) && n.opens > 0 {
				t.Errorf("%+v: node %d opened %d times", tc, n.id, n.opens)
			}
		}
		if reads != tc.frames*frame.Stride || nodes > int(s.Data) {
			t.Errorf("%+v: read %d bytes of %d nodes", tc, reads, nodes)
		}
	}
}

func TestEveryLoss(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-1", "rep-3", "rs-2+2", "rs-4+2"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s := mustScheme(scheme)
			size := 3*s.StripeSize()*int64(windowRows(s))/2 + 4321
			data := content(int(size))
			for lost := range 1 << s.Width() {
				c := newCluster(s.Width())
				b := c.write(t, scheme, data)
				n := 0
				for i := range s.Width() {
					if lost>>i&1 != 0 {
						n++
						switch i % 3 { // ways of being lost
						case 0:
							clear(c.nodes[i].shards)
						case 1:
							c.shard(&b, i)[0] ^= 1
						case 2:
							b.Shards[i] = storage.Placement{}
						}
					}
				}
				var damage []storage.Damage
				got, err := c.read(b, 0, -1, Options{Damage: func(d storage.Damage) { damage = append(damage, d) }})
				if n <= int(s.Parity) && (err != nil || !bytes.Equal(got, data)) {
					t.Errorf("lost %b: %d bytes, %v", lost, len(got), err)
				}
				if n > int(s.Parity) && (!errors.Is(err, storage.ErrCorrupt) || fault.KindOf(err) != fault.Corrupt || len(got) != 0) {
					t.Errorf("lost %b: %d bytes, %v", lost, len(got), err)
				}
				for _, d := range damage {
					if i := int(d.Shard.Index); lost>>i&1 == 0 || d.Node != storage.NodeID(i+1) || d.Shard.Blob != b.ID || d.Shard.Gen != 1 {
						t.Errorf("lost %b: told of %v", lost, d)
					}
				}
				c.idle(t)
			}
		})
	}
}

// TestFlippedBits flips one bit in each frame in turn; the range has to come
// right from the others, and the shard be told of once.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-2", "rs-2+1", "rs-3+2"} {
		s := mustScheme(scheme)
		c := newCluster(s.Width())
		size := 5*s.StripeSize() + 12345
		data := content(int(size))
		b := c.write(t, scheme, data)
		for i := range s.Width() {
			shard := c.shard(&b, i)
			for at := 5; at < len(shard); at += frame.Stride - 1 {
				shard[at] ^= 1 << (at % 8)
				var damage []storage.Damage
				got, err := c.read(b, 1, -1, Options{Damage: func(d storage.Damage) { damage = append(damage, d) }})
				if err != nil || !bytes.Equal(got, data[1:]) {
					t.Fatalf("%s, shard %d, byte %d: %d bytes, %v", scheme, i, at, len(got), err)
				}
				if len(damage) > 1 || s.Data > 1 && (len(damage) == 1) != (i < int(s.Data)) {
					t.Errorf("%s, shard %d, byte %d: %v", scheme, i, at, damage)
				}
				shard[at] ^= 1 << (at % 8)
			}
		}
		c.idle(t)
	}
}

// TestRotApart: each shard has a bad frame, each at another place, so that no
// K shards are whole, and yet every stripe has K good frames.
func TestRotApart(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-2", "rs-2+1", "rs-4+2"} {
		s := mustScheme(scheme)
		c := newCluster(s.Width())
		size := 40*s.StripeSize() + 1
		data := content(int(size))
		b := c.write(t, scheme, data)
		for i := range s.Width() {
			c.shard(&b, i)[i*5*frame.Stride] ^= 1
		}
		if got, err := c.read(b, 0, -1, Options{}); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", scheme, len(got), err)
		}
		// And where too many are bad at one place, all before it is right.
		for i := range int(s.Parity) + 1 {
			c.shard(&b, i)[30*frame.Stride] ^= 1
		}
		got, err := c.read(b, 0, -1, Options{})
		if !errors.Is(err, storage.ErrCorrupt) || !bytes.HasPrefix(data, got) || int64(len(got)) < 24*s.StripeSize() {
			t.Errorf("%s: %d bytes, %v", scheme, len(got), err)
		}
		c.idle(t)
	}
}

// TestOffline: nodes that do not answer are no damage, and no corruption.
func TestOffline(t *testing.T) {
	t.Parallel()
	c := newCluster(4)
	data := content(3<<20 + 7)
	b := c.write(t, "rs-2+2", data)
	o := Options{Damage: func(d storage.Damage) { t.Errorf("told of %v", d) }}
	c.off[1], c.nodes[3].onOpen = true, failing
	if got, err := c.read(b, 0, -1, o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	c.nodes[1].onRead = func(_ context.Context, k int) error {
		if k >= 9 {
			return boom
		}
		return nil
	}
	got, err := c.read(b, 0, -1, o)
	if !errors.Is(err, storage.ErrOffline) || !errors.Is(err, boom) || fault.KindOf(err) != fault.Unavailable || !bytes.HasPrefix(data, got) || len(got) == 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	c.idle(t)
}

// TestMoved: shards that were moved, at once or during the read, are read at
// their new place, and are no damage; what is bad at its present place is.
func TestMoved(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-1", "rs-2+1"} {
		s := mustScheme(scheme)
		c := newCluster(s.Width() + 1)
		size := 20 * s.StripeSize()
		data := content(int(size))
		old := c.write(t, scheme, data)
		now := old
		now.Shards = append([]storage.Placement(nil), old.Shards...)
		// Shard 0 moves to the last node under generation 2.
		last := len(c.nodes)
		now.Shards[0] = storage.Placement{Node: storage.NodeID(last), Gen: 2}
		var moved []byte
		_, err := stripe.Rebuild(t.Context(), mustCodec(t, s), stripe.Target{Blob: old.ID, Index: 0, Gen: 2, Length: size},
			[]stripe.Source{{Index: 0, Gen: 1, Open: func(ctx context.Context, first, n int64) (stripe.Frames, error) {
				return c.nodes[0].Open(ctx, storage.ShardID{Blob: old.ID, Gen: 1}, first, n)
			}}}, func(run []byte) error { moved = append(moved, run...); return nil })
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[last-1].shards[storage.ShardID{Blob: old.ID, Gen: 2}] = moved
		if s.Data > 1 {
			c.off[3] = true // and no parity to fall back on
		}
		refreshes := 0
		o := Options{
			Refresh: func(context.Context) (tracker.Blob, error) { refreshes++; return now, nil },
			Damage:  func(d storage.Damage) { t.Errorf("%s: told of %v", scheme, d) },
		}
		clean := c.shard(&old, 0)
		for name, harm := range map[string]func(){
			"gone":       func() { delete(c.nodes[0].shards, storage.ShardID{Blob: old.ID, Gen: 1}) },
			"overlaid":   func() { c.shard(&old, 0)[11*frame.Stride+5] ^= 1 },
			"cut":        func() { c.nodes[0].shards[storage.ShardID{Blob: old.ID, Gen: 1}] = clean[:7*frame.Stride] },
			"gone later": func() { c.nodes[0].onRead = goneFrom(9) },
			"offline":    func() { c.off[1] = true },
		} {
			c.nodes[0].shards[storage.ShardID{Blob: old.ID, Gen: 1}] = bytes.Clone(clean)
			harm()
			refreshes = 0
			if got, err := c.read(old, 0, -1, o); err != nil || !bytes.Equal(got, data) || refreshes != 1 {
				t.Errorf("%s, %s: %d bytes, %d refreshes, %v", scheme, name, len(got), refreshes, err)
			}
			c.nodes[0].onRead, c.off[1] = nil, false
		}
		moved[3*frame.Stride] ^= 1
		var damage []storage.Damage
		o.Damage = func(d storage.Damage) { damage = append(damage, d) }
		if _, err := c.read(now, 0, -1, o); !errors.Is(err, storage.ErrCorrupt) && s.Data == 1 || err == nil {
			t.Error(err)
		}
		if len(damage) != 1 || damage[0].Shard.Gen != 2 || damage[0].Node != storage.NodeID(last) {
			t.Errorf("%s: %v", scheme, damage)
		}
		o.Refresh = func(context.Context) (tracker.Blob, error) { return tracker.Blob{}, tracker.ErrNoSuchKey }
		damage = nil
		if _, err := c.read(now, 0, -1, o); !errors.Is(err, storage.ErrNotHere) || !errors.Is(err, tracker.ErrNoSuchKey) || len(damage) != 0 {
			t.Error(err, damage)
		}
		c.idle(t)
	}
}

func goneFrom(n int) func(context.Context, int) error {
	return func(_ context.Context, k int) error {
		if k >= n {
			return storage.ErrNotHere
		}
		return nil
	}
}

func mustCodec(t testing.TB, s erasure.Scheme) *stripe.Codec {
	t.Helper()
	codec, err := stripe.NewCodecs().Codec(s)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

// TestHedge: a node that hangs costs a read one hedge, and the reads after it
// nothing; without spares the read waits for Idle.
func TestHedge(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-2", "rs-2+2"} {
		for _, deaf := range []bool{false, true} {
			for _, at := range []int{0, 9} {
				synctest.Test(t, func(t *testing.T) {
					s := mustScheme(scheme)
					c := newTimed(s.Width(), DefaultConfig())
					data := content(int(30 * s.StripeSize()))
					b := c.write(t, scheme, data)
					release := make(chan struct{})
					// rep-2 reads the copy that the blob's id chooses.
					victim := c.nodes[0]
					if s.Data == 1 {
						if _, err := c.read(b, 0, 1, Options{}); err != nil {
							t.Fatal(err)
						}
						if victim.opens == 0 {
							victim = c.nodes[1]
						}
					}
					victim.onRead = func(ctx context.Context, k int) error {
						if k < at {
							return nil
						}
						if deaf {
							<-release
							return nil
						}
						<-ctx.Done()
						return ctx.Err()
					}
					for i, want := range []time.Duration{50 * time.Millisecond, 0} {
						if at > 0 && i > 0 && s.Data > 1 {
							continue // which of the two slow states is met depends on order
						}
						started := time.Now()
						got, err := c.read(b, 0, -1, Options{})
						if took := time.Since(started); err != nil || !bytes.Equal(got, data) || took != want {
							t.Errorf("%s, deaf %v, from %d, read %d: %d bytes in %v, %v", scheme, deaf, at, i, len(got), took, err)
						}
					}
					close(release)
					c.idle(t)
				})
			}
		}
	}
}

func TestHungWithoutSpare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(4, DefaultConfig())
		b := c.write(t, "rs-2+2", content(1000))
		for _, n := range c.nodes[1:] {
			n.onOpen = hang
		}
		started := time.Now()
		_, err := c.read(b, 0, -1, Options{})
		if !errors.Is(err, storage.ErrOffline) || !errors.Is(err, ErrStalled) || time.Since(started) != DefaultConfig().Idle {
			t.Error(err, time.Since(started))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.reader.Open(ctx, b, 0, -1, Options{Nodes: c}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.idle(t)
	})
}

// TestRank: busy copies are read later, nodes to avoid last of all, and a
// data shard on a node to avoid is computed from parity.
func TestRank(t *testing.T) {
	t.Parallel()
	c := newCluster(4)
	rep, rs := c.write(t, "rep-3", content(1000)), c.write(t, "rs-2+2", content(1000))
	rank := map[storage.NodeID]int{1: 30, 2: 20, 3: 10, 4: 5}
	o := Options{Rank: func(id storage.NodeID) int { return rank[id] }}
	opened := func(b tracker.Blob) string {
		for _, n := range c.nodes {
			n.opens = 0
		}
		if _, err := c.read(b, 0, -1, o); err != nil {
			t.Fatal(err)
		}
		s := ""
		for _, n := range c.nodes {
			if n.opens > 0 {
				s += fmt.Sprint(n.id)
			}
		}
		return s
	}
	for _, tc := range []struct {
		avoid   []storage.NodeID
		rep, rs string
	}{{nil, "3", "12"}, {[]storage.NodeID{3}, "2", "12"}, {[]storage.NodeID{1}, "3", "24"}, {[]storage.NodeID{1, 2, 3}, "3", "34"}, {[]storage.NodeID{1, 2, 3, 4}, "3", "34"}} {
		for _, id := range tc.avoid {
			rank[id] += Avoid
		}
		if got := opened(rep); got != tc.rep {
			t.Errorf("avoid %v: rep-3 read from %s", tc.avoid, got)
		}
		if got := opened(rs); got != tc.rs {
			t.Errorf("avoid %v: rs-2+2 read from %s", tc.avoid, got)
		}
		for _, id := range tc.avoid {
			rank[id] -= Avoid
		}
	}
}

// TestCloseEarly: a stream that is closed, or whose context ends, leaves
// nothing behind.
func TestCloseEarly(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-1", "rep-2", "rs-2+2"} {
		s := mustScheme(scheme)
		c := newCluster(s.Width())
		b := c.write(t, scheme, content(9<<20))
		for _, n := range []int64{0, 1, 100000, 5 << 20} {
			st, err := c.reader.Open(t.Context(), b, 0, -1, Options{Nodes: c})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, struct{ io.Reader }{st}, n); err != nil {
				t.Fatal(err)
			}
			_ = st.Close()
			_ = st.Close()
			if _, err := st.Read(make([]byte, 1)); err == nil {
				t.Error("read after close")
			}
			ctx, cancel := context.WithCancel(t.Context())
			if st, err = c.reader.Open(ctx, b, 0, -1, Options{Nodes: c}); err != nil {
				t.Fatal(err)
			}
			cancel()
			if n, err := io.Copy(io.Discard, st); err == nil && n < 9<<20 {
				t.Errorf("%d bytes and no error", n)
			}
			_ = st.Close()
		}
		c.idle(t)
	}
}

// TestReadProperty harms shards at random and compares with what can be
// known: a read succeeds if and only if each stripe it touches has K good
// frames, and never gives a wrong byte.
func TestReadProperty(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		scheme := []string{"rep-2", "rep-3", "rs-2+1", "rs-3+2", "rs-4+2"}[rng.IntN(5)]
		s := mustScheme(scheme)
		c := newCluster(s.Width())
		size := rng.Int64N(14*s.StripeSize()) + 1
		data := content(int(size))
		b := c.write(t, scheme, data)
		frames := int(s.Frames(size))
		bad := make([]map[int]bool, frames)
		for range rng.IntN(3 * s.Width()) {
			i, f := rng.IntN(s.Width()), rng.IntN(frames)
			if bad[f] == nil {
				bad[f] = map[int]bool{}
			}
			if shard := c.shard(&b, i); !bad[f][i] {
				bad[f][i] = true
				shard[min(f*frame.Stride+rng.IntN(9), len(shard)-1)] ^= 1 << rng.IntN(8)
			}
		}
		off := rng.Int64N(size)
		n := rng.Int64N(size-off) + 1
		span, _ := stripe.SpanOf(s, size, off, n)
		can := true
		for f := span.First; f < span.First+span.Stripes; f++ {
			ok := s.Width()-len(bad[f]) >= int(s.Data)
			for i := range int(s.Data) {
				first, k := span.Frames(i)
				if f >= first && f < first+k && bad[f][i] && !ok {
					can = false
				}
			}
		}
		got, err := c.read(b, off, n, Options{})
		if (err == nil) != can || !bytes.HasPrefix(data[off:off+n], got) || err == nil && int64(len(got)) != n {
			t.Fatalf("round %d, %s, %d at %d of %d, bad %v: %d bytes, %v", round, scheme, n, off, size, bad, len(got), err)
		}
		c.idle(t)
	}
}
