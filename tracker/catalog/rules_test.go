package catalog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

// fine fails the test with what Check finds.
func (w *world) fine() {
	w.t.Helper()
	for _, line := range catalog.Check(w.log.Store) {
		w.t.Error(line)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	i64 := func(v int64) *int64 { return &v }
	type c = tracker.Conditions
	now := newWorld(t).now
	for name, x := range map[string]struct {
		cond                  c
		onLive, onNothing     error
		onMarker, deleteThere error
	}{
		"none":                  {c{}, nil, nil, nil, nil},
		"none match any":        {c{IfNoneMatch: []string{"*"}}, tracker.ErrPrecondition, nil, nil, tracker.ErrPrecondition},
		"none match etag":       {c{IfNoneMatch: []string{etagOf(1)}}, tracker.ErrPrecondition, nil, nil, tracker.ErrPrecondition},
		"none match other":      {c{IfNoneMatch: []string{etagOf(2), "x"}}, nil, nil, nil, nil},
		"match any":             {c{IfMatch: []string{"*"}}, nil, tracker.ErrNoSuchKey, tracker.ErrNoSuchKey, nil},
		"match etag":            {c{IfMatch: []string{"q", etagOf(1)}}, nil, tracker.ErrNoSuchKey, tracker.ErrNoSuchKey, nil},
		"match other":           {c{IfMatch: []string{etagOf(2)}}, tracker.ErrPrecondition, tracker.ErrNoSuchKey, tracker.ErrNoSuchKey, tracker.ErrPrecondition},
		"size":                  {c{IfSize: i64(4)}, nil, nil, nil, nil},
		"other size":            {c{IfSize: i64(5)}, tracker.ErrPrecondition, nil, nil, tracker.ErrPrecondition},
		"time to the second":    {c{IfModifiedTime: i64(now + 999)}, nil, nil, nil, nil},
		"another second":        {c{IfModifiedTime: i64(now + 1000)}, tracker.ErrPrecondition, nil, nil, tracker.ErrPrecondition},
		"match and wrong size":  {c{IfMatch: []string{"*"}, IfSize: i64(1)}, tracker.ErrPrecondition, tracker.ErrNoSuchKey, tracker.ErrNoSuchKey, tracker.ErrPrecondition},
		"match and right size":  {c{IfMatch: []string{etagOf(1)}, IfSize: i64(4)}, nil, tracker.ErrNoSuchKey, tracker.ErrNoSuchKey, nil},
		"match none match both": {c{IfMatch: []string{"*"}, IfNoneMatch: []string{"*"}}, tracker.ErrPrecondition, tracker.ErrNoSuchKey, tracker.ErrNoSuchKey, tracker.ErrPrecondition},
	} {
		for _, state := range []tracker.Versioning{tracker.Unversioned, tracker.VersioningEnabled, tracker.VersioningSuspended} {
			t.Run(fmt.Sprintf("%s/%d", name, state), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				b := w.bucket("b")
				if state != tracker.Unversioned {
					w.must(catalog.SetVersioning{Bucket: b, State: state})
				}
				expect := func(what string, r any, want error) {
					t.Helper()
					if err, _ := r.(error); !errors.Is(err, want) || (err == nil) != (want == nil) {
						t.Errorf("%s: %v, want %v", what, r, want)
					}
				}
				for _, k := range []string{"live", "gone", "many", "done"} {
					w.put(w.inline(b, k, 1))
				}
				w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "gone"}})
				p := w.inline(b, "live", 3)
				p.Conditions = x.cond
				expect("put over live", w.do(catalog.Put{PutObject: p}), x.onLive)
				p = w.inline(b, "nothing", 3)
				p.Conditions = x.cond
				expect("put over nothing", w.do(catalog.Put{PutObject: p}), x.onNothing)
				p = w.inline(b, "gone", 3)
				p.Conditions = x.cond
				expect("put over what was deleted", w.do(catalog.Put{PutObject: p}), x.onMarker)
				expect("delete nothing", w.do(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "never", Conditions: x.cond}}), x.onNothing)
				expect("delete", w.do(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "done", Conditions: x.cond}}), x.deleteThere)
				rs := w.must(catalog.DeleteMany{Bucket: b, Entries: []tracker.DeleteEntry{{Key: "many", Conditions: x.cond}, {Key: "never2", Conditions: x.cond}}}).([]tracker.DeleteResult)
				for i, want := range []error{x.deleteThere, x.onNothing} {
					if !errors.Is(rs[i].Err, want) || (rs[i].Err == nil) != (want == nil) {
						t.Errorf("delete many %d: %v, want %v", i, rs[i].Err, want)
					}
				}
				w.fine()
			})
		}
	}
}

func TestFence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	up := w.must(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: "u"}}).(*tracker.Upload)
	old := w.blob(10)
	put := func(nb tracker.NewBlob) catalog.Command {
		return catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "k", Meta: meta(10, 1), Blobs: []tracker.NewBlob{nb}}}
	}
	w.must(put(old))
	fence := old.Expiry
	w.now = fence + 1000
	w.must(catalog.RaiseTime{To: w.now})
	if got := w.must(catalog.RaiseFence{To: fence}).(int64); got != fence {
		t.Fatal(got)
	}
	late := w.blob(10)
	late.Expiry = fence
	w.refused(put(late), tracker.ErrFenced)
	two := []tracker.NewBlob{w.blob(5), w.blob(5)}
	two[1].Expiry = fence
	w.refused(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "k", Meta: meta(10, 1), Blobs: two}}, tracker.ErrFenced)
	w.refused(catalog.PutPart{PutPart: &tracker.PutPart{UploadRef: up.UploadRef, Part: tracker.Part{Number: 1, Size: 10}, Blobs: []tracker.NewBlob{late}}}, tracker.ErrFenced)
	at := storage.Placement{Node: 9, Gen: 2}
	w.refused(catalog.SwitchShard{Blob: old.ID, Index: 0, Old: old.Shards[0], New: at, Expiry: fence}, tracker.ErrFenced)
	w.must(catalog.SwitchShard{Blob: old.ID, Index: 0, Old: old.Shards[0], New: at, Expiry: fence + 1})
	late.Expiry++
	w.must(put(late))
	// The fence never passes destructive time, and goes back for nobody.
	if got := w.must(catalog.RaiseFence{To: w.now + 1e6}).(int64); got != w.now {
		t.Fatal(got)
	}
	if got := w.must(catalog.RaiseFence{To: 1}).(int64); got != w.now {
		t.Fatal(got)
	}
	if got := w.must(catalog.RaiseTime{To: 1}).(int64); got != w.now {
		t.Fatal(got)
	}
	w.fine()
}

func TestShardMap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	nb := w.blob(10)
	nb.Shards[1] = storage.Placement{}
	w.refused(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "k", Meta: meta(10, 1), Blobs: []tracker.NewBlob{{Blob: tracker.Blob{ID: nb.ID, Scheme: nb.Scheme, Length: 10, Shards: nb.Shards[:1]}, Expiry: nb.Expiry}}}}, tracker.ErrInvalid)
	w.put(&tracker.PutObject{Bucket: b, Key: "k", Meta: meta(10, 1), Blobs: []tracker.NewBlob{nb}})
	expiry := w.now + 1000
	adopt := catalog.AdoptShard{Blob: nb.ID, Index: 1, New: storage.Placement{Node: 5, Gen: 1}, Expiry: expiry}
	w.must(adopt)
	w.must(adopt) // done already
	w.refused(catalog.AdoptShard{Blob: nb.ID, Index: 1, New: storage.Placement{Node: 6, Gen: 1}, Expiry: expiry}, tracker.ErrConflict)
	w.refused(catalog.AdoptShard{Blob: nb.ID, Index: 2, New: storage.Placement{Node: 6, Gen: 1}, Expiry: expiry}, tracker.ErrInvalid)
	sw := func(old, new storage.Placement) catalog.SwitchShard {
		return catalog.SwitchShard{Blob: nb.ID, Index: 1, Old: old, New: new, Expiry: expiry}
	}
	w.refused(sw(storage.Placement{Node: 6, Gen: 1}, storage.Placement{Node: 7, Gen: 2}), tracker.ErrConflict)
	w.refused(sw(adopt.New, storage.Placement{Node: 7, Gen: 1}), tracker.ErrInvalid)
	w.must(sw(adopt.New, storage.Placement{Node: 7, Gen: 2}))
	// From A to B and back to A: the name of the shard is another.
	w.must(sw(storage.Placement{Node: 7, Gen: 2}, storage.Placement{Node: 5, Gen: 3}))
	w.refused(sw(adopt.New, storage.Placement{Node: 7, Gen: 2}), tracker.ErrConflict)
	blob, ok, err := catalog.Blob(w.log.Store, nb.ID)
	if err != nil || !ok || blob.MapGen != 4 || blob.Shards[1] != (storage.Placement{Node: 5, Gen: 3}) {
		t.Fatalf("%+v %v %v", blob, ok, err)
	}
	rows, err := catalog.GarbageRows(w.log.Store, catalog.GarbageID{}, 10)
	if err != nil || len(rows) != 2 || rows[0].Kind != catalog.GarbageShard || rows[0].Place != adopt.New || rows[0].Index != 1 {
		t.Fatalf("%+v %v", rows, err)
	}
	w.fine()
}

func TestDyingBlobsNeverLiveAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	nb := w.blob(10)
	h := w.header()
	put := catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "k", Meta: meta(10, 1), Blobs: []tracker.NewBlob{nb}}}
	first := w.with(h, put).(*tracker.PutResult)
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}})
	if again := w.with(h, put).(*tracker.PutResult); again.Seq != first.Seq {
		t.Fatalf("%+v, first %+v", again, first)
	}
	if _, err := w.get(b, "k", ""); !errors.Is(err, tracker.ErrNoSuchKey) {
		t.Fatal("a retry undid a deletion")
	}
	w.refused(put, tracker.ErrConflict) // under another request id
	w.refused(catalog.Put{PutObject: &tracker.PutObject{Bucket: b, Key: "c", Meta: meta(10, 1), Source: &tracker.Ref{Bucket: b, Key: "k", Seq: first.Seq}}}, tracker.ErrNoSuchKey)
	w.refused(catalog.SwitchShard{Blob: nb.ID, Old: nb.Shards[0], New: storage.Placement{Node: 9, Gen: 2}, Expiry: w.now + 1}, tracker.ErrConflict)
	w.refused(catalog.AdoptShard{Blob: nb.ID, New: storage.Placement{Node: 9, Gen: 2}, Expiry: w.now + 1}, tracker.ErrConflict)
	rows, _ := catalog.GarbageRows(w.log.Store, catalog.GarbageID{}, 10)
	if len(rows) != 1 || rows[0].Blob != nb.ID {
		t.Fatalf("%+v", rows)
	}
	w.fine()
	if s := w.must(catalog.DropGarbage{UpTo: rows[0].GarbageID}).(*catalog.Step); s.Done != 1 || s.More {
		t.Fatalf("%+v", s)
	}
	if _, ok, _ := catalog.Blob(w.log.Store, nb.ID); ok {
		t.Fatal("the row of a dropped blob is there")
	}
	w.fine()
}

// A blob that several versions share goes with the last of them, and a retry
// of a copy does not count twice.
func TestSharedBlobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, other := w.bucket("b"), w.bucket("other")
	nb := w.blob(10)
	src := w.put(&tracker.PutObject{Bucket: b, Key: "k", Meta: meta(10, 1), Blobs: []tracker.NewBlob{nb}})
	copyTo := func(bucket tracker.BucketID, key string) catalog.Put {
		return catalog.Put{PutObject: &tracker.PutObject{Bucket: bucket, Key: key, Meta: tracker.Meta{Class: "GLACIER_IR"}, Source: &tracker.Ref{Bucket: b, Key: "k", Seq: src.Seq}}}
	}
	h := w.header()
	one := w.with(h, copyTo(other, "one")).(*tracker.PutResult)
	w.with(h, copyTo(other, "one"))
	w.must(copyTo(b, "k")) // onto itself, as to change its headers
	if one.Meta == nil || one.Meta.Size != 10 || one.ETag != etagOf(1) || !one.Meta.HasCRC64 || one.Meta.Class != "GLACIER_IR" || one.Meta.Checksum.Value == nil {
		t.Fatalf("%+v %+v", one, one.Meta)
	}
	w.refused(copyTo(b, "late"), tracker.ErrNoSuchKey) // the source is another version now
	w.fine()
	gone := func() int {
		rows, err := catalog.GarbageRows(w.log.Store, catalog.GarbageID{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		w.fine()
		return len(rows)
	}
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}})
	if n := gone(); n != 0 {
		t.Fatalf("%d garbage rows while a copy lives", n)
	}
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: other, Key: "one"}})
	if n := gone(); n != 1 {
		t.Fatalf("%d garbage rows", n)
	}
}

func TestRequestsAreDoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	h := w.header()
	first := w.with(h, catalog.Put{PutObject: w.inline(b, "k", 1)}).(*tracker.PutResult)
	second := w.put(w.inline(b, "k", 2))
	if again := w.with(h, catalog.Put{PutObject: w.inline(b, "k", 1)}).(*tracker.PutResult); again.Seq != first.Seq || again.ETag != first.ETag {
		t.Fatalf("%+v, first %+v", again, first)
	}
	if o, _ := w.get(b, "k", ""); o.Seq != second.Seq {
		t.Fatal("a retry overwrote a newer write")
	}
	// A conditional winner is told so again, not that it lost to itself.
	h = w.header()
	c := w.inline(b, "new", 3)
	c.IfNoneMatch = []string{"*"}
	w.with(h, catalog.Put{PutObject: c})
	if r, ok := w.with(h, catalog.Put{PutObject: c}).(*tracker.PutResult); !ok {
		t.Fatal(r)
	}
	hd := w.header()
	del := catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}}
	w.with(hd, del)
	third := w.put(w.inline(b, "k", 3))
	w.with(hd, del)
	if o, err := w.get(b, "k", ""); err != nil || o.Seq != third.Seq {
		t.Fatal("a retry of a deletion removed a newer write")
	}
	// Too late: refused, before and after the result is forgotten.
	w.now += 61_000
	late := w.header()
	late.NotAfter = w.now - 1
	if err, _ := w.with(late, catalog.Put{PutObject: w.inline(b, "x", 3)}).(error); !errors.Is(err, tracker.ErrExpired) {
		t.Fatal(err)
	}
	w.now += 11 * 60_000
	w.must(catalog.RaiseTime{To: w.now})
	for {
		if s := w.must(catalog.TrimResults{}).(*catalog.Step); !s.More {
			break
		}
	}
	if err, _ := w.with(hd, del).(error); !errors.Is(err, tracker.ErrExpired) {
		t.Fatal(err)
	}
	long := w.header()
	long.NotAfter = w.now + 3_600_000
	if err, _ := w.with(long, del).(error); !errors.Is(err, tracker.ErrInvalid) {
		t.Fatal(err)
	}
	w.fine()
}

// A clock that jumps moves neither the order nor Last-Modified far, and a
// clock that goes back breaks nothing.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	w.must(catalog.RaiseTime{To: w.now})
	a := w.put(w.inline(b, "k", 1))
	real := w.now
	w.now += 365 * 24 * 3600_000
	j := w.put(w.inline(b, "k", 2))
	if j.Modified > real+15*60_000 || j.Seq <= a.Seq {
		t.Fatalf("modified %d ms after", j.Modified-real)
	}
	w.now = real - 3600_000
	h := w.header()
	if err, _ := w.with(h, catalog.Put{PutObject: w.inline(b, "k", 3)}).(error); !errors.Is(err, tracker.ErrExpired) {
		t.Fatal(err)
	}
	h.At, h.NotAfter = real, real+60_000 // what a proposer does that has learned the time
	back := w.with(h, catalog.Put{PutObject: w.inline(b, "k", 3)}).(*tracker.PutResult)
	if back.Seq <= j.Seq || back.Modified < real {
		t.Fatalf("%d after %d", back.Seq, j.Seq)
	}
}

func TestDeleteBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	r := w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}}).(*tracker.DeleteResult)
	w.refused(catalog.DeleteBucket{Name: "b"}, tracker.ErrBucketNotEmpty)
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k", Version: r.VersionID}})
	up := w.must(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: "u"}}).(*tracker.Upload)
	part := w.blob(100)
	w.must(catalog.PutPart{PutPart: &tracker.PutPart{UploadRef: up.UploadRef, Part: tracker.Part{Number: 3, Size: 100}, Blobs: []tracker.NewBlob{part}}})
	w.must(catalog.DeleteBucket{Name: "b"})
	w.fine()
	w.refused(catalog.Put{PutObject: w.inline(b, "k", 1)}, tracker.ErrNoSuchBucket)
	w.refused(catalog.PutPart{PutPart: &tracker.PutPart{UploadRef: up.UploadRef, Part: tracker.Part{Number: 4, Size: 100}, Blobs: []tracker.NewBlob{w.blob(100)}}}, tracker.ErrNoSuchBucket)
	if again := w.bucket("b"); again == b {
		t.Fatal("a bucket id was used twice")
	}
	kinds := w.sweep()
	if fmt.Sprint(kinds) != fmt.Sprint(map[catalog.GarbageKind]int{catalog.GarbageBucket: 1, catalog.GarbageUpload: 1, catalog.GarbageBlob: 1}) {
		t.Fatal(kinds)
	}
	w.fine()
	it, err := w.log.Store.Iter([]byte{0x20}, []byte{0x23})
	if err != nil || it.First() {
		t.Fatal("rows of the bucket's uploads are left", err)
	}
	_ = it.Close()
}

// sweep works the garbage off and counts its rows by kind.
func (w *world) sweep() map[catalog.GarbageKind]int {
	w.t.Helper()
	kinds := map[catalog.GarbageKind]int{}
	for {
		rows, err := catalog.GarbageRows(w.log.Store, catalog.GarbageID{}, 1)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(rows) == 0 {
			return kinds
		}
		g := rows[0]
		if !g.Swept() {
			w.must(catalog.DropGarbage{UpTo: g.GarbageID})
			kinds[g.Kind]++
			continue
		}
		if s := w.must(catalog.DropGarbage{UpTo: g.GarbageID}).(*catalog.Step); s.Done != 0 {
			w.t.Fatal("a row was dropped before it was swept")
		}
		for n := 0; ; n++ {
			if s := w.must(catalog.Sweep{GarbageID: g.GarbageID}).(*catalog.Step); !s.More {
				break
			}
			w.fine()
		}
		kinds[g.Kind]++
	}
}

func TestClusterRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(catalog.SetIdentity{Cluster: "c1", Incarnation: "i1"})
	w.refused(catalog.SetIdentity{Cluster: "c2", Incarnation: "i1"}, tracker.ErrConflict)
	w.must(catalog.SetIdentity{Cluster: "c1", Incarnation: "i2"})
	g := &tracker.Group{Name: "bulk", Class: "STANDARD", Scheme: w.blob(1).Scheme}
	g1 := w.must(catalog.AddGroup{Group: g}).(*tracker.Group)
	if g2 := w.must(catalog.AddGroup{Group: g}).(*tracker.Group); g1.ID != 1 || *g2 != *g1 {
		t.Fatal(g1, g2)
	}
	n := &tracker.Node{Group: 1, State: tracker.NodeActive, Epoch: 1, Domain: tracker.Domain{Zone: "z", Host: "h"}, Addr: "/disk1", Role: tracker.RoleReadOnly}
	h := w.header()
	n1 := w.with(h, catalog.AddNode{Node: n}).(*tracker.Node)
	if again := w.with(h, catalog.AddNode{Node: n}).(*tracker.Node); again.ID != 1 || n1.ID != 1 {
		t.Fatal(again, n1)
	}
	n2 := w.must(catalog.AddNode{Node: n}).(*tracker.Node)
	n2.Epoch, n2.State = 2, tracker.NodeDraining
	w.must(catalog.SetNode{Node: n2, Was: 1})
	w.refused(catalog.SetNode{Node: n2, Was: 1}, tracker.ErrConflict)
	w.refused(catalog.SetNode{Node: &tracker.Node{ID: 9, Epoch: 2}, Was: 1}, tracker.ErrNoSuchNode)
	nodes, err := catalog.Nodes(w.log.Store)
	if err != nil || len(nodes) != 2 || nodes[1].ID != 2 || nodes[1].State != tracker.NodeDraining || nodes[1].Domain != n.Domain || nodes[0].Addr != n.Addr || nodes[0].Role != tracker.RoleReadOnly || !nodes[0].ReadOnly {
		t.Fatalf("%+v %v", nodes, err)
	}
	if groups, err := catalog.Groups(w.log.Store); err != nil || len(groups) != 1 || groups[0] != *g1 {
		t.Fatalf("%+v %v", groups, err)
	}
	w.must(catalog.SetJob{ID: "drain-1", State: []byte("half")})
	if j, err := catalog.Job(w.log.Store, "drain-1"); err != nil || string(j) != "half" {
		t.Fatal(j, err)
	}
	w.must(catalog.SetJob{ID: "drain-1"})
	if j, _ := catalog.Job(w.log.Store, "drain-1"); j != nil {
		t.Fatal(j)
	}
	w.must(catalog.SetCursor{Consumer: "c", Index: 7, Sub: 2})
	if c, err := catalog.Cursors(w.log.Store); err != nil || len(c) != 1 || c[0] != (catalog.Cursor{Consumer: "c", Index: 7, Sub: 2}) {
		t.Fatal(c, err)
	}
	s, err := catalog.ReadState(w.log.Store)
	if err != nil || s.Cluster != "c1" || s.Incarnation != "i2" || s.Level != 1 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	p1 := w.put(w.inline(b, "k", 1))
	p2 := w.put(w.inline(b, "k", 2))
	w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}})
	changes, err := catalog.Changes(w.log.Store, 0, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprintf("%d %s %d %v", c.Op, c.Key, c.Delta, c.Marker))
	}
	if strings.Join(got, "|") != "4  0 false|1 k 4 false|1 k 0 false|4  0 false|2 k 0 true" || changes[1].Seq != p1.Seq || changes[2].Prev != p1.Seq || changes[4].Prev != p2.Seq {
		t.Fatalf("%q %+v", got, changes)
	}
	w.must(catalog.TrimChanges{UpTo: changes[2].Index})
	rest, err := catalog.Changes(w.log.Store, 0, 0, 100)
	if err != nil || len(rest) != 2 || rest[0].Index != changes[3].Index {
		t.Fatalf("%+v %v", rest, err)
	}
	w.refused(catalog.TrimChanges{UpTo: w.log.Index() + 100}, tracker.ErrInvalid)
}
