package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"holdfast/erasure"
	"holdfast/internal/fault"
	"holdfast/storage"
)

var boom = errors.New("boom")

func failing(context.Context, int) error { return boom }

// hang blocks like a remote node that stopped: until its context ends.
func hang(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }

func sizesOf(s erasure.Scheme) []int {
	st := int(s.StripeSize())
	return []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, st - 1, st, st + 1, 3<<20 + 7}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-1", "rep-2", "rep-3", "rs-2+2", "rs-3+2", "rs-4+2", "rs-8+4"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s := mustScheme(scheme)
			c := newCluster(s.Width())
			for _, size := range sizesOf(s) {
				data := content(size)
				for _, known := range []bool{true, false} {
					hint := int64(size)
					if !known {
						hint = -1
					}
					g := c.grant(scheme)
					b, holes, err := c.writer.Write(t.Context(), g, c, iotest.HalfReader(bytes.NewReader(data)), hint)
					if err != nil || len(holes) != 0 || b.Length != int64(size) || b.Expiry != g.Ticket.Expiry || b.ID != g.Blob {
						t.Fatalf("%d bytes: %+v, %v, %v", size, b, holes, err)
					}
					for i := range b.Shards {
						if got := c.shard(&b.Blob, i); int64(len(got)) != s.ShardSize(int64(size)) {
							t.Fatalf("%d bytes: shard %d of %d bytes", size, i, len(got))
						}
					}
					got, err := c.read(b.Blob, 0, -1, Options{})
					if err != nil || !bytes.Equal(got, data) {
						t.Fatalf("%d bytes: read %d, %v", size, len(got), err)
					}
				}
			}
			c.idle(t)
		})
	}
}

func TestWriteFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, scheme string
		size         int
		harm         func(c *cluster)
		holes        int
		err          error
		kind         fault.Kind
	}{
		{"one offline of rep-3", "rep-3", 100, func(c *cluster) { c.off[2] = true }, 1, nil, 0},
		{"one offline of rep-2", "rep-2", 100, func(c *cluster) { c.off[2] = true }, 0, storage.ErrOffline, fault.Unavailable},
		{"rep-1 fails", "rep-1", 100, func(c *cluster) { c.nodes[0].onSeal = failing }, 0, boom, fault.Unavailable},
		{"rep-1 full", "rep-1", 100, full(1), 0, storage.ErrNoSpace, fault.NoSpace},
		{"all full", "rs-2+2", 9 << 20, full(1, 2, 3, 4), 0, storage.ErrNoSpace, fault.NoSpace},
		{"two full of four, quorum three", "rs-2+2", 9 << 20, full(1, 2), 0, storage.ErrNoSpace, fault.NoSpace},
		{"one full", "rs-2+2", 9 << 20, full(3), 1, nil, 0},
		{"create fails", "rs-2+2", 9 << 20, func(c *cluster) { c.nodes[0].onCreate = failing }, 1, nil, 0},
		{"third write fails", "rs-2+2", 9 << 20, func(c *cluster) { c.nodes[0].onWrite = from(3) }, 1, nil, 0},
		{"two third writes fail", "rs-2+2", 9 << 20, func(c *cluster) { c.nodes[0].onWrite, c.nodes[3].onWrite = from(3), from(3) }, 0, boom, fault.Unavailable},
		{"seal fails", "rs-4+2", 9 << 20, func(c *cluster) { c.nodes[5].onSeal = failing }, 1, nil, 0},
		{"two seals fail, quorum five", "rs-4+2", 9 << 20, func(c *cluster) { c.nodes[5].onSeal, c.nodes[0].onSeal = failing, failing }, 0, boom, fault.Unavailable},
		{"two seals fail of rs-4+3", "rs-4+3", 1000, func(c *cluster) { c.nodes[5].onSeal, c.nodes[0].onSeal = failing, failing }, 2, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(mustScheme(tc.scheme).Width())
			tc.harm(c)
			data := content(tc.size)
			b, holes, err := c.writer.Write(t.Context(), c.grant(tc.scheme), c, bytes.NewReader(data), -1)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || len(holes) != tc.holes {
				t.Fatalf("%v, holes %v", err, holes)
			}
			if err != nil && fault.KindOf(err) != tc.kind {
				t.Errorf("kind %v of %v", fault.KindOf(err), err)
			}
			if err == nil {
				for _, h := range holes {
					if b.Shards[h.Shard.Index] != (storage.Placement{}) || h.Node == 0 || h.Reason == "" {
						t.Errorf("hole %v in %v", h, b.Shards)
					}
				}
				if got, err := c.read(b.Blob, 0, -1, Options{}); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d, %v", len(got), err)
				}
			}
			c.idle(t)
		})
	}
}

func full(nodes ...int) func(*cluster) {
	return func(c *cluster) {
		for _, n := range nodes {
			c.nodes[n-1].onCreate = func(context.Context, int) error { return storage.ErrNoSpace }
		}
	}
}

// from fails from the n-th call on.
func from(n int) func(context.Context, int) error {
	return func(_ context.Context, k int) error {
		if k >= n {
			return boom
		}
		return nil
	}
}

func TestGrantWithHoles(t *testing.T) {
	t.Parallel()
	c := newCluster(6)
	g := c.grant("rs-4+2")
	g.Shards[1] = storage.Placement{}
	data := content(1 << 20)
	b, holes, err := c.writer.Write(t.Context(), g, c, bytes.NewReader(data), -1)
	if err != nil || len(holes) != 1 || holes[0].Shard.Index != 1 || holes[0].Node != 0 {
		t.Fatal(holes, err)
	}
	if got, err := c.read(b.Blob, 0, -1, Options{}); err != nil || !bytes.Equal(got, data) {
		t.Fatal(len(got), err)
	}
	g = c.grant("rs-4+2")
	g.Shards[1], g.Shards[5] = storage.Placement{}, storage.Placement{}
	if _, _, err := c.writer.Write(t.Context(), g, c, bytes.NewReader(data), -1); !errors.Is(err, ErrQuorum) {
		t.Fatal(err)
	}
	g = c.grant("rs-4+2")
	g.Shards = g.Shards[:5]
	if _, _, err := c.writer.Write(t.Context(), g, c, bytes.NewReader(data), -1); !errors.Is(err, ErrQuorum) {
		t.Fatal(err)
	}
	c.idle(t)
}

// TestSourceFails: whatever is wrong with the body, nothing is sealed.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-1", "rep-3", "rs-2+2"} {
		for name, tc := range map[string]struct {
			src  io.Reader
			size int64
			want error
		}{
			"at once":            {iotest.ErrReader(boom), -1, boom},
			"in a small body":    {io.MultiReader(bytes.NewReader(content(100)), iotest.ErrReader(boom)), 200, boom},
			"with the last byte": {iotest.DataErrReader(io.MultiReader(bytes.NewReader(content(100)), iotest.ErrReader(boom))), 100, boom},
			"behind read ahead":  {io.MultiReader(bytes.NewReader(content(400<<10)), iotest.ErrReader(boom)), -1, boom},
			"stands still":       {io.MultiReader(bytes.NewReader(content(100)), still{}), 200, io.ErrNoProgress},
			"short stream":       {iotest.HalfReader(bytes.NewReader(content(9<<20 - 1))), 9 << 20, erasure.ErrLength},
			"long stream":        {iotest.HalfReader(bytes.NewReader(content(101))), 100, erasure.ErrLength},
			"at the very end":    {io.MultiReader(bytes.NewReader(content(9<<20)), iotest.ErrReader(boom)), 9 << 20, boom},
			"short":              {bytes.NewReader(content(9<<20 - 1)), 9 << 20, erasure.ErrLength},
			"long":               {bytes.NewReader(content(9<<20 + 1)), 9 << 20, erasure.ErrLength},
			"announced as huge":  {bytes.NewReader(nil), erasure.MaxBlob + 1, erasure.ErrTooLarge},
		} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				c := newCluster(4)
				_, _, err := c.writer.Write(t.Context(), c.grant(scheme), c, tc.src, tc.size)
				if !errors.Is(err, tc.want) || c.stored() != 0 {
					t.Errorf("%v, %d shards", err, c.stored())
				}
				c.idle(t)
			})
		}
	}
}

// still is a source that gives neither bytes nor an error.
type still struct{}

func (still) Read([]byte) (int, error) { return 0, nil }

func TestWriteCanceled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(3, DefaultConfig())
		for _, n := range c.nodes {
			n.onSeal = hang
		}
		for _, scheme := range []string{"rep-1", "rep-3"} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			_, _, err := c.writer.Write(ctx, c.grant(scheme), c, bytes.NewReader(content(100)), 100)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || c.stored() != 0 {
				t.Errorf("%s: %v", scheme, err)
			}
		}
		c.idle(t)
	})
}

// TestHungNode: a node that hangs, on its context or like a disk that does
// not come back, costs a write at most a second while it streams, and a
// straggler's time at the end.
func TestHungNode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		size   int
		harm   func(n *fakeNode, block func(context.Context, int) error)
		within time.Duration
	}{
		{"create of a small one", 1000, func(n *fakeNode, b func(context.Context, int) error) { n.onCreate = b }, 50 * time.Millisecond},
		{"seal of a small one", 1000, func(n *fakeNode, b func(context.Context, int) error) { n.onSeal = b }, 50 * time.Millisecond},
		{"create of a large one", 9 << 20, func(n *fakeNode, b func(context.Context, int) error) { n.onCreate = b }, time.Second},
		{"fifth write", 9 << 20, func(n *fakeNode, b func(context.Context, int) error) {
			n.onWrite = func(ctx context.Context, k int) error {
				if k == 5 {
					return b(ctx, k)
				}
				return nil
			}
		}, time.Second},
		{"seal of a large one", 9 << 20, func(n *fakeNode, b func(context.Context, int) error) { n.onSeal = b }, 50 * time.Millisecond},
	} {
		for _, deaf := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c := newTimed(4, DefaultConfig())
				release := make(chan struct{})
				var healed atomic.Bool
				block := func(ctx context.Context, k int) error {
					switch {
					case healed.Load():
						return ctx.Err()
					case deaf:
						<-release
						return ctx.Err()
					}
					return hang(ctx, k)
				}
				tc.harm(c.nodes[2], block)
				data := content(tc.size)
				started := time.Now()
				b, holes, err := c.writer.Write(t.Context(), c.grant("rs-2+2"), c, bytes.NewReader(data), int64(tc.size))
				if err != nil || len(holes) != 1 || holes[0].Node != 3 {
					t.Fatalf("%s, deaf %v: %v, %v", tc.name, deaf, holes, err)
				}
				if took := time.Since(started); took != tc.within {
					t.Errorf("%s, deaf %v: took %v", tc.name, deaf, took)
				}
				// The batch that the hung node holds must not be used again.
				healed.Store(true)
				for range 3 {
					c.write(t, "rs-2+2", data)
				}
				if got, err := c.read(b.Blob, 0, -1, Options{}); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, deaf %v: read %d, %v", tc.name, deaf, len(got), err)
				}
				close(release)
				c.idle(t)
			})
		}
	}
}

// TestStragglerTime: a group whose seals take long is given time by its own
// measure, and a node that is late by less is no hole.
func TestStragglerTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(3, DefaultConfig())
		late := func(d time.Duration) func(context.Context, int) error {
			return func(ctx context.Context, _ int) error {
				select {
				case <-time.After(d):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		for _, n := range c.nodes {
			n.onSeal = late(100 * time.Millisecond)
		}
		for range 20 {
			c.write(t, "rep-3", content(10))
		}
		c.nodes[0].onSeal = late(410 * time.Millisecond) // 310 ms after the quorum
		_, holes, err := c.writer.Write(t.Context(), c.grant("rep-3"), c, bytes.NewReader(content(10)), 10)
		if err != nil || len(holes) != 1 {
			t.Error(holes, err)
		}
		c.writer.Wait() // the straggler is not forgotten yet
		c.nodes[0].onSeal = late(390 * time.Millisecond)
		c.write(t, "rep-3", content(10))
		c.idle(t)
	})
}

// TestHungNodeForLong: a node that hangs for many writes costs each of them
// the same.
func TestHungNodeForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(4, DefaultConfig())
		c.nodes[1].onSeal = hang
		for range 100 {
			started := time.Now()
			_, holes, err := c.writer.Write(t.Context(), c.grant("rs-2+2"), c, bytes.NewReader(content(10)), 10)
			if err != nil || len(holes) != 1 || time.Since(started) != 50*time.Millisecond {
				t.Fatal(holes, err, time.Since(started))
			}
		}
		c.idle(t)
	})
}

// TestNoQuorumProgress: without a quorum nobody is given up before Idle.
func TestNoQuorumProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(3, DefaultConfig())
		c.nodes[0].onSeal, c.nodes[1].onSeal = hang, hang
		started := time.Now()
		_, _, err := c.writer.Write(t.Context(), c.grant("rep-3"), c, bytes.NewReader(content(10)), 10)
		if !errors.Is(err, ErrQuorum) || !errors.Is(err, ErrStalled) || time.Since(started) != DefaultConfig().Idle {
			t.Error(err, time.Since(started))
		}
		c.idle(t)
	})
}

// slowSource gives a piece each time d has passed.
type slowSource struct {
	data []byte
	d    time.Duration
}

func (s *slowSource) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.d) // of the test's own time
	n := copy(p, s.data[:min(len(s.data), 64<<10)])
	s.data = s.data[n:]
	return n, nil
}

// TestSlowClient: nodes that wait for a slow client are not slow nodes.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(4, DefaultConfig())
		data := content(6 << 20)
		_, holes, err := c.writer.Write(t.Context(), c.grant("rs-2+2"), c, &slowSource{data, 40 * time.Second}, -1)
		if err != nil || len(holes) != 0 {
			t.Error(holes, err)
		}
		c.idle(t)
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for name, harm := range map[string]func(c *Config){
		"Straggler": func(c *Config) { c.Straggler = 0 }, "StragglerMax": func(c *Config) { c.StragglerMax = c.Straggler - 1 },
		"Stall": func(c *Config) { c.Stall = 0 }, "Idle": func(c *Config) { c.Idle = c.Stall - 1 },
		"Hedge": func(c *Config) { c.Hedge = -1 }, "HedgeMax": func(c *Config) { c.HedgeMax = time.Hour },
	} {
		c := DefaultConfig()
		harm(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name+" is") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRenewal: a long stream renews its ticket, and the blob carries the
// lowest expiry that a shard's header has.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newTimed(3, DefaultConfig())
			renewed := 0
			c.writer.renew = func(_ context.Context, old *storage.Ticket) (*storage.Ticket, error) {
				if left := time.UnixMilli(old.Expiry).Sub(time.Now()); left > 20*time.Minute || left < 15*time.Minute {
					t.Errorf("renewed with %v left", left)
				}
				renewed++
				n := *old
				n.Expiry = time.Now().Add(time.Hour).UnixMilli()
				return &n, nil
			}
			for i, n := range c.nodes {
				n.renews = !deaf || i != 1
			}
			g := c.grant("rep-3")
			g.Ticket.Expiry = time.Now().Add(time.Hour).UnixMilli()
			first := g.Ticket.Expiry
			b, _, err := c.writer.Write(t.Context(), g, c, &slowSource{content(8 << 20), time.Minute}, -1)
			if err != nil || renewed < 2 {
				t.Fatal(err, renewed)
			}
			low := int64(1 << 60)
			for _, n := range c.nodes {
				for _, e := range n.expiry {
					low = min(low, e)
				}
			}
			if b.Expiry != low || deaf != (low == first) {
				t.Errorf("expiry %d, lowest %d, first %d", b.Expiry, low, first)
			}
			c.idle(t)
		})
	}
}
