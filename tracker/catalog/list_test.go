package catalog_test

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"time"

	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

// oddKeys are keys that have broken listings elsewhere.
var oddKeys = []string{
	"a", "a/", "a//", "a//b", "a/b", "a/b/", "a/b/c", "a/b/c/d", "a0", "a-b", "a b", "a+b", "a%2fb", "a\\b", "A", "Z/z", "..", "../x", "./y", ".", "/", "//", "/a",
	"\x01", "a\x00", "a\x00b", "a\x00\x00", "a\x00\xff", "a\x01", "\x00", "\x00\x01", "é", "é/è", "日本", "日本/語", "\xf0\x9f\x98\x80", "~", "\x7f", "a\n", "a\tb", "zz/1",
	"zz/2", "zz/10", "zz0", "dir/", "dir", "dir/file", "dir/file/", "dir//file", "dir.txt", "dir-x", "\xff", "\xff\xff", "\xffa", "a\xff", "a\xff/x", "a\xff\xff", strings.Repeat("k", 1024)}

// mEntry is a row of a listing by the model.
type mEntry struct {
	key    string
	prefix bool
}

// listModel lists sorted keys as the contract says.
func listModel(keys []string, prefix, delimiter, after string, afterPrefix bool) (out []mEntry) {
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) || k <= after && after != "" || afterPrefix && strings.HasPrefix(k, after) {
			continue
		}
		if delimiter != "" {
			if i := strings.Index(k[len(prefix):], delimiter); i >= 0 {
				p := k[:len(prefix)+i+len(delimiter)]
				if len(out) == 0 || out[len(out)-1] != (mEntry{p, true}) {
					out = append(out, mEntry{p, true})
				}
				continue
			}
		}
		out = append(out, mEntry{k, false})
	}
	return out
}

func TestListAgainstModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, b, next := w.bucket("aaa"), w.bucket("bbb"), w.bucket("ccc")
	keys := append([]string(nil), oddKeys...)
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("many/%02d/x", i), fmt.Sprintf("many/%02d/y", i))
	}
	for i, k := range keys {
		w.put(w.inline(b, k, i))
	}
	for _, k := range []string{"a", "\x00", "\xff\xff\xff"} {
		w.put(w.inline(other, k, 1))
		w.put(w.inline(next, k, 1))
	}
	sort.Strings(keys)
	prefixes := append([]string{"", "a", "a/", "a/b", "many/", "many", "zz/", "\xff", "a\x00", "none", "/", "dir"}, keys[:5]...)
	for _, prefix := range prefixes {
		for _, delimiter := range []string{"", "/", "//", "\x00", "/b", "x", "\xff"} {
			for _, max := range []int{0, 1, 2, 7, 999, 1000, 5000} {
				checkList(t, w, b, keys, prefix, delimiter, max)
			}
		}
	}
	s := uint64(time.Now().UnixNano())
	t.Logf("seed %d", s)
	rnd := rand.New(rand.NewPCG(s, 1))
	for range 3000 {
		q := &tracker.ListObjects{Bucket: b, Max: 1 + rnd.IntN(70), After: keys[rnd.IntN(len(keys))], AfterPrefix: rnd.IntN(3) == 0,
			Prefix: prefixes[rnd.IntN(len(prefixes))], Delimiter: []string{"", "/", "b"}[rnd.IntN(3)]}
		if rnd.IntN(2) == 0 {
			q.After = q.After[:1+rnd.IntN(len(q.After))]
		}
		want := listModel(keys, q.Prefix, q.Delimiter, q.After, q.AfterPrefix)
		p, err := catalog.ListObjects(w.log.Store, q)
		if err != nil {
			t.Fatal(err)
		}
		comparePage(t, fmt.Sprintf("%+v", q), p, want, q.Max)
	}
}

func comparePage(t *testing.T, what string, p *tracker.ObjectPage, want []mEntry, max int) {
	t.Helper()
	if max = min(max, 1000); p.Truncated != (max > 0 && len(want) > max) {
		t.Fatalf("%s: truncated %v with %d of %d", what, p.Truncated, len(p.Entries), len(want))
	}
	if len(p.Entries) != min(len(want), max) {
		t.Fatalf("%s: %d entries, want %d", what, len(p.Entries), min(len(want), max))
	}
	prefixes := 0
	for i, e := range p.Entries {
		if e.Key != want[i].key || e.Prefix != want[i].prefix {
			t.Fatalf("%s: entry %d is %q %v, want %+v", what, i, e.Key, e.Prefix, want[i])
		}
		if e.Prefix {
			prefixes++
		} else if e.Size != 4 || len(e.ETag) != 32 || e.Modified == 0 || e.Algorithm == 0 {
			t.Fatalf("%s: %+v", what, e)
		}
	}
	if limit := 20*prefixes + len(p.Entries) + 2; p.Steps > limit {
		t.Fatalf("%s: %d steps, limit %d", what, p.Steps, limit)
	}
}

// checkList joins pages and compares them, and the first page by itself.
func checkList(t *testing.T, w *world, b tracker.BucketID, keys []string, prefix, delimiter string, max int) {
	t.Helper()
	what := fmt.Sprintf("prefix %q delimiter %q max %d", prefix, delimiter, max)
	want := listModel(keys, prefix, delimiter, "", false)
	q := &tracker.ListObjects{Bucket: b, Prefix: prefix, Delimiter: delimiter, Max: max}
	for {
		p, err := catalog.ListObjects(w.log.Store, q)
		if err != nil {
			t.Fatal(err)
		}
		comparePage(t, what, p, want, max)
		want = want[len(p.Entries):]
		if !p.Truncated {
			if max > 0 && len(want) > 0 {
				t.Fatalf("%s: %d entries are missing", what, len(want))
			}
			return
		}
		q.After, q.AfterPrefix = p.Next, p.NextPrefix
	}
}

func TestListCostOfCommonPrefixes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	var cmds [][]byte
	for i := range 20 {
		for k := range 500 {
			cmds = append(cmds, catalog.Encode(nil, w.header(), catalog.Put{PutObject: w.inline(b, fmt.Sprintf("p%02d/%04d", i, k), k)}))
		}
	}
	if _, err := w.log.Apply(cmds...); err != nil {
		t.Fatal(err)
	}
	p, err := catalog.ListObjects(w.log.Store, &tracker.ListObjects{Bucket: b, Delimiter: "/", Max: 1000})
	if err != nil || len(p.Entries) != 20 || p.Steps > 20*2 {
		t.Fatalf("%d entries in %d steps: %v", len(p.Entries), p.Steps, err)
	}
}

func TestListVersionsWithDelimiter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	w.must(catalog.SetVersioning{Bucket: b, State: tracker.VersioningEnabled})
	for i, k := range []string{"a/1", "a/1", "a/2", "b", "b", "c/1", "d"} {
		w.put(w.inline(b, k, i))
	}
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "c/1"}})
	w.must(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b, Key: "d"}})
	for max := 1; max < 9; max++ {
		var got []string
		q := &tracker.ListVersions{Bucket: b, Delimiter: "/", Max: max}
		for {
			p, err := catalog.ListVersions(w.log.Store, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Entries {
				got = append(got, fmt.Sprintf("%s %v %v %v", e.Key, e.Prefix, e.Marker, e.Current))
			}
			if !p.Truncated {
				break
			}
			q.KeyAfter, q.VersionAfter, q.AfterPrefix = p.NextKey, p.NextVersion, p.NextPrefix
		}
		want := "a/ true false false|b false false true|b false false false|c/ true false false|d false true true|d false false false"
		if strings.Join(got, "|") != want {
			t.Fatalf("max %d: %s", max, strings.Join(got, "|"))
		}
	}
}

func TestListUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bucket("b")
	var want, ids []string
	keys := []string{"a", "a", "a/x", "b/1", "b/2", "c", "c\x00"}
	for _, k := range keys {
		w.now += 10
		u := w.must(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b, Key: k, Owner: "me"}}).(*tracker.Upload)
		want, ids = append(want, k+" "+u.Upload), append(ids, u.Upload)
	}
	if !sort.StringsAreSorted(ids) {
		t.Fatal("upload ids do not order as text as they order in time")
	}
	walk := func(delimiter string, max int) (got []string) {
		q := &tracker.ListUploads{Bucket: b, Delimiter: delimiter, Max: max}
		for {
			p, err := catalog.ListUploads(w.log.Store, q)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Uploads)+len(p.Prefixes) > max {
				t.Fatal("page is over its bound")
			}
			got = append(got, p.Prefixes...)
			for _, u := range p.Uploads {
				got = append(got, u.Key+" "+u.Upload)
			}
			if !p.Truncated {
				return got
			}
			q.KeyAfter, q.UploadAfter, q.AfterPrefix = p.NextKey, p.NextUpload, p.NextPrefix
		}
	}
	for max := 1; max < 9; max++ {
		if got := walk("", max); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("max %d: %q", max, got)
		}
	}
	got := walk("/", 1)
	flat := append([]string{want[0], want[1], "a/", "b/"}, want[5:]...)
	if strings.Join(got, "|") != strings.Join(flat, "|") {
		t.Fatalf("%q, want %q", got, flat)
	}
}

func TestListBuckets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, n := range []string{"b1", "a", "b2", "c"} {
		w.bucket(n)
	}
	for _, c := range []struct {
		q    tracker.ListBuckets
		want string
		more bool
	}{{tracker.ListBuckets{Max: 10}, "a b1 b2 c", false}, {tracker.ListBuckets{Max: 2}, "a b1", true}, {tracker.ListBuckets{Max: 2, After: "b1"}, "b2 c", false},
		{tracker.ListBuckets{Max: 9, Prefix: "b"}, "b1 b2", false}, {tracker.ListBuckets{Max: 1, Prefix: "b", After: "a"}, "b1", true}, {tracker.ListBuckets{}, "", false}} {
		p, err := catalog.ListBuckets(w.log.Store, &c.q)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range p.Buckets {
			names = append(names, b.Name)
		}
		if strings.Join(names, " ") != c.want || p.Truncated != c.more {
			t.Errorf("%+v: %v %v", c.q, names, p.Truncated)
		}
	}
}

func BenchmarkList1000(b *testing.B) {
	w := newWorld(b)
	id := w.bucket("b")
	for from := 0; from < 20000; from += 500 {
		var cmds [][]byte
		for i := from; i < from+500; i++ {
			cmds = append(cmds, catalog.Encode(nil, w.header(), catalog.Put{PutObject: w.inline(id, fmt.Sprintf("some/path/key-%08d", i), i)}))
		}
		if _, err := w.log.Apply(cmds...); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.log.Store.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		p, err := catalog.ListObjects(w.log.Store, &tracker.ListObjects{Bucket: id, Max: 1000, After: fmt.Sprintf("some/path/key-%08d", n*997%18000)})
		if err != nil || len(p.Entries) != 1000 {
			b.Fatal(len(p.Entries), err)
		}
	}
}

func BenchmarkDelete(b *testing.B) {
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
		puts := make([][]byte, 64)
		for i := range cmds {
			key := fmt.Sprintf("key/%09d", n+i)
			puts[i] = catalog.Encode(nil, w.header(), catalog.Put{PutObject: &tracker.PutObject{Bucket: id, Key: key, Meta: meta(4096, i), Inline: body}})
			cmds[i] = catalog.Encode(nil, w.header(), catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: id, Key: key}})
		}
		if _, err := w.log.Apply(puts...); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := w.log.Apply(cmds...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	w := newWorld(b)
	id := w.bucket("b")
	blob := w.blob(1 << 20)
	w.put(&tracker.PutObject{Bucket: id, Key: "k", Meta: meta(1<<20, 1), Blobs: []tracker.NewBlob{blob}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.get(id, "k", ""); err != nil {
			b.Fatal(err)
		}
	}
}
