package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/catalog/catalogtest"
	"holdfast/tracker/trackertest"
)

func newCatalog(t *testing.T) (*Catalog, *catalogtest.Log) {
	t.Helper()
	l := catalogtest.New(t)
	t.Cleanup(func() {
		for _, line := range catalog.Check(l.Store) {
			t.Error(line)
		}
	})
	return NewCatalog(l, clock.System{}), l
}

func TestConformance(t *testing.T) {
	trackertest.Run(t, func(t *testing.T) tracker.Catalog {
		c, _ := newCatalog(t)
		return c
	})
}

func mustBucket(t *testing.T, c *Catalog, name string) tracker.BucketID {
	t.Helper()
	b, err := c.CreateBucket(t.Context(), &tracker.CreateBucket{Name: name, Owner: "root"})
	if err != nil {
		t.Fatal(err)
	}
	return b.ID
}

func small(b tracker.BucketID, key, body string) *tracker.PutObject {
	return &tracker.PutObject{Bucket: b, Key: key, Meta: tracker.Meta{ETag: "e-" + body, Size: int64(len(body))}, Inline: []byte(body)}
}

var blobIDs atomic.Uint64

func newBlob(length int64) tracker.NewBlob {
	return tracker.NewBlob{Expiry: 1 << 42, Blob: tracker.Blob{ID: storage.MakeBlobID(0, 1, 1, blobIDs.Add(1)), Scheme: erasure.Replicated(1), Length: length,
		Shards: []storage.Placement{{Node: 1, Gen: 1}}}}
}

func oneUpload(t *testing.T, c *Catalog, b tracker.BucketID, key string, n int) *tracker.CompleteUpload {
	t.Helper()
	u, err := c.CreateUpload(t.Context(), &tracker.CreateUpload{Bucket: b, Key: key, Owner: "root"})
	if err != nil {
		t.Fatal(err)
	}
	etag := fmt.Sprintf("%032x", n)
	p := &tracker.PutPart{UploadRef: u.UploadRef, Part: tracker.Part{Number: 1, Size: 10, ETag: etag}, Blobs: []tracker.NewBlob{newBlob(10)}}
	if err := c.PutPart(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return &tracker.CompleteUpload{UploadRef: u.UploadRef, Size: -1, Parts: []tracker.CompletePart{{Number: 1, ETag: etag}}}
}

// Answers are lost, leaders change and logs refuse: every request that
// answers took effect exactly once.
func TestRetries(t *testing.T) {
	t.Parallel()
	c, l := newCatalog(t)
	ctx := t.Context()
	b := mustBucket(t, c, "bucket")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1))
	chance := func(n int) bool { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) == 0 }
	l.Before = func([]byte) error {
		if chance(5) {
			return tracker.ErrNotLeader
		}
		return nil
	}
	l.After = func([]byte, any) error {
		if chance(4) {
			return tracker.ErrUncertain
		}
		return nil
	}
	if err := c.SetVersioning(ctx, &tracker.SetVersioning{Bucket: b, State: tracker.VersioningEnabled}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			key := fmt.Sprint("key", w)
			for i := range 12 {
				r, err := c.PutObject(ctx, small(b, key, fmt.Sprint(i)))
				if err != nil {
					t.Error(err)
					return
				}
				if o, err := c.GetObject(ctx, &tracker.GetObject{Bucket: b, Key: key}); err != nil || o.ID != r.VersionID {
					t.Error(o, err)
				}
			}
			d, err := c.DeleteObject(ctx, &tracker.DeleteObject{Bucket: b, Key: key})
			if err != nil || !d.Marker {
				t.Error(d, err)
			}
			q := oneUpload(t, c, b, key, 1)
			if _, err := c.CompleteUpload(ctx, q); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l.Before, l.After = nil, nil
	u, err := c.Usage(ctx, b)
	if err != nil || u.Versions != 8*14 || u.Objects != 8 || u.Uploads != 0 {
		t.Fatal(u, err)
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	man := clock.NewManual(time.UnixMilli(1_800_000_000_000))
	l := catalogtest.New(t)
	c := NewCatalog(l, man)
	b := mustBucket(t, c, "bucket")
	for name, x := range map[string]struct{ before, after, want error }{
		"no leader":   {tracker.ErrNotLeader, nil, tracker.ErrUnavailable},
		"unavailable": {tracker.ErrUnavailable, nil, tracker.ErrUnavailable},
		"lost":        {nil, tracker.ErrUncertain, tracker.ErrUncertain},
		"full":        {tracker.ErrCatalogFull, nil, tracker.ErrCatalogFull},
		"too large":   {tracker.ErrTooLarge, nil, tracker.ErrTooLarge},
	} {
		var tries atomic.Int64
		l.Before = func([]byte) error { tries.Add(1); return x.before }
		l.After = func([]byte, any) error { return x.after }
		done := make(chan error, 1)
		go func() {
			_, err := c.PutObject(t.Context(), small(b, "k", "v"))
			done <- err
		}()
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if !errors.Is(err, x.want) {
					t.Errorf("%s: %v, want %v", name, err, x.want)
				}
				waiting = false
			default:
				man.Advance(100 * time.Millisecond)
			}
		}
	}
	l.Before, l.After = nil, nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.PutObject(ctx, small(b, "k", "v")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A refusal is final only where no earlier attempt may be on its way.
func TestRefusalAfterUncertain(t *testing.T) {
	t.Parallel()
	c, l := newCatalog(t)
	b := mustBucket(t, c, "bucket")
	if _, err := c.PutObject(t.Context(), small(b, "k", "v")); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []error{nil, tracker.ErrNotLeader, tracker.ErrUncertain} {
		for _, want := range []error{tracker.ErrPrecondition, tracker.ErrCatalogFull} {
			tries := 0
			l.Before = func([]byte) error {
				if tries++; tries == 1 && lost != nil {
					return lost
				}
				if want == tracker.ErrCatalogFull {
					return want
				}
				return nil
			}
			r := small(b, "k", "w")
			r.IfNoneMatch = []string{"*"}
			_, err := c.PutObject(t.Context(), r)
			kind := fault.KindOf(want)
			if lost == tracker.ErrUncertain {
				kind = fault.Unavailable
			}
			if !errors.Is(err, want) || errors.Is(err, tracker.ErrUncertain) != (lost == tracker.ErrUncertain) || fault.KindOf(err) != kind {
				t.Errorf("after %v: %v, want %v", lost, err, want)
			}
		}
	}
}

// A tracker whose clock is behind catalog time learns the time and is served.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	l := catalogtest.New(t)
	ahead, behind := NewCatalog(l, clock.NewManual(now)), NewCatalog(l, clock.NewManual(now.Add(-time.Hour)))
	b := mustBucket(t, ahead, "bucket")
	if err := ahead.RaiseTime(t.Context(), now.UnixMilli()); err != nil {
		t.Fatal(err)
	}
	for i, patience := range []time.Duration{time.Minute, time.Hour} { // the caller's clock is this process's
		put := small(b, "other", fmt.Sprint(i))
		put.NotAfter = now.Add(-time.Hour + patience).UnixMilli()
		if _, err := behind.PutObject(t.Context(), put); err != nil {
			t.Fatal(err)
		}
	}
	late := small(b, "late", "v")
	late.NotAfter = now.Add(-time.Hour - time.Minute).UnixMilli()
	if _, err := behind.PutObject(t.Context(), late); !errors.Is(err, tracker.ErrExpired) {
		t.Fatal(err)
	}
	r, err := behind.PutObject(t.Context(), small(b, "k", "v"))
	if err != nil || r.Modified < now.UnixMilli() || behind.Time() < now.UnixMilli() {
		t.Fatal(r, err)
	}
}

func TestDeleteObjectsIsCut(t *testing.T) {
	t.Parallel()
	c, l := newCatalog(t)
	ctx := t.Context()
	b := mustBucket(t, c, "bucket")
	r := &tracker.DeleteObjects{Bucket: b}
	for i := range 1000 {
		key := fmt.Sprintf("k%04d", i)
		if i%2 == 0 {
			if _, err := c.PutObject(ctx, small(b, key, "v")); err != nil {
				t.Fatal(err)
			}
		}
		e := tracker.DeleteEntry{Key: key}
		if i%5 == 0 {
			e.IfMatch = []string{"*"}
		}
		r.Entries = append(r.Entries, e)
	}
	var largest, cmds atomic.Int64
	l.Before = func(cmd []byte) error {
		cmds.Add(1)
		largest.Store(max(largest.Load(), int64(len(cmd))))
		return nil
	}
	res, err := c.DeleteObjects(ctx, r)
	if err != nil || len(res) != 1000 || cmds.Load() != 4 {
		t.Fatal(len(res), cmds.Load(), err)
	}
	for i := range res {
		var want error
		if i%2 == 1 && i%5 == 0 {
			want = tracker.ErrNoSuchKey
		}
		if !errors.Is(res[i].Err, want) || want == nil && res[i].Err != nil {
			t.Fatalf("%d: %v, want %v", i, res[i].Err, want)
		}
	}
	if u, err := c.Usage(ctx, b); err != nil || u != (tracker.Usage{}) {
		t.Fatal(u, err)
	}
	long := &tracker.DeleteObjects{Bucket: b}
	for i := range 1000 {
		long.Entries = append(long.Entries, tracker.DeleteEntry{Key: fmt.Sprintf("%04d", i) + string(bytes.Repeat([]byte{'x'}, 1020))})
	}
	largest.Store(0)
	if _, err = c.DeleteObjects(ctx, long); err != nil || largest.Load() > catalog.MaxDeleteBytes+2048 {
		t.Fatal(largest.Load(), err)
	}
	long.Entries = append(long.Entries, tracker.DeleteEntry{Key: "one too many"})
	if _, err = c.DeleteObjects(ctx, long); !errors.Is(err, tracker.ErrInvalid) {
		t.Fatal(err)
	}
}

// Parts change while an upload is completed: what is listed is what is made.
func TestCompleteWhilePartsChange(t *testing.T) {
	t.Parallel()
	c, l := newCatalog(t)
	ctx := t.Context()
	b := mustBucket(t, c, "bucket")
	q := oneUpload(t, c, b, "k", 1)
	other := &tracker.PutPart{UploadRef: q.UploadRef, Part: tracker.Part{Number: 2, Size: 5, ETag: "x"}}
	var once atomic.Bool
	l.Before = func(cmd []byte) error {
		if cmd[0] == 9 && once.CompareAndSwap(false, true) { // before the first Complete
			other.Blobs = []tracker.NewBlob{newBlob(5)}
			return c.PutPart(ctx, other)
		}
		return nil
	}
	r, err := c.CompleteUpload(ctx, q)
	if err != nil || r.Meta.Size != 10 || !once.Load() {
		t.Fatal(r, err)
	}
	again, err := c.CompleteUpload(ctx, q)
	if err != nil || again.Seq != r.Seq || again.ETag != r.ETag {
		t.Fatal(again, err)
	}
	if err := c.AbortUpload(ctx, &tracker.AbortUpload{UploadRef: q.UploadRef}); !errors.Is(err, tracker.ErrNoSuchUpload) {
		t.Fatal(err)
	}
	if _, err := c.GetObject(ctx, &tracker.GetObject{Bucket: b, Key: "k", Data: true}); err != nil {
		t.Fatal(err)
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	c, _ := newCatalog(t)
	ctx := t.Context()
	if err := c.SetIdentity(ctx, "c", "i"); err != nil {
		t.Fatal(err)
	}
	g, err := c.AddGroup(ctx, tracker.Group{Name: "default", Scheme: erasure.Replicated(2)})
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.AddNode(ctx, tracker.Node{Group: g.ID, Addr: "a"})
	if err != nil || n.State != tracker.NodeActive || n.Epoch != 1 || n.ID == 0 {
		t.Fatal(n, err)
	}
	if err := c.SetNode(ctx, n.ID, 1, NodeChange{State: tracker.NodeDown}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetNode(ctx, n.ID, 1, NodeChange{State: tracker.NodeDown}); !errors.Is(err, tracker.ErrConflict) {
		t.Fatal(err)
	}
	if err := c.SetNode(ctx, 77, 1, NodeChange{}); !errors.Is(err, tracker.ErrNoSuchNode) {
		t.Fatal(err)
	}
	if err := errors.Join(c.RaiseTime(ctx, 1000), c.RaiseFence(ctx, 2000)); err != nil {
		t.Fatal(err)
	}
	cl, err := c.Cluster(ctx)
	if err != nil || cl.Cluster != "c" || cl.Incarnation != "i" || cl.Now != 1000 || cl.Fence != 1000 || len(cl.Groups) != 1 || cl.Nodes[0].Epoch != 2 || cl.Nodes[0].State != tracker.NodeDown {
		t.Fatalf("%+v %v", cl, err)
	}
}
