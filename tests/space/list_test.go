package space

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// filled is a catalog of two buckets, a small and a large one, without a log.
type filled struct {
	t       *testing.T
	store   *kv.Store
	machine *catalog.Machine
	index   uint64
	at      int64
}

func newFilled(t *testing.T) *filled {
	t.Helper()
	store, err := kv.Open(vfs.OS(), filepath.Join(t.TempDir(), "state"), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &filled{t: t, store: store, machine: catalog.NewMachine(), at: time.Now().UnixMilli()}
}

// apply applies commands as one entry of a log.
func (f *filled) apply(cmds ...[]byte) []any {
	f.t.Helper()
	f.index++
	f.at++
	tx := f.store.Begin()
	results, err := f.machine.Apply(tx, f.index, cmds)
	if err == nil {
		err = tx.Commit(false)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	for _, r := range results {
		if err, bad := r.(error); bad {
			f.t.Fatal(err)
		}
	}
	return results
}

func (f *filled) header() catalog.Header {
	h := catalog.Header{At: f.at}
	for i := range 8 {
		h.Request[i], h.Request[8+i] = byte(f.index>>(8*i)), byte(i)
	}
	return h
}

// bucket makes a bucket with n keys that key makes of their numbers.
func (f *filled) bucket(name string, n int, key func(i int) string) tracker.BucketID {
	f.t.Helper()
	made := f.apply(catalog.Encode(nil, f.header(), catalog.CreateBucket{CreateBucket: &tracker.CreateBucket{Name: name, Owner: "root"}}))
	b, ok := made[0].(*catalog.BucketResult)
	if !ok || b.Existed {
		f.t.Fatalf("%T for a new bucket", made[0])
	}
	const batch = 2000
	cmds := make([][]byte, 0, batch)
	for i := 0; i < n; i++ {
		p := &tracker.PutObject{Bucket: b.Bucket.ID, Key: key(i), Meta: tracker.Meta{ETag: "d41d8cd98f00b204e9800998ecf8427e"}}
		h := f.header()
		h.Request[9], h.Request[10], h.Request[11] = byte(i), byte(i>>8), byte(i>>16)
		cmds = append(cmds, catalog.Encode(nil, h, catalog.Put{PutObject: p}))
		if len(cmds) == batch || i == n-1 {
			f.apply(cmds...)
			cmds = cmds[:0]
		}
	}
	return b.Bucket.ID
}

// groups is the number of top prefixes that the keys of a bucket have.
const groups = 8

func key(i int) string { return fmt.Sprintf("%02d/%03d/%09d.jpg", i%groups, i%1000, i) }

// page lists from several places and returns the time of a page of 1,000
// keys, the best of some rounds.
func (f *filled) page(id tracker.BucketID) time.Duration {
	f.t.Helper()
	best := time.Hour
	for range 8 {
		began := time.Now()
		for g := range groups {
			page, err := catalog.ListObjects(f.store, &tracker.ListObjects{Bucket: id, Max: 1000, After: fmt.Sprintf("%02d/", g)})
			if err != nil || len(page.Entries) != 1000 {
				f.t.Fatalf("%d entries: %v", len(page.Entries), err)
			}
		}
		best = min(best, time.Since(began)/groups)
	}
	return best
}

// TestListingsDoNotFeelSize lists a large bucket about as fast as a small
// one, and takes few steps for a common prefix, however many keys are under it.
func TestListingsDoNotFeelSize(t *testing.T) {
	t.Parallel()
	f := newFilled(t)
	few, many := 10_000, scaled(1_000_000, 200_000)
	if testing.Short() {
		many = 50_000
	}
	small := f.bucket("small", few, key)
	began := time.Now()
	large := f.bucket("large", many, key)
	t.Logf("%d keys in %v", many, time.Since(began).Round(time.Millisecond))
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	ratio := 0.0
	for range 4 { // a machine that others use may be slow for one of them
		a, b := f.page(small), f.page(large)
		ratio = float64(b) / float64(a)
		t.Logf("a page of 1,000 keys: %v of %d, %v of %d keys, x %.2f", a, few, b, many, ratio)
		if ratio <= 2 {
			break
		}
	}
	if ratio > 2 {
		t.Errorf("a page of the large bucket takes %.2f times as long", ratio)
	}
	for prefix, want := range map[string]int{"": groups, "03/": 1000 / groups} {
		page, err := catalog.ListObjects(f.store, &tracker.ListObjects{Bucket: large, Prefix: prefix, Delimiter: "/", Max: 1000})
		if err != nil || len(page.Entries) != want {
			t.Fatalf("prefix %q: %d entries, want %d: %v", prefix, len(page.Entries), want, err)
		}
		steps := float64(page.Steps) / float64(want)
		t.Logf("prefix %q of %d keys: %d common prefixes, %.1f steps each", prefix, many, want, steps)
		if steps > 20 {
			t.Errorf("prefix %q: %.1f steps a common prefix", prefix, steps)
		}
	}
}
