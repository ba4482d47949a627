// Package trackertest is the conformance suite of tracker.Catalog: what every
// implementation answers, in this process and across a network.
package trackertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// Run runs the suite. open returns an empty catalog, whose end is the test's.
func Run(t *testing.T, open func(t *testing.T) tracker.Catalog) {
	for name, f := range map[string]func(*world){
		"Buckets": buckets, "BucketPages": bucketPages, "Versions": versions, "OneWinner": oneWinner, "AtMostOnce": atMostOnce,
		"BadNames": badNames, "Keys": keys, "ListObjects": listObjects, "Tags": tags, "DeleteObjects": deleteObjects,
		"Uploads": uploads, "Extents": extents, "CopyByReference": copyByReference,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(&world{T: t, c: open(t), ctx: t.Context()})
		})
	}
}

// world is a catalog under test.
type world struct {
	*testing.T
	c   tracker.Catalog
	ctx context.Context
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wants checks for a sentinel.
func (w *world) wants(err, sentinel error) {
	w.Helper()
	if !errors.Is(err, sentinel) {
		w.Errorf("got %v, want %v", err, sentinel)
	}
}

func (w *world) equal(want, got any) {
	w.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.Error(d)
	}
}

func (w *world) bucket(name string) tracker.BucketID {
	w.Helper()
	b, err := w.c.CreateBucket(w.ctx, &tracker.CreateBucket{Name: name, Owner: "root"})
	w.must(err)
	return b.ID
}

// versioned is a bucket that keeps versions.
func (w *world) versioned(name string) tracker.BucketID {
	w.Helper()
	id := w.bucket(name)
	w.must(w.c.SetVersioning(w.ctx, &tracker.SetVersioning{Bucket: id, State: tracker.VersioningEnabled}))
	return id
}

func small(b tracker.BucketID, key, body string) *tracker.PutObject {
	return &tracker.PutObject{Bucket: b, Key: key, Meta: tracker.Meta{ETag: "e-" + body, Size: int64(len(body))}, Inline: []byte(body)}
}

func (w *world) put(r *tracker.PutObject) *tracker.PutResult {
	w.Helper()
	out, err := w.c.PutObject(w.ctx, r)
	w.must(err)
	return out
}

func (w *world) get(b tracker.BucketID, key, version string) *tracker.Object {
	w.Helper()
	o, err := w.c.GetObject(w.ctx, &tracker.GetObject{Bucket: b, Key: key, Version: version, Data: true})
	w.must(err)
	return o
}

var blobIDs atomic.Uint64

// newBlob is a blob that some node holds.
func newBlob(length int64) tracker.NewBlob {
	return tracker.NewBlob{Expiry: 1 << 42, Blob: tracker.Blob{ID: storage.MakeBlobID(0, 1, 1, blobIDs.Add(1)), Scheme: erasure.Replicated(1), Length: length,
		Shards: []storage.Placement{{Node: 1, Gen: 1}}}}
}

// upload begins an upload and puts parts of the sizes into it.
func (w *world) upload(b tracker.BucketID, key string, sizes ...int64) *tracker.CompleteUpload {
	w.Helper()
	u, err := w.c.CreateUpload(w.ctx, &tracker.CreateUpload{Bucket: b, Key: key, Owner: "root", Meta: tracker.Meta{Headers: []tracker.Field{{Name: "content-type", Value: "a/b"}}}})
	w.must(err)
	q := &tracker.CompleteUpload{UploadRef: u.UploadRef, Size: -1}
	for i, size := range sizes {
		etag := fmt.Sprintf("%032x", i+1)
		w.must(w.c.PutPart(w.ctx, &tracker.PutPart{UploadRef: u.UploadRef, Part: tracker.Part{Number: i + 1, Size: size, ETag: etag}, Blobs: []tracker.NewBlob{newBlob(size)}}))
		q.Parts = append(q.Parts, tracker.CompletePart{Number: i + 1, ETag: etag})
	}
	return q
}
