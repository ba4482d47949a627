package cluster

import (
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
