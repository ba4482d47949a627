package tracker

import (
	"context"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

func TestGarbageWaitsForReaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rs-4+2", 6)
	read := int64(0)
	r.cfg.Garbage.OldestRead = func() int64 { return read }
	r.restart()
	r.put("a", 200<<10)
	r.put("b", 10)
	if n := len(r.stored()); n != 12 {
		t.Fatal(n)
	}
	r.del("a")
	r.raise(time.Second)
	r.step("garbage")
	if n := len(r.stored()); n != 12 {
		t.Fatal("garbage went within the readers' grace:", n)
	}
	// A read that began before the delete holds it.
	read = begin.UnixMilli() - 1
	r.raise(11 * time.Minute)
	r.step("garbage")
	if n := len(r.stored()); n != 12 {
		t.Fatal("garbage went under a reader:", n)
	}
	// One that began after it does not.
	read = r.clk.Now().UnixMilli()
	r.step("garbage")
	if n := len(r.stored()); n != 6 {
		t.Fatal(n)
	}
	r.whole(true)
	if len(r.rows()) != 1 {
		t.Error("the dying blob's row is left")
	}
	// A reader that never ends holds it for a day only.
	read = r.clk.Now().UnixMilli() - 1
	r.del("b")
	r.raise(23 * time.Hour)
	r.step("garbage")
	if n := len(r.stored()); n != 6 {
		t.Fatal("garbage went under a reader:", n)
	}
	r.raise(2 * time.Hour)
	r.step("garbage")
	if n := len(r.stored()); n != 0 {
		t.Fatal(n)
	}
}

func TestGarbageOfADownNodeIsReconciles(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-3", 3)
	r.fill(20)
	r.step("reconcile")
	r.setState(2, tracker.NodeDown)
	r.node(2).SetOffline(true)
	for key := range r.data {
		r.del(key)
	}
	r.raise(11 * time.Minute)
	r.step("garbage")
	if rows := r.rows(); len(rows) != 0 {
		t.Fatal(len(rows), "rows wait for a node that is down")
	}
	r.raise(ticketLife)
	r.step("reconcile")
	r.node(2).SetOffline(false)
	if n := len(r.stored()); n != 20 {
		t.Fatal(n)
	}
	r.setState(2, tracker.NodeActive)
	r.step("reconcile")
	r.whole(true)
	if f := r.w.Findings(); f.Disowned != 20 {
		t.Errorf("%+v", f)
	}
	r.node(2).EndQuarantine(r.clk.Now().Add(time.Hour), time.Minute)
	if n := len(r.stored()); n != 0 {
		t.Error(n)
	}
}

// TestGarbageOfASilentNodeWaits: a node that is live by the map and does not
// answer keeps the rows, until patience ends.
func TestGarbageOfASilentNodeWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 2)
	r.put("a", 10)
	r.node(1).SetOffline(true)
	r.del("a")
	r.raise(11 * time.Minute)
	if _, err := r.w.Step(t.Context(), "garbage"); err == nil {
		t.Fatal("no error")
	}
	if len(r.rows()) != 1 {
		t.Fatal("the row is gone")
	}
	r.node(1).SetOffline(false)
	r.step("garbage")
	if len(r.rows()) != 0 || len(r.stored()) != 0 {
		t.Fatal(r.stored())
	}
}

// TestGarbageThatWasGivenUpIsFoundSoon: what is left on a node that is live
// and fails for longer than patience lasts is found once it answers, and not
// by the whole pass.
func TestGarbageThatWasGivenUpIsFoundSoon(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 2)
	r.fill(20)
	r.step("reconcile")
	r.raise(2 * ticketLife)
	r.step("reconcile")
	for key := range r.data {
		r.del(key)
	}
	r.fleet.wrap = func(s storage.Shards) storage.Shards { return silent{s} }
	// Patience begins with the first failure, however old the garbage is.
	r.raise(10*time.Minute + r.cfg.Garbage.Patience)
	if _, err := r.w.Step(t.Context(), "garbage"); err == nil {
		t.Fatal("no error")
	}
	r.raise(r.cfg.Garbage.Patience)
	r.step("garbage")
	if rows, left := len(r.rows()), len(r.stored()); rows != 0 || left != 20 {
		t.Fatal(rows, left)
	}
	passes := r.w.Findings().Passes
	r.step("reconcile") // it does not answer still
	r.fleet.wrap = nil
	r.raise(r.cfg.Reconcile.NewEvery)
	r.step("reconcile")
	if f := r.w.Findings(); f.Disowned != 20 || f.Passes != passes {
		t.Errorf("%+v", f)
	}
}

// silent is a node, the second of two, that does not answer the workers.
type silent struct{ storage.Shards }

func (s silent) Delete(ctx context.Context, ids []storage.ShardID) error {
	if s.Node() == 2 {
		return context.DeadlineExceeded
	}
	return s.Shards.Delete(ctx, ids)
}

func (s silent) Digest(ctx context.Context, r storage.IDRange) (storage.Digest, error) {
	if s.Node() == 2 {
		return storage.Digest{}, context.DeadlineExceeded
	}
	return s.Shards.Digest(ctx, r)
}

// TestUploadIsSwept frees the parts of an upload that was aborted.
func TestUploadIsSwept(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-2", 2)
	up, err := r.cat.CreateUpload(t.Context(), &tracker.CreateUpload{Bucket: r.bucket, Key: "big"})
	r.must(err)
	for n := 1; n <= 3; n++ {
		g, data := r.grant(5 << 10)
		r.send(g, 0, data)
		r.send(g, 1, data)
		r.must(r.cat.PutPart(t.Context(), &tracker.PutPart{UploadRef: up.UploadRef, Part: tracker.Part{Number: n, Size: int64(len(data)), ETag: "0123456789abcdef0123456789abcdef"},
			Blobs: []tracker.NewBlob{{Blob: tracker.Blob{ID: g.Blob, Scheme: g.Scheme, Length: int64(len(data)), Shards: g.Shards}, Expiry: g.Ticket.Expiry}}}))
		r.blobs[g.Blob] = data
	}
	// A committed part is a reference however old its ticket is.
	r.raise(2 * ticketLife)
	r.step("reconcile")
	r.whole(true)
	r.must(r.cat.AbortUpload(t.Context(), &tracker.AbortUpload{UploadRef: up.UploadRef}))
	for range 3 {
		r.raise(11 * time.Minute)
		r.step("garbage")
	}
	if len(r.rows()) != 0 || len(r.stored()) != 0 {
		t.Error(r.rows(), r.stored())
	}
}

// TestTrim drops what has aged, and an idle catalog is not written to.
func TestTrim(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rep-1", 1)
	r.fill(5)
	r.del("key-000")
	changes := func() (n int) {
		r.must(r.cat.View(t.Context(), func(v kv.Reader) error {
			rows, err := catalog.Changes(v, 0, 0, 100)
			n = len(rows)
			return err
		}))
		return n
	}
	r.raise(10 * time.Minute)
	r.step("trim")
	if n := changes(); n < 6 {
		t.Errorf("%d changes are left of the last hour", n)
	}
	r.raise(2 * time.Hour)
	r.step("trim")
	if n := changes(); n != 0 {
		t.Errorf("%d changes are left after two hours", n)
	}
	before := r.log.Index()
	r.raise(10 * time.Minute)
	raised := r.log.Index() - before
	r.step("trim")
	if n := r.log.Index() - before - raised; n != 0 {
		t.Errorf("%d entries to trim nothing", n)
	}
}
