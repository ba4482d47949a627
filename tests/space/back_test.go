package space

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/cmd/allinone"
	"holdfast/erasure"
	"holdfast/storage/node"
	"holdfast/tests/harness"
)

// data is what the nodes' shards take on disk: volumes and shard files.
func data(t *testing.T, dirs []string) harness.Disk {
	t.Helper()
	var subs []string
	for _, d := range dirs {
		subs = append(subs, filepath.Join(d, "volumes"), filepath.Join(d, "blobs"))
	}
	return harness.DiskUse(t, subs...)
}

// TestSpaceGivenBack deletes 90 % of many objects and then all, and cuts
// uploads half-way: after the grace period the blocks allocated are those of
// what is referenced, and 5 % at most.
func TestSpaceGivenBack(t *testing.T) {
	if testing.Short() {
		t.Skip("writes gigabytes")
	}
	t.Parallel()
	clk := harness.NewClock()
	s := harness.StartLocal(t, harness.LocalOptions{Options: harness.Options{Dirs: 4, Scheme: "rs-2+2"}, Clock: clk, InlineLimit: -1,
		Tune: allinone.Tune{Ballast: -1, TicketLife: time.Hour, Node: node.Limits{VolumeSize: 32 << 20, Quarantine: 2 * time.Hour, RewriteRate: -1, SpaceEvery: 500 * time.Millisecond}}})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/back", "", nil)
	n := scaled(100_000, 10_000)
	sizes := []int{4 << 10, 9 << 10, 16 << 10, 64 << 10}
	large := scaled(200, 20)
	var keys []string
	size := map[string]int{}
	for i := range n + large {
		keys = append(keys, fmt.Sprintf("k/%d", i))
		if size[keys[i]] = sizes[i%len(sizes)]; i >= n {
			size[keys[i]] = 5 << 20
		}
	}
	each(t, 64, n+large, func(i int) error { return put(r, "/back/"+keys[i], body(i, size[keys[i]])) })
	cutUploads(t, s, scaled(1000, 200))
	abortUploads(t, r, scaled(100, 20))
	full := data(t, s.Dirs)
	t.Logf("%d objects and cut uploads: %d MiB in %d files, %.0f shards", n+large, full.Allocated>>20, full.Files, shards(s))

	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	keep := len(keys) / 10
	deleteAll(t, r, "back", keys[keep:])
	scheme := erasure.Scheme{Data: 2, Parity: 2}
	var referenced int64
	for _, k := range keys[:keep] {
		referenced += int64(scheme.Width()) * scheme.ShardSize(int64(size[k]))
	}
	givenBack(t, s, clk, referenced, "after 90 % were deleted")
	for _, k := range keys[:keep:keep] {
		if a, err := r.Do("HEAD", "/back/"+k, "", nil); err != nil || a.Status != 200 {
			t.Fatalf("%s is gone: %v, %v", k, a, err)
		}
	}
	deleteAll(t, r, "back", keys[:keep])
	givenBack(t, s, clk, 0, "after all were deleted")
	swept(t, s, clk)
	s.Stop()
	harness.TakeCensus(t, s.Dirs[0]).Clean(t)
}

func shards(s *harness.Local) float64 { return harness.Sum(s.Metrics(), "holdfast_node_shards") }

// givenBack lets the grace period pass and waits until the disks hold no more
// than what so many bytes of shards take, and 5 %.
func givenBack(t *testing.T, s *harness.Local, clk *harness.Clock, referenced int64, when string) {
	t.Helper()
	began := time.Now()
	slack := int64(len(s.Dirs)) * 64 << 10 // directories, the header of a volume each, and a straggler's shard here and there
	var d harness.Disk
	for i := range 80 {
		step := 10 * time.Minute
		if i >= 60 {
			step = 8 * time.Hour // a shard that came too late, on a busy machine
		}
		s.Pass(clk, step)
		if d = data(t, s.Dirs); d.Allocated <= referenced*105/100+slack {
			break
		}
	}
	t.Logf("%s: %.1f MiB referenced, %.1f MiB allocated in %d files, %.0f shards, after %v; in all: %s", when, float64(referenced)/(1<<20),
		float64(d.Allocated)/(1<<20), d.Files, shards(s), time.Since(began).Round(time.Millisecond), breakdown(t, s.Dirs))
	if d.Allocated > referenced*105/100+slack {
		t.Errorf("%s: %d bytes are allocated for %d referenced", when, d.Allocated, referenced)
	}
}

// swept lets days pass until no shard is left that nothing refers to: a node
// that was too late with a shard leaves it, and the walk over all shards finds
// it within a week, and a day of quarantine later it goes.
func swept(t *testing.T, s *harness.Local, clk *harness.Clock) {
	t.Helper()
	for range 40 {
		if shards(s) == 0 {
			return
		}
		s.Pass(clk, 6*time.Hour)
	}
	t.Errorf("%.0f shards are left after ten days, and no object is", shards(s))
}

// cutUploads ends uploads in the middle of their bodies.
func cutUploads(t *testing.T, s *harness.Local, n int) {
	t.Helper()
	each(t, 32, n, func(i int) error {
		size := []int{20_000, 200_000, 3 << 20}[i%3]
		req, err := http.NewRequest("PUT", fmt.Sprintf("%s/back/cut-%d", s.Endpoint(), i), nil)
		if err != nil {
			return err
		}
		sigv4.Sign(req, harness.User, harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.URL.RequestURI(), req.URL.Host, size); err != nil {
			return err
		}
		if err := req.Header.Write(c); err != nil {
			return err
		}
		_, err = c.Write(append([]byte("\r\n"), body(i, size/2)...))
		return err
	})
}

// abortUploads leaves no object, but parts that were acknowledged.
func abortUploads(t *testing.T, r *harness.Raw, n int) {
	t.Helper()
	each(t, 8, n, func(i int) error {
		path := fmt.Sprintf("/back/multi-%d", i)
		a, err := r.Do("POST", path, "uploads=", nil)
		if err != nil {
			return err
		}
		var started struct{ UploadId string }
		if err := xml.Unmarshal(a.Body, &started); err != nil {
			return err
		}
		for part := range 3 {
			q := harness.Query("partNumber", fmt.Sprint(part+1), "uploadId", started.UploadId)
			if a, err := r.Do("PUT", path, q, body(i, 1<<20)); err != nil || a.Status != 200 {
				return fmt.Errorf("part: %v, %v", a, err)
			}
		}
		a, err = r.Do("DELETE", path, harness.Query("uploadId", started.UploadId), nil)
		if err == nil && a.Status != 204 {
			err = fmt.Errorf("abort: status %d", a.Status)
		}
		return err
	})
}
