package catalog_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/checksum"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

var update = flag.Bool("update", false, "write the golden files anew")

// history is a fixed run of every command. Its encoding and the rows it
// leaves are fixtures: what a release wrote must be read for ever.
func history(w *world) (lines []string) {
	do := func(c catalog.Command) any {
		w.t.Helper()
		h := w.header()
		lines = append(lines, fmt.Sprintf("%T %x", c, catalog.Encode(nil, h, c)))
		r := w.with(h, c)
		if err, refused := r.(error); refused {
			w.t.Fatalf("%T: %v", c, err)
		}
		w.now += 1000
		return r
	}
	size, at := int64(4), w.now
	do(catalog.RaiseTime{To: w.now})
	do(catalog.SetIdentity{Cluster: "cluster", Incarnation: "incarnation"})
	do(catalog.AddGroup{Group: &tracker.Group{Name: "default", Class: "STANDARD", Scheme: w.blob(1).Scheme}})
	n := do(catalog.AddNode{Node: &tracker.Node{Group: 1, State: tracker.NodeActive, Epoch: 1, Addr: "/d", Domain: tracker.Domain{Zone: "z", Rack: "r", Host: "h"}}}).(*tracker.Node)
	n.Epoch = 2
	do(catalog.SetNode{Node: n, Was: 1})
	do(catalog.RaiseLevel{To: 1})
	b := do(catalog.CreateBucket{CreateBucket: &tracker.CreateBucket{Name: "bucket", Owner: "root", Location: "eu"}}).(*catalog.BucketResult).Bucket.ID
	do(catalog.CreateBucket{CreateBucket: &tracker.CreateBucket{Name: "gone", Owner: "root"}})
	do(catalog.Put{PutObject: w.inline(b, "a\x00b", 1)})
	do(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	p := w.inline(b, "a\x00b", 2)
	p.Conditions = tracker.Conditions{IfMatch: []string{etagOf(1)}, IfNoneMatch: []string{"z"}, IfSize: &size}
	p.Class, p.ETag, p.Checksum = "ODD", "not-hex", tracker.Checksum{}
	do(catalog.Put{PutObject: p})
	blobs := []tracker.NewBlob{w.blob(10)}
	for range 9 {
		blobs = append(blobs, w.blob(10))
	}
	r := do(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "blobs", Meta: meta(100, 3), Blobs: blobs}}).(*tracker.PutResult)
	do(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "copy", Meta: tracker.Meta{Class: "GLACIER_IR"}, Source: &tracker.Ref{Bucket: b, Key: "blobs", Seq: r.Seq}}})
	do(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "empty", Meta: tracker.Meta{ETag: etagOf(4) + "-12"}}})
	do(catalog.SwitchShard{Blob: blobs[0].ID, Index: 1, Old: blobs[0].Shards[1], New: storage.Placement{Node: 3, Gen: 2}, Expiry: w.now + 1})
	hole := w.blob(5)
	hole.Shards[1] = storage.Placement{}
	do(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "hole", Meta: meta(5, 3), Blobs: []tracker.NewBlob{hole}}})
	do(catalog.AdoptShard{Blob: hole.ID, Index: 1, New: storage.Placement{Node: 3, Gen: 1}, Expiry: w.now + 1})
	do(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "hole", Conditions: tracker.Conditions{IfModifiedTime: new(w.now - 2000)}}})
	do(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "blobs", Version: r.VersionID}})
	do(catalog.DeleteMany{Bucket: b, First: 2, Entries: []tracker.DeleteEntry{{Key: "a\x00b", Version: "null"}, {Key: "copy"}}})
	up := do(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: "up", Owner: "me", Meta: tracker.Meta{Checksum: tracker.Checksum{Algorithm: checksum.SHA1, Composite: true}}}}).(*tracker.Upload)
	one := w.part(up.UploadRef, 1, []byte("one"), checksum.SHA1)
	do(catalog.PutPart{PutPart: one})
	two := w.part(up.UploadRef, 2, []byte("two"), checksum.SHA1)
	two.ETag = "opaque"
	do(catalog.PutPart{PutPart: two})
	q := &tracker.CompleteUpload{UploadRef: up.UploadRef, Size: -1, Parts: []tracker.CompletePart{{Number: 1, ETag: one.ETag}}}
	cmd, err := w.prepare(q)
	if err != nil {
		w.t.Fatal(err)
	}
	do(cmd)
	up = do(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: "up2", Owner: "me"}}).(*tracker.Upload)
	ref := up.UploadRef
	do(catalog.Abort{AbortUpload: &tracker.AbortUpload{UploadRef: ref, IfInitiated: new(up.Initiated)}})
	open := do(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: "open", Owner: "me", Meta: meta(0, 1)}}).(*tracker.Upload)
	do(catalog.PutPart{PutPart: w.part(open.UploadRef, 1, []byte("open"), checksum.CRC32)})
	do(catalog.DeleteBucket{Name: "gone"})
	do(catalog.RaiseTime{To: at + 10_000})
	do(catalog.RaiseFence{To: at + 1000})
	rows, err := catalog.GarbageRows(w.log.Store, catalog.GarbageID{}, 2)
	if err != nil || len(rows) != 2 {
		w.t.Fatal(rows, err)
	}
	do(catalog.DropGarbage{UpTo: rows[0].GarbageID})
	do(catalog.Sweep{GarbageID: rows[1].GarbageID})
	do(catalog.TrimResults{})
	do(catalog.TrimOutcomes{After: []byte{0x22, 1}})
	do(catalog.TrimChanges{UpTo: 9})
	do(catalog.SetCursor{Consumer: "events", Index: 10, Sub: 1})
	do(catalog.SetJob{ID: "drain", State: []byte("state")})
	// Here begins what level 2 brought.
	do(catalog.RaiseLevel{To: 2})
	p = w.inline(b, "tagged", 1)
	p.Tags = []tracker.Field{{Name: "key", Value: "value"}, {Name: "empty"}}
	r = do(catalog.Put{PutObject: p}).(*tracker.PutResult)
	do(catalog.Put{PutObject: w.inline(b, "tagged", 2)})
	do(catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b, Key: "tagged", Tags: p.Tags[:1]}})
	do(catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b, Key: "tagged", Version: r.VersionID}})
	up = do(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: "tagged", Owner: "me", Meta: tracker.Meta{Tags: p.Tags}}}).(*tracker.Upload)
	one = w.part(up.UploadRef, 1, []byte("one"), checksum.None)
	do(catalog.PutPart{PutPart: one})
	cmd, err = w.prepare(&tracker.CompleteUpload{UploadRef: up.UploadRef, Size: -1, Parts: []tracker.CompletePart{{Number: 1, ETag: one.ETag}}})
	if err != nil {
		w.t.Fatal(err)
	}
	do(cmd)
	// Here begins what level 3 brought.
	do(catalog.RaiseLevel{To: 3})
	do(catalog.AddGroup{Group: &tracker.Group{Name: "cold", Class: "GLACIER_IR", Scheme: w.blob(1).Scheme}})
	do(catalog.AddNode{Node: &tracker.Node{Group: 2, State: tracker.NodeActive, Epoch: 1, Role: tracker.RoleReadOnly, Addr: "/ro"}})
	do(catalog.SetPolicy{Policy: &tracker.Policy{Kind: tracker.RoundRobin}})
	do(catalog.SetPolicy{Policy: &tracker.Policy{Class: "GLACIER_IR", Kind: tracker.Pinned, GroupID: 2}})
	do(catalog.SetPolicy{Policy: &tracker.Policy{BucketID: b, Kind: tracker.Pinned, GroupID: 1}})
	do(catalog.SetPolicy{Policy: &tracker.Policy{BucketID: b, Class: "GLACIER_IR", Kind: tracker.Balance}})
	do(catalog.SetPolicy{Policy: &tracker.Policy{Class: "STANDARD", Kind: tracker.Balance}})
	do(catalog.SetPolicy{Policy: &tracker.Policy{Class: "STANDARD"}})
	pinned := do(catalog.CreateBucket{CreateBucket: &tracker.CreateBucket{Name: "pinned", Owner: "root"}}).(*catalog.BucketResult).Bucket.ID
	do(catalog.SetPolicy{Policy: &tracker.Policy{BucketID: pinned, Kind: tracker.Pinned, GroupID: 1}})
	do(catalog.DeleteBucket{Name: "pinned"})
	return lines
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range max(len(g), len(w)) {
			if i >= len(g) || i >= len(w) || g[i] != w[i] {
				t.Fatalf("%s line %d\n got %q\nwant %q", name, i+1, at(g, i), at(w, i))
			}
		}
	}
}

func at(l []string, i int) string {
	if i < len(l) {
		return l[i]
	}
	return ""
}

func (w *world) dump() string {
	var out strings.Builder
	it, err := w.log.Store.Iter(nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&out, "%x %x\n", it.Key(), it.Value())
	}
	if err := it.Close(); err != nil {
		w.t.Fatal(err)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lines := history(w)
	w.fine()
	compareGolden(t, "commands.golden", strings.Join(lines, "\n")+"\n")
	compareGolden(t, "rows.golden", w.dump())
}

// TestGoldenReplay applies the commands as an old release wrote them, all in
// one entry and one by one: the state is the same but for the log's indexes.
func TestGoldenReplay(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("testdata", "commands.golden"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		_, enc, _ := strings.Cut(line, " ")
		cmd, err := hex.DecodeString(enc)
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.log.Apply(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if refusal, refused := r[0].(error); refused {
			t.Fatalf("%s: %v", line[:30], refusal)
		}
	}
	w.fine()
	compareGolden(t, "rows.golden", w.dump())
}
