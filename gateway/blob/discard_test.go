package blob

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/storage"
)

// Delete implements storage.Shards.
func (n *fakeNode) Delete(ctx context.Context, ids []storage.ShardID) error {
	if err := hook(n.onDelete, ctx, len(ids)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		delete(n.shards, id)
	}
	return nil
}

// TestFailedWriteLeavesNothing: a write that fails after some nodes have
// sealed their shards takes those away again, since nothing will ever refer to
// them.
func TestFailedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	sealsThenFails := func(n *fakeNode) {
		n.onSeal = func(ctx context.Context, _ int) error { return ctx.Err() }
		n.afterSeal = func() error { return boom }
	}
	for _, tc := range []struct {
		name, scheme string
		size         int
		harm         func(c *cluster)
	}{
		{"two seals fail of rs-2+2", "rs-2+2", 100, func(c *cluster) { c.nodes[0].onSeal, c.nodes[3].onSeal = failing, failing }},
		{"two seals fail of a long rs-2+2", "rs-2+2", 9 << 20, func(c *cluster) { c.nodes[0].onSeal, c.nodes[3].onSeal = failing, failing }},
		{"one of rep-2", "rep-2", 100, func(c *cluster) { c.off[2] = true }},
		{"answers of seals are lost", "rep-2", 100, func(c *cluster) { sealsThenFails(c.nodes[0]); sealsThenFails(c.nodes[1]) }},
		{"the answer of the only seal is lost", "rep-1", 100, func(c *cluster) { sealsThenFails(c.nodes[0]) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(mustScheme(tc.scheme).Width())
			tc.harm(c)
			_, _, err := c.writer.Write(t.Context(), c.grant(tc.scheme), c, bytes.NewReader(content(tc.size)), int64(tc.size))
			if err == nil {
				t.Fatal("the write did not fail")
			}
			c.idle(t)
			if n := c.stored(); n != 0 {
				t.Errorf("%d shards are left", n)
			}
		})
	}
}

// TestCanceledWriteLeavesNothing: the client goes away while some shards are
// sealed and others are being sealed.
func TestCanceledWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(3, DefaultConfig())
		c.nodes[1].onSeal = func(context.Context, int) error { // is not to be stopped any more
			time.Sleep(10 * time.Second)
			return nil
		}
		c.nodes[2].onSeal = hang
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		started := time.Now()
		_, _, err := c.writer.Write(ctx, c.grant("rep-3"), c, bytes.NewReader(content(100)), 100)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if took := time.Since(started); took > 3*time.Second+abortWait {
			t.Errorf("took %v", took)
		}
		c.idle(t)
		if n := c.stored(); n != 0 {
			t.Errorf("%d shards are left", n)
		}
	})
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTimed(4, DefaultConfig())
		kept := c.write(t, "rs-2+2", content(1000))
		late := func(ctx context.Context, _ int) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-t.Context().Done():
				return t.Context().Err()
			}
		}
		c.nodes[3].onSeal = late // sealed, but after the write has given it up
		b, holes, err := c.writer.Write(t.Context(), c.grant("rs-2+2"), c, bytes.NewReader(content(1000)), 1000)
		if err != nil || len(holes) != 1 {
			t.Fatal(holes, err)
		}
		c.writer.Wait()
		if n := c.stored(); n != 8 {
			t.Fatalf("%d shards are stored", n)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel() // a client that is gone changes nothing
		if err := c.writer.Discard(gone, c, &b.Blob, holes); err != nil {
			t.Fatal(err)
		}
		if n := c.stored(); n != 4 {
			t.Errorf("%d shards are stored", n)
		}
		if got, err := c.read(kept, 0, -1, Options{}); err != nil || !bytes.Equal(got, content(1000)) {
			t.Errorf("the other blob: %d bytes, %v", len(got), err)
		}

		c.nodes[3].onSeal = nil
		b2 := c.write(t, "rs-2+2", content(1000))
		c.nodes[0].onDelete = hang
		c.off[2] = true
		started := time.Now()
		if err := c.writer.Discard(t.Context(), c, &b2, nil); err == nil {
			t.Error("shards that were not deleted are not told")
		}
		if took := time.Since(started); took > discardWait {
			t.Errorf("took %v", took)
		}
		c.writer.Wait()
		if n := c.stored(); n != 4+2 {
			t.Errorf("%d shards are stored", n)
		}
	})
}
