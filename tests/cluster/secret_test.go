package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/peer"
	"holdfast/tests/harness"
)

// TestChangeSecret gives a cluster another secret while clients write and read:
// each process is restarted once with both, storage first, then trackers, then
// gateways, and once more with the new one alone. Empty directories join then.
func TestChangeSecret(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 2, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 4}}})
	st, err := c.Gateways[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	id, next := st.Map.Cluster, peer.NewSecret()
	raw := c.Gateways[1].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	var mu sync.Mutex
	written := map[string][]byte{}
	write := func(key string, n int) error {
		want := body(key, n)
		a, err := raw.Do("PUT", harness.Path("bucket", key), "", want)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("status %d: %.200s", a.Status, a.Body)
		}
		if err == nil {
			mu.Lock()
			written[key] = want
			mu.Unlock()
		}
		return err
	}
	readable := func() {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for key, want := range written {
			if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
				t.Fatalf("%s has other bytes", key)
			}
		}
	}
	if err := write("before", 200_000); err != nil {
		t.Fatal(err)
	}

	roll := func(phase string, env ...string) {
		t.Helper()
		for _, p := range append(append(append([]*harness.Process(nil), c.Storage...), c.Trackers...), c.Gateways...) {
			// Clients have two gateways; the one that these use is the last to go.
			stop := make(chan struct{})
			var wg sync.WaitGroup
			if p != c.Gateways[1] {
				wg.Go(func() {
					for i := 0; i < 200; i++ {
						select {
						case <-stop:
							return
						case <-time.After(20 * time.Millisecond):
						}
						if err := write(fmt.Sprintf("%s-%s-%d", phase, p.Name, i), []int{100, 30_000}[i%2]); err != nil {
							t.Errorf("%s, while %s restarts: %v", phase, p.Name, err)
							return
						}
					}
				})
			}
			p.Stop()
			p.Env(env...)
			p.Launch()
			c.WaitReady()
			if p.Role == "storage" || p.Role == "tracker" {
				harness.Until(t, 30*time.Second, p.Name+" works again", func() bool { return healthy(c, p, env) })
			}
			close(stop)
			wg.Wait()
			if t.Failed() {
				t.FailNow()
			}
		}
		readable()
	}
	both := []string{"HOLDFAST_CLUSTER_SECRET=" + next, "HOLDFAST_CLUSTER_SECRET_OLD=" + harness.ClusterSecret, "HOLDFAST_CLUSTER_ID=" + id}
	roll("both", both...)
	alone := []string{"HOLDFAST_CLUSTER_SECRET=" + next, "HOLDFAST_CLUSTER_ID=" + id}
	roll("new", alone...)

	// Nobody is let in by the old one any more.
	if healthy(c, c.Trackers[0], nil) {
		t.Error("a tracker answers under the old secret")
	}
	// Emptied, a tracker and a node come back under the new one.
	tr := c.Trackers[1]
	tr.Kill()
	empty(t, tr.Dir)
	tr.Launch()
	harness.Until(t, time.Minute, "the tracker has joined", func() bool {
		st, err := c.Gateways[0].Status()
		if err != nil {
			return false
		}
		n := 0
		for _, v := range st.Voters {
			if !v.Joining && v.Err == "" {
				n++
			}
		}
		return n == 3
	})
	fresh := c.Process("default1")
	fresh.Stop()
	fresh.Env(alone[:1]...) // without the id it is told what to give
	fresh.Launch()
	harness.Until(t, 30*time.Second, "a process without the id refuses the directory", fresh.Exited)
	if !strings.Contains(fresh.Log(), "if the secret was changed") || !strings.Contains(fresh.Log(), "--cluster-id "+id) {
		t.Errorf("what it says: %s", fresh.Log())
	}
	fresh.Env(alone...)
	fresh.Launch()
	c.WaitReady()
	if err := write("after", 200_000); err != nil {
		t.Fatal(err)
	}
	readable()
}

// healthy asks a process by its own port, with the secret of env.
func healthy(c *harness.Cluster, p *harness.Process, env []string) bool {
	_, err := c.CommandEnv(env, "", "healthcheck", "--role", p.Role, "--address", p.Addr)
	return err == nil
}
