package catalog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"holdfast/erasure"
	"holdfast/internal/checksum"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/catalog/catalogtest"
)

// world is a catalog under test: a log, a clock that stands still until moved,
// and request ids that count.
type world struct {
	t    testing.TB
	log  *catalogtest.Log
	now  int64
	reqs uint64
	ids  uint64
	cmds [][]byte // all that with applied
}

func newWorld(t testing.TB) *world {
	return &world{t: t, log: catalogtest.New(t), now: 1_800_000_000_000}
}

func (w *world) header() catalog.Header {
	w.reqs++
	var id tracker.RequestID
	binary.BigEndian.PutUint64(id[:], w.reqs*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint64(id[8:], w.reqs)
	return catalog.Header{At: w.now, Request: id, NotAfter: w.now + 60_000}
}

// do applies one command and returns its result.
func (w *world) do(c catalog.Command) any {
	w.t.Helper()
	return w.with(w.header(), c)
}

func (w *world) with(h catalog.Header, c catalog.Command) any {
	w.t.Helper()
	cmd := catalog.Encode(nil, h, c)
	w.cmds = append(w.cmds, cmd)
	r, err := w.log.Apply(cmd)
	if err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
	return r[0]
}

// must is do for a command that must not be refused.
func (w *world) must(c catalog.Command) any {
	w.t.Helper()
	r := w.do(c)
	if err, refused := r.(error); refused {
		w.t.Fatalf("%T: %v", c, err)
	}
	return r
}

func (w *world) refused(c catalog.Command, want error) {
	w.t.Helper()
	if err, ok := w.do(c).(error); !ok || !errors.Is(err, want) {
		w.t.Fatalf("%T: %v, want %v", c, err, want)
	}
}

func (w *world) bucket(name string) tracker.BucketID {
	w.t.Helper()
	return w.must(catalog.CreateBucket{CreateBucket: &tracker.CreateBucket{Name: name, Owner: "root"}}).(*catalog.BucketResult).Bucket.ID
}

// blob makes a new blob of rep-2 on nodes 1 and 2.
func (w *world) blob(length int64) tracker.NewBlob {
	w.ids++
	return tracker.NewBlob{Expiry: w.now + 3_600_000, Blob: tracker.Blob{ID: storage.MakeBlobID(0, 1, uint64(w.now), w.ids),
		Scheme: erasure.Replicated(2), Length: length, Shards: []storage.Placement{{Node: 1, Gen: 1}, {Node: 2, Gen: 1}}}}
}

func etagOf(n int) string { return fmt.Sprintf("%032x", n) }

func meta(size int64, n int) tracker.Meta {
	return tracker.Meta{ETag: etagOf(n), Size: size, HasCRC64: true, CRC64NVME: uint64(n),
		Headers:  []tracker.Field{{Name: "content-type", Value: "text/plain"}, {Name: "x-amz-meta-n", Value: fmt.Sprint(n)}},
		Checksum: tracker.Checksum{Algorithm: checksum.CRC32, Value: []byte{1, 2, 3, byte(n)}}}
}

func (w *world) inline(b tracker.BucketID, key string, n int) *tracker.PutObject {
	return &tracker.PutObject{Bucket: b, Key: key, Meta: meta(4, n), Inline: []byte{'d', byte(n >> 16), byte(n >> 8), byte(n)}}
}

func (w *world) put(r *tracker.PutObject) *tracker.PutResult {
	w.t.Helper()
	return w.must(catalog.Put{PutObject: r}).(*tracker.PutResult)
}

func (w *world) get(b tracker.BucketID, key, version string) (*tracker.Object, error) {
	return catalog.GetObject(w.log.Store, &tracker.GetObject{Bucket: b, Key: key, Version: version, Data: true})
}

func TestPutGetDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	r := w.put(w.inline(b, "k\x00ey", 7))
	o, err := w.get(b, "k\x00ey", "")
	if err != nil {
		t.Fatal(err)
	}
	if o.Seq != r.Seq || o.ETag != etagOf(7) || o.Size != 4 || string(o.Inline) != "d\x00\x00\x07" || len(o.Headers) != 2 ||
		o.Headers[1].Value != "7" || o.Modified != w.now || o.ID != "null" || !o.Current || r.VersionID != "" || !o.AllExtents {
		t.Fatalf("%+v, put %+v", o, r)
	}
	blob := w.blob(5000)
	w.put(&tracker.PutObject{Bucket: b, Key: "k\x00ey", Meta: meta(5000, 8), Blobs: []tracker.NewBlob{blob}})
	if o, err = w.get(b, "k\x00ey", ""); err != nil || len(o.Extents) != 1 || o.Inline != nil || o.Extents[0].Blob.ID != blob.ID ||
		o.Extents[0].Length != 5000 || o.Extents[0].Blob.Shards[1] != blob.Shards[1] {
		t.Fatalf("%+v %v", o, err)
	}
	u, err := catalog.Usage(w.log.Store, b)
	if err != nil || u != (tracker.Usage{Objects: 1, Versions: 1, Bytes: 5000}) {
		t.Fatal(u, err)
	}
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k\x00ey"}})
	if _, err := w.get(b, "k\x00ey", ""); !errors.Is(err, tracker.ErrNoSuchKey) {
		t.Fatal(err)
	}
	if u, _ = catalog.Usage(w.log.Store, b); u != (tracker.Usage{}) {
		t.Fatal(u)
	}
}

func BenchmarkPutInline4K(b *testing.B) {
	w := newWorld(b)
	id := w.bucket("b")
	body := make([]byte, 4096)
	cmds := make([][]byte, 64)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%64 != 0 {
			continue
		}
		b.StopTimer()
		for i := range cmds {
			r := &tracker.PutObject{Bucket: id, Key: fmt.Sprintf("key/%09d", n+i), Meta: meta(4096, i), Inline: body}
			cmds[i] = catalog.Encode(nil, w.header(), catalog.Put{PutObject: r})
		}
		b.StartTimer()
		if _, err := w.log.Apply(cmds...); err != nil {
			b.Fatal(err)
		}
	}
}

// blobRange is the range of all blobs.
func (w *world) blobRange() storage.IDRange { return storage.IDRange{} }

// BenchmarkPutAlone is a log entry with one command.
func BenchmarkPutAlone(b *testing.B) {
	w := newWorld(b)
	id := w.bucket("b")
	body := make([]byte, 4096)
	cmds := make([][]byte, 64)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%64 == 0 {
			b.StopTimer()
			for i := range cmds {
				r := &tracker.PutObject{Bucket: id, Key: fmt.Sprintf("key/%09d", n+i), Meta: meta(4096, i), Inline: body}
				cmds[i] = catalog.Encode(nil, w.header(), catalog.Put{PutObject: r})
			}
			b.StartTimer()
		}
		if _, err := w.log.Apply(cmds[n%64]); err != nil {
			b.Fatal(err)
		}
	}
}
