// Package space measures what a server takes for what it is given: disk and
// files for small objects, syncs for many writers, steps for a listing, and
// what it gives back when objects go.
package space

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/erasure"
	"holdfast/tests/harness"
)

// scaled is full in the long form of the tests, else short.
func scaled(full, short int) int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return full
	}
	return short
}

// body returns n bytes that do not compress, different for each i.
func body(i, n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(i), uint64(n)))
	for at := 0; at < n; at += 8 {
		v := rng.Uint64()
		for j := at; j < min(at+8, n); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return b
}

// each calls f for 0 to n-1 from so many writers, and stops at an error.
func each(t *testing.T, writers, n int, f func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.Store(true)
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func put(r *harness.Raw, path string, b []byte) error {
	a, err := r.Do("PUT", path, "", b)
	if err == nil && a.Status != 200 {
		err = fmt.Errorf("PUT %s: status %d: %.200s", path, a.Status, a.Body)
	}
	return err
}

// use is what a server's directories take, what is kept back for bad days (the
// ballast) aside.
func use(t *testing.T, dirs []string) harness.Disk {
	t.Helper()
	d := harness.DiskUse(t, dirs...)
	for _, dir := range dirs {
		for _, name := range []string{"ballast", "catalog/ballast"} {
			b := harness.DiskUse(t, filepath.Join(dir, name))
			d.Allocated -= b.Allocated
			d.Bytes -= b.Bytes
		}
	}
	return d
}

// settled waits until the use of the directories does not change any more.
func settled(t *testing.T, dirs []string) harness.Disk {
	t.Helper()
	last, since := use(t, dirs), time.Now()
	harness.Until(t, time.Minute, "the disk use comes to rest", func() bool {
		if now := use(t, dirs); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
	return last
}

// heldLog is what a copy of the catalog may keep of its log, whatever the size
// of the data: with a hundred thousand objects it is within the bound, with
// fewer it has to be counted apart.
const heldLog = 64 << 20

// TestSmallObjects writes many small objects: at most 1.3 times the data times
// the redundancy, and under a thousand files, with the inline limit as it is
// and at 0.
func TestSmallObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("writes gigabytes")
	}
	for _, tc := range []struct {
		name   string
		dirs   int
		scheme erasure.Scheme
		args   []string
		small  int
		large  int
	}{
		{"default inline limit", 1, erasure.Replicated(1), nil, scaled(100_000, 20_000), scaled(100_000, 10_000)},
		{"inline limit 0", 1, erasure.Replicated(1), []string{"--inline-limit", "0"}, scaled(100_000, 20_000), scaled(100_000, 0)},
		{"default inline limit, rs-2+2", 4, erasure.Scheme{Data: 2, Parity: 2}, nil, scaled(100_000, 2000), scaled(100_000, 4000)},
		{"inline limit 0, rs-2+2", 4, erasure.Scheme{Data: 2, Parity: 2}, []string{"--inline-limit", "0"}, scaled(100_000, 2000), scaled(100_000, 4000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Dirs: tc.dirs, Scheme: tc.scheme.String(), Args: tc.args})
			r := s.Raw()
			r.Must(t, 200, "PUT", "/small", "", nil)
			empty := use(t, s.Dirs)
			began := time.Now()
			each(t, 64, tc.small, func(i int) error { return put(r, fmt.Sprintf("/small/a/%d", i), body(i, 4<<10)) })
			each(t, 64, tc.large, func(i int) error { return put(r, fmt.Sprintf("/small/b/%d", i), body(i, 64<<10)) })
			t.Logf("written in %v", time.Since(began).Round(time.Millisecond))
			d := settled(t, s.Dirs)
			data := int64(tc.small)*4<<10 + int64(tc.large)*64<<10
			redundant := data * int64(tc.scheme.Width()) / int64(tc.scheme.Data)
			took := d.Allocated - empty.Allocated
			t.Logf("%d objects of 4 KiB and %d of 64 KiB: %d MiB of data, %d MiB with its redundancy, take %d MiB, x %.2f, in %d files: %s",
				tc.small, tc.large, data>>20, redundant>>20, took>>20, float64(took)/float64(redundant), d.Files, breakdown(t, s.Dirs))
			limit := redundant * 13 / 10
			if os.Getenv("HOLDFAST_SOAK") == "" {
				limit += int64(min(tc.dirs, 3)) * heldLog
			}
			if took > limit {
				t.Errorf("%d MiB of data take %d MiB, over %d MiB", data>>20, took>>20, limit>>20)
			}
			if d.Files >= 1000 {
				t.Errorf("%d files", d.Files)
			}
		})
	}
}

// breakdown tells what the parts of the directories take.
func breakdown(t *testing.T, dirs []string) string {
	var out []string
	for _, d := range dirs {
		for _, sub := range []string{"volumes", "blobs", "index", "catalog/log", "catalog/state"} {
			out = append(out, fmt.Sprintf("%s/%s %d KiB", filepath.Base(d), sub, harness.DiskUse(t, filepath.Join(d, sub)).Allocated>>10))
		}
	}
	return strings.Join(out, ", ")
}

// TestGroupCommit counts the syncs of 64 writers. The promise is well under
// 0.2 a PUT and node; the bound is three times that, since the machine is
// shared.
func TestGroupCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("writes for a quarter of a minute")
	}
	const writers, bound = 64, 0.6
	for _, o := range []harness.Options{{Dirs: 1, Scheme: "rep-1"}, {Dirs: 4, Scheme: "rs-2+2"}} {
		t.Run(o.Scheme, func(t *testing.T) {
			s := harness.Start(t, o)
			r := s.Raw()
			r.Must(t, 200, "PUT", "/group", "", nil)
			voters := float64(min(max(o.Dirs, 1), 3))
			for _, size := range []int{4 << 10, 16 << 10} {
				puts := 6400
				b := body(size, size)
				each(t, writers, writers, func(i int) error { return put(r, fmt.Sprintf("/group/warm-%d", i), b) })
				before := s.Metrics()
				each(t, writers, puts, func(i int) error { return put(r, fmt.Sprintf("/group/%d-%d", size, i), b) })
				after := s.Metrics()
				diff := func(name string) float64 { return harness.Sum(after, name) - harness.Sum(before, name) }
				data := diff("holdfast_node_syncs_total") / float64(puts) / float64(o.Dirs)
				log := diff("holdfast_catalog_log_syncs_total") / float64(puts) / voters
				t.Logf("%d writers of %d KiB, %s: %.3f syncs of data a PUT and node, %.3f of the log a PUT and copy", writers, size>>10, o.Scheme, data, log)
				if data > bound || log > bound {
					t.Errorf("%d KiB: %.3f and %.3f syncs, bound %.1f", size>>10, data, log, bound)
				}
				if log == 0 || size > 8<<10 && data == 0 {
					t.Errorf("%d KiB: acknowledged without a sync: data %.3f, log %.3f", size>>10, data, log)
				}
			}
		})
	}
}

// deleteAll deletes keys by DeleteObjects, a thousand at a time.
func deleteAll(t *testing.T, r *harness.Raw, bucket string, keys []string) {
	t.Helper()
	var doc bytes.Buffer
	for len(keys) > 0 {
		n := min(len(keys), 1000)
		doc.Reset()
		doc.WriteString("<Delete><Quiet>true</Quiet>")
		for _, k := range keys[:n] {
			doc.WriteString("<Object><Key>" + k + "</Key></Object>")
		}
		doc.WriteString("</Delete>")
		a := r.Must(t, 200, "POST", "/"+bucket, "delete=", doc.Bytes(), "Content-Md5", harness.MD5(doc.Bytes()))
		if bytes.Contains(a.Body, []byte("<Error>")) {
			t.Fatalf("DeleteObjects: %.500s", a.Body)
		}
		keys = keys[n:]
	}
}
