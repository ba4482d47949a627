package catalog_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"holdfast/internal/checksum"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

func (w *world) upload(b tracker.BucketID, key string, m tracker.Meta) tracker.UploadRef {
	w.t.Helper()
	return w.must(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: key, Owner: "root", Meta: m}}).(*tracker.Upload).UploadRef
}

// part makes a part whose bytes are body, in one blob.
func (w *world) part(ref tracker.UploadRef, n int, body []byte, alg checksum.Algorithm) *tracker.PutPart {
	p := &tracker.PutPart{UploadRef: ref, Part: tracker.Part{Number: n, Size: int64(len(body)), MD5: md5.Sum(body)}}
	p.ETag = hex.EncodeToString(p.MD5[:])
	h := checksum.New(checksum.CRC64NVME)
	h.Write(body)
	for _, c := range h.Sum(nil) {
		p.CRC64NVME = p.CRC64NVME<<8 | uint64(c)
	}
	if alg != checksum.None {
		h = checksum.New(alg)
		h.Write(body)
		p.Checksum = tracker.Checksum{Algorithm: alg, Value: h.Sum(nil)}
	}
	if len(body) > 0 {
		p.Blobs = []tracker.NewBlob{w.blob(int64(len(body)))}
	}
	return p
}

func (w *world) prepare(q *tracker.CompleteUpload) (*catalog.Complete, error) {
	cmd, done, err := catalog.PrepareComplete(w.log.Store, q)
	if done != nil {
		w.t.Fatalf("completed before: %+v", done)
	}
	return cmd, err
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		alg       checksum.Algorithm
		composite bool
	}{{checksum.None, false}, {checksum.CRC32, false}, {checksum.CRC32, true}, {checksum.SHA256, true}, {checksum.CRC64NVME, false}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.bucket("b")
			ref := w.upload(b, "k", tracker.Meta{Headers: []tracker.Field{{Name: "x-amz-meta-a", Value: "1"}}, Checksum: tracker.Checksum{Algorithm: c.alg, Composite: c.composite}})
			var whole, md5s, sums []byte
			q := &tracker.CompleteUpload{UploadRef: ref, Size: 900, MinPartSize: 300}
			for i, n := range []int{2, 5, 9} {
				body := bytes.Repeat([]byte{byte(n)}, 300)
				p := w.part(ref, n, body, c.alg)
				w.must(catalog.PutPart{PutPart: w.part(ref, n, []byte("replaced"), c.alg)})
				w.must(catalog.PutPart{PutPart: p})
				whole, md5s, sums = append(whole, body...), append(md5s, p.MD5[:]...), append(sums, p.Checksum.Value...)
				q.Parts = append(q.Parts, tracker.CompletePart{Number: n, ETag: p.ETag})
				if i == 0 {
					q.Parts[0].Checksum = p.Checksum.Value
				}
			}
			w.must(catalog.PutPart{PutPart: w.part(ref, 7, []byte("unused"), c.alg)})
			cmd, err := w.prepare(q)
			if err != nil {
				t.Fatal(err)
			}
			r := w.must(cmd).(*tracker.PutResult)
			sum := md5.Sum(md5s)
			if r.ETag != hex.EncodeToString(sum[:])+"-3" || r.Meta == nil || r.Meta.Size != 900 {
				t.Fatalf("%+v", r)
			}
			h := checksum.New(checksum.CRC64NVME)
			h.Write(whole)
			if got := fmt.Sprintf("%016x", r.Meta.CRC64NVME); got != hex.EncodeToString(h.Sum(nil)) {
				t.Errorf("CRC64NVME %s", got)
			}
			if c.alg != checksum.None {
				h, over := checksum.New(c.alg), whole
				if c.composite {
					over = sums
				}
				h.Write(over)
				if !bytes.Equal(r.Meta.Checksum.Value, h.Sum(nil)) || r.Meta.Checksum.Composite != c.composite {
					t.Errorf("%+v", r.Meta.Checksum)
				}
			}
			o, err := w.get(b, "k", "")
			if err != nil || o.Parts != 3 || len(o.Extents) != 3 || o.Extents[2].Offset != 600 || o.Headers[0].Value != "1" {
				t.Fatalf("%+v %v", o, err)
			}
			parts, err := catalog.Parts(w.log.Store, tracker.Ref{Bucket: b, Key: "k", Seq: o.Seq}, 2, 1)
			if err != nil || len(parts) != 1 || parts[0].Number != 5 || parts[0].Size != 300 {
				t.Fatalf("%+v %v", parts, err)
			}
			w.fine()
			// 3 replaced parts at once, the unused one by the sweep.
			if kinds := w.sweep(); kinds[catalog.GarbageBlob] != 4 || kinds[catalog.GarbageUpload] != 1 {
				t.Fatal(kinds)
			}
			w.fine()
			if again := w.must(cmd).(*tracker.PutResult); again.Seq != r.Seq || again.ETag != r.ETag {
				t.Fatalf("%+v, first %+v", again, r)
			}
			w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}})
			w.fine()
			if kinds := w.sweep(); kinds[catalog.GarbageBlob] != 3 || kinds[catalog.GarbageVersion] != 1 {
				t.Fatal(kinds)
			}
			w.fine()
		})
	}
}

func TestCompleteRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	ref := w.upload(b, "k", tracker.Meta{Checksum: tracker.Checksum{Algorithm: checksum.CRC32}})
	body := bytes.Repeat([]byte("x"), 100)
	var list []tracker.CompletePart
	for n := 1; n <= 3; n++ {
		p := w.part(ref, n, body[:100-n], checksum.CRC32)
		w.must(catalog.PutPart{PutPart: p})
		list = append(list, tracker.CompletePart{Number: n, ETag: p.ETag, Checksum: p.Checksum.Value})
	}
	crc := crc32.ChecksumIEEE(append(append(bytes.Clone(body[:99]), body[:98]...), body[:97]...))
	right := tracker.Checksum{Algorithm: checksum.CRC32, Value: []byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)}}
	with := func(change func(*tracker.CompleteUpload)) *tracker.CompleteUpload {
		q := &tracker.CompleteUpload{UploadRef: ref, Size: -1, Parts: append([]tracker.CompletePart(nil), list...)}
		change(q)
		return q
	}
	for name, c := range map[string]struct {
		change func(*tracker.CompleteUpload)
		want   error
	}{
		"right":          {func(q *tracker.CompleteUpload) { q.Checksum, q.Size = right, 294 }, nil},
		"no such part":   {func(q *tracker.CompleteUpload) { q.Parts[2].Number = 4 }, tracker.ErrInvalidPart},
		"number 0":       {func(q *tracker.CompleteUpload) { q.Parts[0].Number = 0 }, tracker.ErrInvalidPart},
		"other etag":     {func(q *tracker.CompleteUpload) { q.Parts[0].ETag = etagOf(1) }, tracker.ErrInvalidPart},
		"other checksum": {func(q *tracker.CompleteUpload) { q.Parts[0].Checksum = []byte{1, 2, 3, 4} }, tracker.ErrInvalidPart},
		"order":          {func(q *tracker.CompleteUpload) { q.Parts[0], q.Parts[1] = q.Parts[1], q.Parts[0] }, tracker.ErrInvalidPartList},
		"twice":          {func(q *tracker.CompleteUpload) { q.Parts[1] = q.Parts[0] }, tracker.ErrInvalidPartList},
		"too small":      {func(q *tracker.CompleteUpload) { q.MinPartSize = 99 }, tracker.ErrPartTooSmall},
		"small last":     {func(q *tracker.CompleteUpload) { q.MinPartSize = 98 }, nil},
		"size":           {func(q *tracker.CompleteUpload) { q.Size = 293 }, tracker.ErrInvalid},
		"whole checksum": {func(q *tracker.CompleteUpload) {
			q.Checksum = tracker.Checksum{Algorithm: checksum.CRC32, Value: []byte{1, 2, 3, 4}}
		}, tracker.ErrBadChecksum},
		"other kind": {func(q *tracker.CompleteUpload) { q.Checksum = right; q.Checksum.Composite = true }, tracker.ErrInvalid},
		"empty":      {func(q *tracker.CompleteUpload) { q.Parts = nil }, tracker.ErrInvalid},
		"no upload":  {func(q *tracker.CompleteUpload) { q.Upload = "0123456789abcdefghi0" }, tracker.ErrNoSuchUpload},
		"other key":  {func(q *tracker.CompleteUpload) { q.Key = "other" }, tracker.ErrNoSuchUpload},
	} {
		if _, err := w.prepare(with(c.change)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	q := with(func(*tracker.CompleteUpload) {})
	cmd, err := w.prepare(q)
	if err != nil {
		t.Fatal(err)
	}
	w.must(catalog.PutPart{PutPart: w.part(ref, 2, body, checksum.CRC32)})
	w.refused(cmd, tracker.ErrConflict)
	q.IfMatch = []string{"*"}
	q.Parts = q.Parts[2:]
	if cmd, err = w.prepare(q); err != nil {
		t.Fatal(err)
	}
	w.refused(cmd, tracker.ErrNoSuchKey)
	at := w.now + 5000
	w.refused(catalog.Abort{AbortUpload: &tracker.AbortUpload{UploadRef: ref, IfInitiated: &at}}, tracker.ErrPrecondition)
	h := w.header()
	abort := catalog.Abort{AbortUpload: &tracker.AbortUpload{UploadRef: ref, IfInitiated: &w.now}}
	w.with(h, abort)
	if r := w.with(h, abort); r != nil {
		t.Fatal(r)
	}
	w.refused(abort, tracker.ErrNoSuchUpload)
	w.refused(cmd, tracker.ErrNoSuchUpload)
	if _, err = w.prepare(q); !errors.Is(err, tracker.ErrNoSuchUpload) {
		t.Fatal(err)
	}
	w.refused(catalog.PutPart{PutPart: w.part(ref, 2, body, checksum.CRC32)}, tracker.ErrNoSuchUpload)
	w.fine()
	w.sweep()
	w.fine()
	// The outcome is forgotten after seven days.
	w.now += 8 * 24 * 3600_000
	w.must(catalog.RaiseTime{To: w.now})
	if s := w.must(catalog.TrimOutcomes{}).(*catalog.Step); s.Done != 1 || s.More {
		t.Fatalf("%+v", s)
	}
}

// Ten thousand parts complete in one command that is applied quickly, read
// back in pages, and are swept in steps.
func TestTenThousandParts(t *testing.T) {
	t.Parallel()
	const n = 10000
	w := newWorld(t)
	b := w.bucket("b")
	ref := w.upload(b, "big", tracker.Meta{Checksum: tracker.Checksum{Algorithm: checksum.SHA256, Composite: true}})
	q := &tracker.CompleteUpload{UploadRef: ref, Size: -1}
	var cmds [][]byte
	for i := 1; i <= n; i++ {
		p := w.part(ref, i, []byte(fmt.Sprint(i)), checksum.SHA256)
		q.Parts = append(q.Parts, tracker.CompletePart{Number: i, ETag: p.ETag})
		cmds = append(cmds, catalog.Encode(nil, w.header(), catalog.PutPart{PutPart: p}))
		if len(cmds) == 500 {
			if _, err := w.log.Apply(cmds...); err != nil {
				t.Fatal(err)
			}
			cmds = nil
		}
	}
	cmd, err := w.prepare(q)
	if err != nil {
		t.Fatal(err)
	}
	enc := catalog.Encode(nil, w.header(), cmd)
	if len(enc) > 3<<20 {
		t.Fatalf("the command is %d bytes", len(enc))
	}
	start := time.Now()
	res, err := w.log.Apply(enc)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := res[0].(*tracker.PutResult)
	if !ok {
		t.Fatal(res[0])
	}
	t.Logf("%d bytes, applied in %v", len(enc), took)
	if took > 500*time.Millisecond {
		t.Errorf("applied in %v", took)
	}
	obj := tracker.Ref{Bucket: b, Key: "big", Seq: r.Seq}
	seen, at := 0, int64(0)
	for at < r.Meta.Size {
		ext, err := catalog.Extents(w.log.Store, obj, at, 700)
		if err != nil || len(ext) == 0 {
			t.Fatal(len(ext), err)
		}
		for _, e := range ext {
			if e.Offset != at {
				t.Fatalf("extent at %d, want %d", e.Offset, at)
			}
			at += e.Length
			seen++
		}
	}
	parts, err := catalog.Parts(w.log.Store, obj, 4321, 5)
	if seen != n || err != nil || len(parts) != 5 || parts[0].Number != 4322 {
		t.Fatal(seen, parts, err)
	}
	w.refused(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "copy", Source: &obj}}, tracker.ErrTooLarge)
	w.fine()
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "big"}})
	w.fine()
	steps := 0
	for {
		rows, err := catalog.GarbageRows(w.log.Store, catalog.GarbageID{}, 1)
		if err != nil || len(rows) == 0 {
			break
		}
		c := catalog.Command(catalog.DropGarbage{UpTo: catalog.GarbageID{Seq: ^uint64(0)}})
		if rows[0].Swept() {
			c = catalog.Sweep{GarbageID: rows[0].GarbageID}
		}
		start := time.Now()
		w.must(c)
		if took := time.Since(start); took > 300*time.Millisecond {
			t.Errorf("a step of garbage took %v", took)
		}
		if steps++; steps%20 == 0 {
			w.fine()
		}
	}
	w.fine()
	blobs := 0
	if err := catalog.Blobs(w.log.Store, w.blobRange(), func(*catalog.BlobState) bool { blobs++; return true }); err != nil || blobs != 0 {
		t.Fatal(blobs, err)
	}
	t.Logf("%d steps of garbage", steps)
}

func TestListParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	ref := w.upload(b, "k", tracker.Meta{Class: "GLACIER_IR", Checksum: tracker.Checksum{Algorithm: checksum.CRC32}})
	for _, n := range []int{1, 3, 5000, 10000} {
		w.must(catalog.PutPart{PutPart: w.part(ref, n, []byte("abc"), checksum.CRC32)})
	}
	p, err := catalog.ListParts(w.log.Store, ref, 1, 2)
	if err != nil || len(p.Parts) != 2 || p.Parts[0].Number != 3 || p.Parts[1].Number != 5000 || !p.Truncated || p.Upload.Class != "GLACIER_IR" ||
		p.Upload.Checksum.Algorithm != checksum.CRC32 || p.Parts[0].Checksum.Value == nil || p.Parts[0].Modified == 0 || p.Parts[0].CRC64NVME == 0 {
		t.Fatalf("%+v %v", p, err)
	}
	if p, err = catalog.ListParts(w.log.Store, ref, 5000, 2); err != nil || len(p.Parts) != 1 || p.Truncated {
		t.Fatalf("%+v %v", p, err)
	}
	w.refused(catalog.PutPart{PutPart: w.part(ref, 10001, []byte("abc"), 0)}, tracker.ErrInvalid)
}
