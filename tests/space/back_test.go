package space

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/cmd/allinone"
	"holdfast/erasure"
	"holdfast/storage"
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
// what is referenced, and 5 % at most, and beside that what a server takes for
// itself (see own).
func TestSpaceGivenBack(t *testing.T) {
	if testing.Short() {
		t.Skip("writes gigabytes")
	}
	t.Parallel()
	clk := harness.NewClock()
	s := harness.StartLocal(t, harness.LocalOptions{Options: harness.Options{Dirs: 4, Scheme: "rs-2+2"}, Clock: clk, InlineLimit: -1,
		Tune: allinone.Tune{Ballast: -1, Reserve: -1, TicketLife: time.Hour, Node: node.Limits{VolumeSize: 32 << 20, Quarantine: 2 * time.Hour, RewriteRate: -1, SpaceEvery: 500 * time.Millisecond}}})
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

// own is what the directories of a server may take that holds nothing, once it
// is at rest. Its databases keep the files of their logs to use them again: 27
// MiB of each node's index, 53 MiB of each copy of the catalog, which also
// keeps 16 MiB of commands for a copy that is behind.
func own(dirs int) int64 { return int64(dirs)*32<<20 + int64(min(dirs, 3))*80<<20 }

// grace is how long readers may hold what was deleted.
const grace = 10 * time.Minute

// collected waits until the shards are deleted whose grace has ended: time
// that passes in jumps must not outrun the work.
func collected(t *testing.T, s *harness.Local, clk *harness.Clock) {
	t.Helper()
	harness.Until(t, 10*time.Minute, "what was deleted is collected", func() bool {
		q := s.Status().Queues["garbage"]
		return q.Length == 0 || q.Oldest > clk.Now().Add(-grace).UnixMilli()
	})
}

// settle is how long tickets live and a quarantine lasts, and an hour more for
// the looks at both: what a write left that was cut off is gone by then.
const settle = 4 * time.Hour

// givenBack lets the grace pass, and as much time more as orphans need where
// there are some, until the disks hold no more than what so many bytes of
// shards take, and 5 %. The work that this is may take minutes.
func givenBack(t *testing.T, s *harness.Local, clk *harness.Clock, referenced int64, when string) {
	t.Helper()
	began, passed := time.Now(), time.Duration(0)
	limit := referenced * 105 / 100
	slack := int64(len(s.Dirs)) * 64 << 10 // directories, and the header of a volume each
	var d harness.Disk
	harness.Until(t, 15*time.Minute, when+": the shards' space is given back", func() bool {
		if d = data(t, s.Dirs); d.Allocated <= limit+slack {
			return true
		}
		if passed < settle {
			s.Pass(clk, grace)
			passed += grace
			collected(t, s, clk)
		}
		return false
	})
	t.Logf("%s: %.1f MiB referenced, %.1f MiB allocated in %d files, %.0f shards, after %v and %v of catalog time", when, float64(referenced)/(1<<20),
		float64(d.Allocated)/(1<<20), d.Files, shards(s), time.Since(began).Round(time.Millisecond), passed)
	limit += own(len(s.Dirs))
	harness.Until(t, 3*time.Minute, when+": the server's own space is given back", func() bool { return use(t, s.Dirs).Allocated <= limit })
	t.Logf("%s: %.1f MiB are allocated in all, %.1f MiB may be: %s", when, float64(use(t, s.Dirs).Allocated)/(1<<20), float64(limit)/(1<<20), breakdown(t, s.Dirs))
}

// swept lets the tickets expire and the quarantine end until no shard is left
// that nothing refers to. The walk over all shards has no part in it: it comes
// round within a week.
func swept(t *testing.T, s *harness.Local, clk *harness.Clock) {
	t.Helper()
	for range settle / grace {
		if shards(s) == 0 {
			return
		}
		s.Pass(clk, grace)
	}
	t.Errorf("shards are left, and no object is:\n%s", leftovers(t, s))
}

// leftovers describes the shards that the nodes have.
func leftovers(t *testing.T, s *harness.Local) string {
	t.Helper()
	var b strings.Builder
	st := s.Status()
	fmt.Fprintf(&b, "fence %d, queues %+v\n", st.Fence, st.Queues)
	for i := range st.Map.Nodes {
		api, err := s.All.Nodes().Shards(st.Map.Nodes[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		list, err := api.List(t.Context(), storage.IDRange{}, storage.ShardID{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			fmt.Fprintf(&b, "node %d: %s of %d bytes, expires at %d, in quarantine since %d\n", api.Node(), l.ID, l.Seal.Length, l.Expiry, l.Quarantined)
		}
	}
	return b.String()
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
