package cluster

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/cmd/cluster"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/tests/harness"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// TestSpaceAfterCrashes cuts a thousand uploads off in the middle, PUTs and
// parts, half of them by killing the gateways that take them. Once tickets have
// expired and the quarantine has passed, the disks of the nodes hold what the
// catalog references and 1 % at most.
func TestSpaceAfterCrashes(t *testing.T) {
	lengthy(t)
	// Tickets and the readers' grace are short; the nodes' clocks jump, so that
	// they look for quarantines that ended more often than every ten minutes.
	const ticketLife = 15 * time.Second
	clk := harness.NewClock()
	r := harness.StartRoles(t, harness.RolesOptions{Gateways: -1, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rs-2+2", Nodes: 4}},
		Tracker: func(_ string, c *cluster.TrackerConfig) {
			c.Tune.TicketLife, c.Tune.Grace = ticketLife, time.Second
		},
		Storage: func(_ string, c *cluster.StorageConfig) {
			c.Clock, c.Reserve = clk, -1
			c.Limits = node.Limits{VolumeSize: 32 << 20, Quarantine: time.Second, DisownBytes: 1 << 40, DisownShards: 1 << 20,
				RewriteRate: -1, SpaceEvery: 500 * time.Millisecond, ScrubEvery: -1}
		}})
	gw := r.GatewayProcesses(2)
	var raws []*harness.Raw
	for _, g := range gw.Gateways {
		raws = append(raws, g.Raw())
	}
	raws[0].Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	for i := range 20 {
		raws[i%2].Must(t, http.StatusOK, "PUT", harness.Path("bucket", fmt.Sprint("kept-", i)), "", body(fmt.Sprint(i), 6<<20))
	}
	var uploads []string // open ones of the key "open", each with a part that was acknowledged
	for range 4 {
		a := raws[0].Must(t, http.StatusOK, "POST", harness.Path("bucket", "open"), harness.Query("uploads", ""), nil)
		var up struct{ UploadId string }
		if err := xml.Unmarshal(a.Body, &up); err != nil {
			t.Fatal(err)
		}
		uploads = append(uploads, up.UploadId)
		raws[1].Must(t, http.StatusOK, "PUT", harness.Path("bucket", "open"), harness.Query("partNumber", "1", "uploadId", up.UploadId), body("part", 5<<20))
	}
	began := time.Now()
	cut := crash(t, gw, uploads, 1000)
	full := shardBytes(t, r)
	t.Logf("%d uploads ended in the middle in %v; %d MiB on the nodes", cut, time.Since(began).Round(time.Millisecond), full>>20)

	var used, referenced int64
	defer func() {
		t.Logf("%d kB are on the nodes, the catalog references %d kB: %+.2f %%, after %v", used>>10, referenced>>10,
			100*float64(used-referenced)/float64(referenced), time.Since(began).Round(time.Second))
	}()
	harness.Until(t, 5*time.Minute, "the nodes hold what the catalog references and 1 %", func() bool {
		clk.Jump(10 * time.Minute)
		referenced = references(t, r)
		used = shardBytes(t, r)
		// A node has the header of a volume and directories beside.
		return used <= referenced*101/100+int64(len(r.Storage))*64<<10
	})
	if low := int64(20*12<<20 + 4*10<<20); used < low {
		t.Errorf("%d bytes are less than what was acknowledged takes", used)
	}
	t.Logf("reconcile: %+v", r.Leader().Tracker().Workers().Findings())
	for i := range 20 {
		if a := raws[i%2].Must(t, http.StatusOK, "GET", harness.Path("bucket", fmt.Sprint("kept-", i)), "", nil); !bytes.Equal(a.Body, body(fmt.Sprint(i), 6<<20)) {
			t.Errorf("object %d has other bytes", i)
		}
	}
	for _, id := range uploads { // a committed part is a reference, however old its ticket is
		a := raws[0].Must(t, http.StatusOK, "GET", harness.Path("bucket", "open"), harness.Query("uploadId", id), nil)
		if !bytes.Contains(a.Body, []byte("<PartNumber>1<")) {
			t.Errorf("upload %s has lost its part: %s", id, a.Body)
		}
	}
}

// crash begins n uploads and ends each in the middle: clients go away, or their
// gateway is killed. It returns how many there were.
func crash(t *testing.T, gw *harness.Cluster, uploads []string, n int) int64 {
	t.Helper()
	var next, cut atomic.Int64
	var wg sync.WaitGroup
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	fate := make([]float64, n)
	for i := range fate {
		fate[i] = rng.Float64()
	}
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				size := []int{20_000, 200_000, 1_500_000}[i%3]
				path, query := harness.Path("bucket", fmt.Sprint("cut-", i)), ""
				if i%4 == 0 {
					path, query = harness.Path("bucket", "open"), harness.Query("partNumber", "2", "uploadId", uploads[i%int64(len(uploads))])
				}
				part := int(float64(size) * fate[i-1])
				if i%5 == 0 { // all of it, and nobody waits: its gateway may be killed between the seal and the commit
					part = size
				}
				g := gw.Gateways[i%int64(len(gw.Gateways))]
				for try := 0; try < 100 && begin(t, g.Addr, path, query, size, part) != nil; try++ {
					<-time.After(50 * time.Millisecond) // the gateway is being started again
				}
				cut.Add(1)
			}
		})
	}
	for k := range 6 {
		at := int64((k + 1) * n / 7)
		harness.Until(t, time.Minute, "uploads are under way", func() bool { return next.Load() >= at })
		gw.Gateways[k%2].Restart()
	}
	wg.Wait()
	gw.WaitReady()
	return cut.Load()
}

// begin sends a part of an upload's body and goes away.
func begin(t *testing.T, addr, path, query string, size, part int) error {
	url := "http://" + addr + path
	if query != "" {
		url += "?" + query
	}
	req, err := http.NewRequest("PUT", url, nil)
	if err != nil {
		return err
	}
	sigv4.Sign(req, harness.User, harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.URL.RequestURI(), req.URL.Host, size); err != nil {
		return err
	}
	if err := req.Header.Write(c); err != nil {
		return err
	}
	_, _ = c.Write(append([]byte("\r\n"), body(path, part)...)) // cut by the gateway's end is cut too
	return nil
}

// shardBytes is what the shards on the nodes' disks take.
func shardBytes(t *testing.T, r *harness.Roles) int64 {
	t.Helper()
	var dirs []string
	for _, p := range r.Storage {
		dirs = append(dirs, filepath.Join(p.Dir, "volumes"), filepath.Join(p.Dir, "blobs"))
	}
	return harness.DiskUse(t, dirs...).Allocated
}

// references adds up the shards that the catalog places.
func references(t *testing.T, r *harness.Roles) (sum int64) {
	t.Helper()
	err := r.Leader().Tracker().Catalog().View(t.Context(), func(v kv.Reader) error {
		sum = 0
		return catalog.Blobs(v, storage.IDRange{}, func(b *catalog.BlobState) bool {
			for _, p := range b.Shards {
				if p.Node != 0 && !b.Dying {
					sum += b.Scheme.ShardSize(b.Length)
				}
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
