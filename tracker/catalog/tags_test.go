package catalog_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

func tagsOf(pairs ...string) (tags []tracker.Field) {
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, tracker.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return tags
}

// TestTagsChangeNothingElse changes tags of every kind of version, current or
// not, and holds all that is not a tag to what it was.
func TestTagsChangeNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	set := func(key, version string, tags []tracker.Field) any {
		w.now += 5000
		return w.do(catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b, Key: key, Version: version, Tags: tags}})
	}
	w.put(w.inline(b, "k", 1))
	if id := set("k", "", tagsOf("a", "1")); id != "" {
		t.Fatalf("answered %v before the bucket versioned", id)
	}
	w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	p := &tracker.PutObject{Bucket: b, Key: "k", Meta: meta(120, 1)}
	p.Tags = tagsOf("old", "")
	for range 12 {
		p.Blobs = append(p.Blobs, w.blob(10))
	}
	w.put(p)
	ref := w.upload(b, "k", tracker.Meta{Tags: tagsOf("up", "load")})
	part := w.part(ref, 1, []byte("abc"), 0)
	w.must(catalog.PutPart{PutPart: part})
	cmd, err := w.prepare(&tracker.CompleteUpload{UploadRef: ref, Size: -1, Parts: []tracker.CompletePart{{Number: 1, ETag: part.ETag}}})
	if err != nil {
		t.Fatal(err)
	}
	w.must(cmd)
	w.put(w.inline(b, "k", 3))
	w.fine()

	page, err := catalog.ListVersions(w.log.Store, &tracker.ListVersions{Bucket: b, Max: 10})
	if err != nil || len(page.Entries) != 4 {
		t.Fatal(page, err)
	}
	usage, _ := catalog.Usage(w.log.Store, b)
	wasTags := [][]tracker.Field{nil, tagsOf("up", "load"), tagsOf("old", ""), tagsOf("a", "1")}
	for i, e := range page.Entries {
		before, err := w.get(b, "k", e.ID)
		if err != nil || !slices.Equal(before.Tags, wasTags[i]) {
			t.Fatalf("%s: %v %v, want %v", e.ID, before.Tags, err, wasTags[i])
		}
		for _, tags := range [][]tracker.Field{tagsOf("x", "y", "é", strings.Repeat("v", 1000)), tagsOf("z", ""), nil} {
			if id := set("k", e.ID, tags); id != e.ID {
				t.Fatalf("answered %v, want %s", id, e.ID)
			}
			got, err := w.get(b, "k", e.ID)
			if err != nil || !slices.Equal(got.Tags, tags) {
				t.Fatalf("%v %v, want %v", got.Tags, err, tags)
			}
			got.Tags, before.Tags = nil, nil
			if !reflect.DeepEqual(got, before) {
				t.Fatalf("%+v, was %+v", got, before)
			}
		}
		w.fine()
	}
	after, _ := catalog.ListVersions(w.log.Store, &tracker.ListVersions{Bucket: b, Max: 10})
	if u, _ := catalog.Usage(w.log.Store, b); u != usage || !reflect.DeepEqual(after, page) {
		t.Fatalf("usage %+v, was %+v; versions %+v, were %+v", u, usage, after, page)
	}
	changes, err := catalog.Changes(w.log.Store, 0, 0, 100)
	if c := changes[len(changes)-1]; err != nil || c.Op != catalog.ChangeTags || c.Key != "k" || c.Delta != 0 || c.Seq != page.Entries[3].Seq || c.Prev != page.Entries[0].Seq {
		t.Fatalf("%+v %v", c, err)
	}
}

func TestTagsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	set := func(key, version string, tags []tracker.Field) catalog.Command {
		return catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b, Key: key, Version: version, Tags: tags}}
	}
	w.refused(set("none", "", nil), tracker.ErrNoSuchKey)
	w.refused(set("none", "null", nil), tracker.ErrNoSuchVersion)
	w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	v := w.put(w.inline(b, "k", 1))
	d := w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}}).(*tracker.DeleteResult)
	w.refused(set("k", "", nil), tracker.ErrDeleteMarker)
	w.refused(set("k", d.VersionID, nil), tracker.ErrDeleteMarker)
	w.refused(set("k", "null", nil), tracker.ErrNoSuchVersion)
	w.refused(set("other", v.VersionID, nil), tracker.ErrNoSuchVersion)
	w.must(set("k", v.VersionID, tagsOf("a", "b")))
	var many []tracker.Field
	for range tracker.MaxTags + 1 {
		many = append(many, tracker.Field{Name: "k"})
	}
	w.refused(set("k", v.VersionID, many), tracker.ErrInvalid)
	w.refused(set("k", v.VersionID, tagsOf("a", strings.Repeat("v", 65<<10))), tracker.ErrInvalid)
	p := w.inline(b, "k", 1)
	p.Tags = many
	w.refused(catalog.Put{PutObject: p}, tracker.ErrInvalid)
	w.refused(catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b + 1, Key: "k"}}, tracker.ErrNoSuchBucket)
	late := w.header()
	late.NotAfter = w.now
	w.now += 1000
	w.must(catalog.RaiseTime{To: w.now})
	if err, _ := w.with(late, set("k", v.VersionID, nil)).(error); !errors.Is(err, tracker.ErrExpired) {
		t.Fatal(err)
	}
	w.fine()
}

// TestTagsAtMostOnce tries a command again after another one changed the same
// tags, and after its bucket or object went.
func TestTagsAtMostOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	v := w.put(w.inline(b, "k", 1))
	h := w.header()
	first := catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b, Key: "k", Tags: tagsOf("a", "first")}}
	if id := w.with(h, first); id != v.VersionID {
		t.Fatal(id)
	}
	w.must(catalog.SetTags{SetTags: &tracker.SetTags{Bucket: b, Key: "k", Tags: tagsOf("a", "second")}})
	if id := w.with(h, first); id != v.VersionID {
		t.Fatalf("again: %v", id)
	}
	if o, err := w.get(b, "k", ""); err != nil || !slices.Equal(o.Tags, tagsOf("a", "second")) {
		t.Fatalf("%v %v", o.Tags, err)
	}
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "k"}})
	if id := w.with(h, first); id != v.VersionID {
		t.Fatalf("after a deletion: %v", id)
	}
	w.fine()
}

// TestTagsOfNewVersions: a new version has the tags it is given and no
// others, and a copy by reference takes none by itself.
func TestTagsOfNewVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	tags := func(key string, want []tracker.Field) {
		t.Helper()
		if o, err := w.get(b, key, ""); err != nil || !slices.Equal(o.Tags, want) {
			t.Errorf("%s: %v %v, want %v", key, o.Tags, err, want)
		}
	}
	p := w.inline(b, "k", 1)
	p.Tags = tagsOf("a", "1", "b", "2")
	r := w.put(p)
	tags("k", p.Tags)
	src := &tracker.Ref{Bucket: b, Key: "k", Seq: r.Seq}
	w.put(&tracker.PutObject{Bucket: b, Key: "same", Meta: tracker.Meta{Tags: p.Tags}, Source: src})
	tags("same", p.Tags)
	w.put(&tracker.PutObject{Bucket: b, Key: "none", Source: src})
	tags("none", nil)
	w.put(w.inline(b, "k", 1))
	tags("k", nil)
	w.fine()
}

// TestTagsNeedTheirVersion: a command that carries tags says so in its head,
// so that a release that does not know them stops instead of differing.
func TestTagsNeedTheirVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.inline(1, "k", 1)
	if enc := catalog.Encode(nil, catalog.Header{}, catalog.Put{PutObject: p}); enc[1] != 1 {
		t.Errorf("version %d without tags", enc[1])
	}
	p.Tags = tagsOf("a", "b")
	up := &tracker.CreateUpload{Bucket: 1, Key: "k", Meta: p.Meta}
	for _, c := range []catalog.Command{catalog.Put{PutObject: p}, catalog.CreateUpload{CreateUpload: up}} {
		if enc := catalog.Encode(nil, catalog.Header{}, c); enc[1] != 2 {
			t.Errorf("%T: version %d with tags", c, enc[1])
		}
	}
}
