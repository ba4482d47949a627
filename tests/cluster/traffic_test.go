package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"holdfast/tests/harness"
	"holdfast/tracker"
)

// TestTraffic counts the bytes of shards that PUTs of 10 MiB move to the
// nodes of an rs-4+2 group: half more than the objects, and checksums.
func TestTraffic(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rs-4+2", Nodes: 6}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	const n, size = 4, 10 << 20
	for i := range n {
		raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", fmt.Sprint(i)), "", body(fmt.Sprint(i), size))
	}
	began := time.Now().UnixMilli()
	var received uint64
	harness.Until(t, 30*time.Second, "a heartbeat of every node", func() bool {
		st, err := c.Gateways[0].Status()
		if err != nil {
			return false
		}
		received = 0
		for _, n := range st.Map.Nodes {
			if n.State == tracker.NodeActive && n.Load.At < began {
				return false
			}
			received += n.Load.Received
		}
		return true
	})
	ratio := float64(received) / (n * size)
	t.Logf("%d bytes of objects moved %d bytes of shards: %.4f times", n*size, received, ratio)
	if ratio > 1.51 || ratio < 1.5 {
		t.Errorf("moved %.4f times the objects' bytes", ratio)
	}
}

// TestTrackersSendNoShards counts what the trackers' processes send over their
// network, headers and all, while 200 MiB are written and read and while a lost
// node is rebuilt: orders of magnitude less than the shards that move.
func TestTrackersSendNoShards(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Isolated: true, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rs-2+2", Nodes: 5}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	sum := func(all []*harness.Process) (n uint64) {
		for _, p := range all {
			n += p.Sent()
		}
		return n
	}
	// measured runs f and compares what trackers and nodes sent meanwhile with
	// the bytes of shards that it moved.
	measured := func(what string, moved func() uint64, f func()) {
		t.Helper()
		trackers, nodes, began := sum(c.Trackers), sum(c.Storage), time.Now()
		f()
		took := time.Since(began)
		trackers, nodes = sum(c.Trackers)-trackers, sum(c.Storage)-nodes
		shards := moved()
		t.Logf("%s: %d kB of shards in %v; trackers sent %d kB (%.2f %%), nodes %d kB", what, shards>>10, took.Round(time.Millisecond),
			trackers>>10, 100*float64(trackers)/float64(shards), nodes>>10)
		// Heartbeats, terms and commits go on by the clock: they are allowed
		// for by the time that it took.
		if limit := shards/50 + uint64(took.Seconds()*65536); trackers > limit {
			t.Errorf("%s: the trackers sent %d bytes, at most %d are allowed for", what, trackers, limit)
		}
	}
	const n, size = 25, 8 << 20
	measured("writes", func() uint64 { return 2 * n * size }, func() {
		for i := range n {
			raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", fmt.Sprint(i)), "", body(fmt.Sprint(i), size))
		}
	})
	measured("reads", func() uint64 { return n * size }, func() {
		for i := range n {
			a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", fmt.Sprint(i)), "", nil)
			if !bytes.Equal(a.Body, body(fmt.Sprint(i), size)) {
				t.Fatalf("object %d has other bytes", i)
			}
		}
	})
	lost := c.Process("default2")
	id := nodeAt(t, c, lost.Addr)
	before := traffic(t, c)
	lost.Kill()
	harness.Until(t, time.Minute, "the node can be given up", func() bool {
		_, err := c.Gateways[0].Admin("node", "forget", id)
		return err == nil
	})
	measured("repair", func() (sent uint64) {
		for node, bytes := range traffic(t, c) {
			sent += bytes - before[node]
		}
		return sent
	}, func() { settled(t, c) })
	census(t, c, "bucket", lost)
}
