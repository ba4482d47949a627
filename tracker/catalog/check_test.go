package catalog_test

import (
	"strings"
	"testing"

	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

// TestCheckFinds breaks one row at a time and expects Check to say so.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	build := func(t *testing.T) (*world, tracker.BucketID) {
		w := newWorld(t)
		b := w.bucket("b")
		w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
		w.put(w.inline(b, "inline", 1))
		for range 2 {
			r := &tracker.PutObject{Bucket: b, Key: "blobs", Meta: meta(120, 1)}
			for range 12 {
				r.Blobs = append(r.Blobs, w.blob(10))
			}
			p := w.put(r)
			w.put(&tracker.PutObject{Bucket: b, Key: "copy", Meta: meta(0, 1), Source: &tracker.Ref{Bucket: b, Key: "blobs", Seq: p.Seq}})
		}
		ref := w.upload(b, "up", tracker.Meta{})
		w.must(catalog.PutPart{PutPart: w.part(ref, 1, []byte("abc"), 0)})
		w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "inline"}})
		w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningSuspended})
		w.put(w.inline(b, "null", 1))
		w.put(&tracker.PutObject{Bucket: b, Key: "null2", Meta: meta(7, 1), Blobs: []tracker.NewBlob{w.blob(7)}})
		w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "null2"}})
		w.fine()
		return w, b
	}
	for row, name := range map[byte]string{0x04: "name", 0x05: "core", 0x06: "usage", 0x10: "object", 0x11: "version", 0x12: "null", 0x13: "piece",
		0x14: "inline", 0x20: "upload", 0x21: "part", 0x22: "state", 0x30: "garbage", 0x50: "result", 0x51: "trim", 0x60: "blob", 0x61: "holder"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := build(t)
			it, err := w.log.Store.Iter([]byte{row}, []byte{row + 1})
			if err != nil {
				t.Fatal(err)
			}
			var keys [][]byte
			for ok := it.First(); ok; ok = it.Next() {
				keys = append(keys, append([]byte(nil), it.Key()...))
			}
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
			if len(keys) == 0 {
				t.Fatal("no such row in the test's catalog")
			}
			for _, k := range keys {
				tx := w.log.Store.Begin()
				val, _, err := tx.Get(k, nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = tx.Delete(k)
				if bad := catalog.Check(tx); len(bad) == 0 {
					t.Errorf("nothing is said of the loss of %x", k)
				}
				_ = tx.Set(k, append([]byte{9}, val...))
				if bad := catalog.Check(tx); row != 0x61 && row != 0x04 && !strings.Contains(strings.Join(bad, "\n"), "cannot be read") && row != 0x14 {
					t.Errorf("row %x is not told to be unreadable: %q", k, bad)
				}
				tx.Close()
			}
		})
	}
}
