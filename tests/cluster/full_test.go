package cluster

import (
	"net/http"
	"testing"
	"time"

	"holdfast/tests/harness"
	"holdfast/tracker"
)

// TestFullDisk fills the disk of a node to the last page, and makes that of a
// tracker nearly full and then quite full, under load, and gives them room
// again. Acknowledged writes stay; a node that is full serves reads, takes
// writes again without a restart, and what it missed is made; with a tracker's
// disk nearly full the catalog takes deletes only (SAFETY B5), and all again
// once there is room, or once that tracker is stopped.
func TestFullDisk(t *testing.T) {
	lengthy(t)
	const roomy = 8 << 30 // a limit, not taken; over twice what a tracker wants free
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 2,
		Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 3}},
		Disks:  map[string]int64{"default1": roomy, "tracker1": roomy, "tracker2": roomy, "tracker3": roomy}})
	l := startLoad(t, c, 6, "STANDARD")
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	put := func(key string, size int) int {
		a, err := raw.Do("PUT", harness.Path("bucket", key), "", body(key, size))
		if err != nil {
			return 0
		}
		return a.Status
	}
	n := scaled(150)
	l.enter("control")
	l.wait(n)

	p := c.Process("default1")
	l.enter("full disk of a node of rep-3")
	p.Resize(0, true)
	l.wait(n)
	told := func(full bool) {
		t.Helper()
		harness.Until(t, time.Minute, "the node tells whether it takes writes", func() bool {
			n := nodeOf(c, p.Addr)
			return n != nil && n.State == tracker.NodeActive && n.ReadOnly == full && (n.Load.Err != "") == full
		})
	}
	told(true)
	p.Resize(roomy, false)
	l.enter("after: full disk of a node")
	l.wait(n / 3)
	told(false)
	before := nodeOf(c, p.Addr).Load.Received
	harness.Until(t, time.Minute, "the node takes writes again, without a restart", func() bool {
		n := nodeOf(c, p.Addr)
		return n != nil && n.Load.Received > before
	})

	// Operations that the catalog refuses meanwhile are asked for again.
	put("kept", 100)
	name := follower(t, c)
	l.enter("disk of a following tracker nearly full")
	c.Process(name).Resize(1<<30, true)
	harness.Until(t, 20*time.Second, "the catalog refuses growth", func() bool { return put("refused", 100) == http.StatusInsufficientStorage })
	raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", "kept"), "", nil)
	raw.Must(t, http.StatusNoContent, "DELETE", harness.Path("bucket", "kept"), "", nil)
	c.Process(name).Resize(roomy, false)
	l.enter("after: nearly full")
	harness.Until(t, 20*time.Second, "the catalog takes objects again", func() bool { return put("taken", 100) == http.StatusOK })
	l.wait(n / 3)

	// To the last page, and no room to be had: the tracker is stopped, and the
	// others go on.
	for _, role := range []string{"following", "leading"} {
		if name = leader(t, c); role == "following" {
			name = follower(t, c)
		}
		full := c.Process(name)
		l.enter("full disk of the " + role + " tracker")
		full.Resize(0, true)
		harness.Until(t, 20*time.Second, "the catalog refuses growth", func() bool { return put("refused", 100) == http.StatusInsufficientStorage })
		full.Stop()
		harness.Until(t, 20*time.Second, "the others go on without the tracker", func() bool { return put("without", 100) == http.StatusOK })
		l.wait(n / 3)
		full.Resize(roomy, false)
		full.Launch()
		l.enter("after: full disk of the " + role + " tracker")
		c.WaitReady()
		l.wait(n / 3)
		converged(t, c)
	}
	l.end()
	converged(t, c)
	census(t, c, "load")
}

// nodeOf is the node at an address, as the catalog has it; nil where that is
// not known.
func nodeOf(c *harness.Cluster, addr string) *tracker.Node {
	st, err := c.Gateways[0].Status()
	if err != nil {
		return nil
	}
	for i := range st.Map.Nodes {
		if st.Map.Nodes[i].Addr == addr {
			return &st.Map.Nodes[i]
		}
	}
	return nil
}
