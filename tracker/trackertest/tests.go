package trackertest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/tracker"
)

func buckets(w *world) {
	id := w.bucket("one")
	if b, err := w.c.CreateBucket(w.ctx, &tracker.CreateBucket{Name: "one", Owner: "other"}); !errors.Is(err, tracker.ErrBucketExists) || b == nil || b.ID != id || b.Owner != "root" {
		w.Fatal("the bucket that is there does not come with the refusal:", b, err)
	}
	w.must(w.c.SetVersioning(w.ctx, &tracker.SetVersioning{Bucket: id, State: tracker.VersioningEnabled}))
	b, err := w.c.Bucket(w.ctx, "one")
	if err != nil || b.ID != id || b.Versioning != tracker.VersioningEnabled || b.Created == 0 || b.Name != "one" {
		w.Fatalf("%+v %v", b, err)
	}
	w.put(small(id, "k", "v"))
	w.wants(w.c.DeleteBucket(w.ctx, &tracker.DeleteBucket{Name: "one"}), tracker.ErrBucketNotEmpty)
	u, err := w.c.Usage(w.ctx, id)
	w.must(err)
	w.equal(tracker.Usage{Objects: 1, Versions: 1, Bytes: 1}, u)
	_, err = w.c.DeleteObject(w.ctx, &tracker.DeleteObject{Bucket: id, Key: "k", Version: w.get(id, "k", "").ID})
	w.must(err)
	w.must(w.c.DeleteBucket(w.ctx, &tracker.DeleteBucket{Name: "one"}))
	_, err = w.c.Bucket(w.ctx, "one")
	w.wants(err, tracker.ErrNoSuchBucket)
	_, err = w.c.Usage(w.ctx, id)
	w.wants(err, tracker.ErrNoSuchBucket)
	if again := w.bucket("one"); again == id {
		w.Error("a bucket of the same name has the id of the old one")
	}
}

func bucketPages(w *world) {
	for _, name := range []string{"b", "a1", "a2", "a3", "c"} {
		w.bucket(name)
	}
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		p, err := w.c.ListBuckets(w.ctx, &tracker.ListBuckets{Prefix: "a", After: after, Max: 2})
		w.must(err)
		for _, b := range p.Buckets {
			got = append(got, b.Name)
		}
		if !p.Truncated {
			break
		}
		if len(p.Buckets) != 2 {
			w.Fatal("a page that is cut has", len(p.Buckets))
		}
	}
	w.equal([]string{"a1", "a2", "a3"}, got)
}

func versions(w *world) {
	b := w.versioned("bucket")
	one, two := w.put(small(b, "k", "first")), w.put(small(b, "k", "second"))
	if one.VersionID == "" || one.VersionID == two.VersionID || one.Seq >= two.Seq {
		w.Errorf("%+v, then %+v", one, two)
	}
	w.equal("second", string(w.get(b, "k", "").Inline))
	w.equal("first", string(w.get(b, "k", one.VersionID).Inline))
	d, err := w.c.DeleteObject(w.ctx, &tracker.DeleteObject{Bucket: b, Key: "k"})
	if err != nil || !d.Marker || d.VersionID == "" {
		w.Fatal(d, err)
	}
	// The marker comes with the refusal.
	o, err := w.c.GetObject(w.ctx, &tracker.GetObject{Bucket: b, Key: "k"})
	if !errors.Is(err, tracker.ErrDeleteMarker) || o == nil || !o.Marker || o.ID != d.VersionID {
		w.Fatal(o, err)
	}
	_, err = w.c.GetObject(w.ctx, &tracker.GetObject{Bucket: b, Key: "k", Version: "nonsense"})
	w.wants(err, tracker.ErrNoSuchVersion)
	var got []string
	for q := (&tracker.ListVersions{Bucket: b, Max: 2}); ; {
		p, err := w.c.ListVersions(w.ctx, q)
		w.must(err)
		for _, e := range p.Entries {
			got = append(got, e.ID)
		}
		if !p.Truncated {
			break
		}
		q.KeyAfter, q.VersionAfter, q.AfterPrefix = p.NextKey, p.NextVersion, p.NextPrefix
	}
	w.equal([]string{d.VersionID, two.VersionID, one.VersionID}, got)
	r, err := w.c.DeleteObject(w.ctx, &tracker.DeleteObject{Bucket: b, Key: "k", Version: d.VersionID})
	if err != nil || !r.Marker || r.VersionID != d.VersionID {
		w.Fatal(r, err)
	}
	w.equal("second", string(w.get(b, "k", "").Inline))
}

// Of many writers at once exactly one wins, for every kind of write.
func oneWinner(w *world) {
	for _, state := range []tracker.Versioning{tracker.Unversioned, tracker.VersioningEnabled, tracker.VersioningSuspended} {
		b := w.bucket(fmt.Sprintf("bucket-%d", state))
		if state != tracker.Unversioned {
			w.must(w.c.SetVersioning(w.ctx, &tracker.SetVersioning{Bucket: b, State: state}))
		}
		race := func(what string, lost error, write func(i int) error) {
			w.Helper()
			var wg sync.WaitGroup
			var wins atomic.Int64
			for i := range 50 {
				wg.Go(func() {
					switch err := write(i); {
					case err == nil:
						wins.Add(1)
					case !errors.Is(err, lost):
						w.Errorf("%s: %v", what, err)
					}
				})
			}
			if wg.Wait(); wins.Load() != 1 {
				w.Errorf("%s: %d winners", what, wins.Load())
			}
		}
		race("If-None-Match", tracker.ErrPrecondition, func(i int) error {
			r := small(b, "k", fmt.Sprint(i))
			r.IfNoneMatch = []string{"*"}
			_, err := w.c.PutObject(w.ctx, r)
			return err
		})
		o := w.get(b, "k", "")
		w.equal("e-"+string(o.Inline), o.ETag)
		race("If-Match", tracker.ErrPrecondition, func(i int) error {
			r := small(b, "k", fmt.Sprint("second", i))
			r.IfMatch = []string{o.ETag}
			_, err := w.c.PutObject(w.ctx, r)
			return err
		})
		o = w.get(b, "k", "")
		race("DELETE If-Match", tracker.ErrNoSuchKey, func(int) error {
			_, err := w.c.DeleteObject(w.ctx, &tracker.DeleteObject{Bucket: b, Key: "k", Conditions: tracker.Conditions{IfMatch: []string{o.ETag}}})
			return err
		})
		uploads := make([]*tracker.CompleteUpload, 50)
		for i := range uploads {
			uploads[i] = w.upload(b, "k", 10)
		}
		race("Complete", tracker.ErrPrecondition, func(i int) error {
			q := *uploads[i]
			q.IfNoneMatch = []string{"*"}
			_, err := w.c.CompleteUpload(w.ctx, &q)
			return err
		})
	}
}

// A request takes effect at most once under its id, and not after its time.
func atMostOnce(w *world) {
	b := w.versioned("bucket")
	r := small(b, "k", "v")
	r.RequestID, r.NotAfter = tracker.RequestID{1, 2, 3}, time.Now().Add(30*time.Second).UnixMilli()
	stamp := r.Mutation
	first := w.put(r)
	w.equal(stamp, r.Mutation) // the caller's request is not written to
	again := w.put(r)
	if first.Seq != again.Seq || first.VersionID != again.VersionID {
		w.Errorf("%+v, asked again %+v", first, again)
	}
	u, err := w.c.Usage(w.ctx, b)
	w.must(err)
	w.equal(int64(1), u.Versions)
	// The id is looked up before any condition.
	c := small(b, "conditional", "v")
	c.RequestID, c.IfNoneMatch = tracker.RequestID{4}, []string{"*"}
	w.put(c)
	w.put(c)
	c.RequestID = tracker.RequestID{5}
	_, err = w.c.PutObject(w.ctx, c)
	w.wants(err, tracker.ErrPrecondition)
}

func badNames(w *world) {
	b := w.bucket("bucket")
	for _, key := range []string{"", strings.Repeat("k", 1025)} {
		_, err := w.c.PutObject(w.ctx, small(b, key, "v"))
		w.wants(err, tracker.ErrInvalid)
	}
	_, err := w.c.DeleteObject(w.ctx, &tracker.DeleteObject{Bucket: b, Key: "k", Version: "nonsense"})
	w.wants(err, tracker.ErrNoSuchVersion)
	w.wants(w.c.PutPart(w.ctx, &tracker.PutPart{UploadRef: tracker.UploadRef{Bucket: b, Key: "k", Upload: "nonsense"}}), tracker.ErrNoSuchUpload)
	_, err = w.c.GetUpload(w.ctx, tracker.UploadRef{Bucket: b, Key: "k", Upload: "nonsense"})
	w.wants(err, tracker.ErrNoSuchUpload)
	_, err = w.c.PutObject(w.ctx, small(b+1, "k", "v"))
	w.wants(err, tracker.ErrNoSuchBucket)
	r := small(b, "k", "v")
	r.Size = 2
	_, err = w.c.PutObject(w.ctx, r)
	w.wants(err, tracker.ErrInvalid)
	_, err = w.c.GetObject(w.ctx, &tracker.GetObject{Bucket: b, Key: "k"})
	w.wants(err, tracker.ErrNoSuchKey)
}

// A key is any bytes.
func keys(w *world) {
	b := w.bucket("bucket")
	for _, key := range []string{"\x01", "/", "a/b", "\xff\xfe", "ä", strings.Repeat("\xf0", 1024), "with\nline"} {
		w.put(small(b, key, "of "+key[:1]))
		w.equal("of "+key[:1], string(w.get(b, key, "").Inline))
	}
	p, err := w.c.ListObjects(w.ctx, &tracker.ListObjects{Bucket: b, Max: 1000})
	w.must(err)
	for i := 1; i < len(p.Entries); i++ {
		if p.Entries[i-1].Key >= p.Entries[i].Key {
			w.Errorf("%q before %q", p.Entries[i-1].Key, p.Entries[i].Key)
		}
	}
	w.equal(7, len(p.Entries))
}

func listObjects(w *world) {
	b := w.bucket("bucket")
	for _, key := range []string{"a", "dir/1", "dir/2", "dir/sub/3", "dirt", "z"} {
		w.put(small(b, key, key))
	}
	var got []string
	q := &tracker.ListObjects{Bucket: b, Delimiter: "/", Max: 1}
	for range 10 {
		p, err := w.c.ListObjects(w.ctx, q)
		w.must(err)
		for _, e := range p.Entries {
			if e.Prefix {
				got = append(got, "prefix "+e.Key)
			} else if got = append(got, e.Key); e.ETag != "e-"+e.Key || e.Size != int64(len(e.Key)) || e.Modified == 0 {
				w.Errorf("%+v", e)
			}
		}
		if !p.Truncated {
			break
		}
		q.After, q.AfterPrefix = p.Next, p.NextPrefix
	}
	w.equal([]string{"a", "prefix dir/", "dirt", "z"}, got)
	p, err := w.c.ListObjects(w.ctx, &tracker.ListObjects{Bucket: b, Prefix: "dir/", Max: 1000})
	if err != nil || len(p.Entries) != 3 || p.Truncated {
		w.Errorf("%+v, %v", p, err)
	}
}

func tags(w *world) {
	b := w.versioned("bucket")
	r := small(b, "k", "v")
	r.Headers = []tracker.Field{{Name: "x-amz-meta-a", Value: "\xff"}}
	r.Tags = []tracker.Field{{Name: "one", Value: "1"}}
	put := w.put(r)
	o := w.get(b, "k", "")
	w.equal(r.Tags, o.Tags)
	w.equal(r.Headers, o.Headers)
	next := []tracker.Field{{Name: "two", Value: ""}, {Name: "three", Value: "3"}}
	v, err := w.c.SetTags(w.ctx, &tracker.SetTags{Bucket: b, Key: "k", Tags: next})
	w.must(err)
	w.equal(put.VersionID, v)
	o = w.get(b, "k", "")
	w.equal(next, o.Tags)
	w.equal(put.Seq, o.Seq)
	_, err = w.c.SetTags(w.ctx, &tracker.SetTags{Bucket: b, Key: "none"})
	w.wants(err, tracker.ErrNoSuchKey)
}

func deleteObjects(w *world) {
	b := w.bucket("bucket")
	r := &tracker.DeleteObjects{Bucket: b}
	for i := range 600 { // more than one command takes
		key := fmt.Sprintf("k%04d", i)
		if i%2 == 0 {
			w.put(small(b, key, "v"))
		}
		e := tracker.DeleteEntry{Key: key}
		if i%5 == 0 {
			e.IfMatch = []string{"*"}
		}
		if i == 7 {
			e.Version = "nonsense"
		}
		r.Entries = append(r.Entries, e)
	}
	res, err := w.c.DeleteObjects(w.ctx, r)
	w.must(err)
	w.equal(600, len(res))
	for i := range res {
		var want error
		switch {
		case i == 7:
			want = tracker.ErrNoSuchVersion
		case i%2 == 1 && i%5 == 0:
			want = tracker.ErrNoSuchKey
		}
		if !errors.Is(res[i].Err, want) || want == nil && res[i].Err != nil {
			w.Fatalf("%d: %v, want %v", i, res[i].Err, want)
		}
	}
	u, err := w.c.Usage(w.ctx, b)
	w.must(err)
	w.equal(tracker.Usage{}, u)
	r.Entries = make([]tracker.DeleteEntry, 1001)
	for i := range r.Entries {
		r.Entries[i].Key = "k"
	}
	_, err = w.c.DeleteObjects(w.ctx, r)
	w.wants(err, tracker.ErrInvalid)
}

func uploads(w *world) {
	b := w.bucket("bucket")
	q := w.upload(b, "k", 10, 20, 5)
	other := w.upload(b, "k", 1)
	w.upload(b, "l")
	u, err := w.c.GetUpload(w.ctx, q.UploadRef)
	if err != nil || u.UploadRef != q.UploadRef || u.Owner != "root" || u.Initiated == 0 || len(u.Headers) != 1 {
		w.Fatalf("%+v, %v", u, err)
	}
	p, err := w.c.ListParts(w.ctx, q.UploadRef, 1, 1)
	if err != nil || len(p.Parts) != 1 || p.Parts[0].Number != 2 || p.Parts[0].Size != 20 || !p.Truncated || p.Upload.UploadRef != q.UploadRef {
		w.Fatalf("%+v, %v", p, err)
	}
	var got []tracker.UploadRef
	l := &tracker.ListUploads{Bucket: b, Max: 1}
	for range 10 {
		page, err := w.c.ListUploads(w.ctx, l)
		w.must(err)
		for _, x := range page.Uploads {
			got = append(got, x.UploadRef)
		}
		if !page.Truncated {
			break
		}
		l.KeyAfter, l.UploadAfter = page.NextKey, page.NextUpload
	}
	if len(got) != 3 || got[0] != q.UploadRef || got[1] != other.UploadRef {
		w.Errorf("uploads: %+v", got)
	}
	bad := *q
	bad.Parts = []tracker.CompletePart{q.Parts[1], q.Parts[0]}
	_, err = w.c.CompleteUpload(w.ctx, &bad)
	w.wants(err, tracker.ErrInvalidPartList)
	bad.Parts = []tracker.CompletePart{{Number: 1, ETag: "another"}}
	_, err = w.c.CompleteUpload(w.ctx, &bad)
	w.wants(err, tracker.ErrInvalidPart)
	bad.Parts, bad.MinPartSize = q.Parts, 15
	_, err = w.c.CompleteUpload(w.ctx, &bad)
	w.wants(err, tracker.ErrPartTooSmall)
	done, err := w.c.CompleteUpload(w.ctx, q)
	if err != nil || done.Meta == nil || done.Meta.Size != 35 || !strings.HasSuffix(done.ETag, "-3") {
		w.Fatalf("%+v, %v", done, err)
	}
	again, err := w.c.CompleteUpload(w.ctx, q)
	if err != nil || again.Seq != done.Seq || again.ETag != done.ETag {
		w.Fatalf("completed again: %+v, %v", again, err)
	}
	w.wants(w.c.AbortUpload(w.ctx, &tracker.AbortUpload{UploadRef: q.UploadRef}), tracker.ErrNoSuchUpload)
	w.must(w.c.AbortUpload(w.ctx, &tracker.AbortUpload{UploadRef: other.UploadRef}))
	_, err = w.c.GetUpload(w.ctx, other.UploadRef)
	w.wants(err, tracker.ErrNoSuchUpload)
	o := w.get(b, "k", "")
	w.equal(3, o.Parts)
	parts, err := w.c.Parts(w.ctx, tracker.Ref{Bucket: b, Key: "k", Seq: o.Seq}, 1, 10)
	if err != nil || len(parts) != 2 || parts[0].Number != 2 || parts[1].Size != 5 {
		w.Errorf("%+v, %v", parts, err)
	}
}

// An object of many extents is read page by page.
func extents(w *world) {
	b := w.bucket("bucket")
	sizes := make([]int64, 20)
	for i := range sizes {
		sizes[i] = int64(100 + i)
	}
	_, err := w.c.CompleteUpload(w.ctx, w.upload(b, "k", sizes...))
	w.must(err)
	o := w.get(b, "k", "")
	if o.AllExtents || len(o.Extents) != 8 {
		w.Fatalf("%d extents, all: %v", len(o.Extents), o.AllExtents)
	}
	ref := tracker.Ref{Bucket: b, Key: "k", Seq: o.Seq}
	at := int64(0)
	for at < o.Size {
		page, err := w.c.Extents(w.ctx, ref, at, 3)
		w.must(err)
		if len(page) == 0 || len(page) > 3 {
			w.Fatalf("%d extents at %d of %d", len(page), at, o.Size)
		}
		for _, e := range page {
			if e.Offset != at || e.Length < 100 || len(e.Blob.Shards) != 1 {
				w.Fatalf("at %d: %+v", at, e)
			}
			at += e.Length
		}
	}
	w.equal(o.Size, at)
	e, err := w.c.Extents(w.ctx, ref, 150, 1) // in the middle of the second
	if err != nil || len(e) != 1 || e[0].Offset != 100 {
		w.Errorf("%+v, %v", e, err)
	}
}

func copyByReference(w *world) {
	b := w.bucket("bucket")
	r := &tracker.PutObject{Bucket: b, Key: "from", Meta: tracker.Meta{ETag: "e", Size: 100_000, CRC64NVME: 1 << 63, HasCRC64: true}, Blobs: []tracker.NewBlob{newBlob(100_000)}}
	from := w.put(r)
	to := w.put(&tracker.PutObject{Bucket: b, Key: "to", Meta: tracker.Meta{ETag: "e"}, Source: &tracker.Ref{Bucket: b, Key: "from", Seq: from.Seq}})
	if to.Meta == nil || to.Meta.Size != 100_000 || to.Meta.CRC64NVME != 1<<63 {
		w.Errorf("%+v", to.Meta)
	}
	_, err := w.c.DeleteObject(w.ctx, &tracker.DeleteObject{Bucket: b, Key: "from"})
	w.must(err)
	o := w.get(b, "to", "")
	if !o.AllExtents || len(o.Extents) != 1 || o.Extents[0].Blob.ID != r.Blobs[0].ID || o.Extents[0].Length != 100_000 {
		w.Errorf("%+v", o)
	}
	_, err = w.c.PutObject(w.ctx, &tracker.PutObject{Bucket: b, Key: "late", Meta: tracker.Meta{ETag: "e"}, Source: &tracker.Ref{Bucket: b, Key: "from", Seq: from.Seq}})
	w.wants(err, tracker.ErrNoSuchKey)
	// Blobs under a ticket that the fence has passed, and too many bytes for one command.
	fenced := &tracker.PutObject{Bucket: b, Key: "fenced", Meta: tracker.Meta{ETag: "e", Size: 10}, Blobs: []tracker.NewBlob{newBlob(10)}}
	fenced.Blobs[0].Expiry = 0
	_, err = w.c.PutObject(w.ctx, fenced)
	w.wants(err, tracker.ErrFenced)
	_, err = w.c.PutObject(w.ctx, small(b, "large", strings.Repeat("x", 5<<20)))
	w.wants(err, tracker.ErrTooLarge)
}
