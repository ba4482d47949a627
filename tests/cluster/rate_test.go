package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// TestRate writes objects of 4 KiB through a gateway and three trackers: one
// after the other, to count the log entries that each takes, and by 64 clients
// at once, beside what the same disk can sync. The promise is one entry, and
// three times the disk's rate or 4,000 a second, whichever is less; the bound
// on the rate is a third of that, since the machine is shared.
func TestRate(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for ten seconds")
	}
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	content := body("x", 4<<10)
	put := func(key string) error {
		a, err := raw.Do("PUT", harness.Path("bucket", key), "", content)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("status %d: %.300s", a.Status, a.Body)
		}
		return err
	}

	const one = 200
	before := applied(t, c)
	for i := range one {
		if err := put(fmt.Sprint("one/", i)); err != nil {
			t.Fatal(err)
		}
	}
	entries := float64(applied(t, c)-before) / one
	t.Logf("%.2f log entries a PUT of 4 KiB, one after the other", entries)
	if entries < 1 || entries > 1.1 { // heartbeats and workers write too
		t.Errorf("%.2f log entries a PUT, want 1", entries)
	}

	disk := syncRate(t, c.Root)
	const clients = 64
	var done atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for w := range clients {
		wg.Go(func() {
			for i := 0; time.Since(began) < 5*time.Second; i++ {
				if err := put(fmt.Sprintf("many/%d-%d", w, i)); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	rate := float64(done.Load()) / time.Since(began).Seconds()
	want := min(3*disk, 4000)
	t.Logf("%d clients: %.0f PUT of 4 KiB a second, 3 trackers, %.2f times the %.0f syncs a second of the disk; promised %.0f", clients, rate, rate/disk, disk, want)
	if rate < want/3 {
		t.Errorf("%.0f PUT a second, want %.0f at the very least", rate, want/3)
	}
	if a := raw.Must(t, http.StatusOK, "GET", "/bucket/many/0-0", "", nil); !bytes.Equal(a.Body, content) {
		t.Error("other bytes")
	}
}

// applied is how many log entries the leading tracker has applied.
func applied(t *testing.T, c *harness.Cluster) uint64 {
	t.Helper()
	st, err := c.Gateways[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range st.Voters {
		if v.Leader {
			return v.Applied
		}
	}
	t.Fatal("no tracker leads")
	return 0
}

// syncRate is how many appended blocks of 4 KiB a second the disk under dir
// makes durable, one after the other.
func syncRate(t *testing.T, dir string) float64 {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "rate"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block, n, began := make([]byte, 4<<10), 0, time.Now()
	for time.Since(began) < 2*time.Second {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds()
}
