// Package cluster shows that a cluster holds under faults: real processes of
// each role, on loopback or on networks of the test's own.
package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// body makes n bytes that belong to a name.
func body(name string, n int) []byte {
	return bytes.Repeat([]byte(name+"\n"), n/(len(name)+1)+1)[:n]
}

// TestLossOfOne kills one process of each role in turn, the tracker that
// leads among them, and reads and writes through it.
func TestLossOfOne(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 2, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 4}}})
	raw := c.Gateways[1].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	written := map[string][]byte{}
	write := func(after string) {
		t.Helper()
		for _, size := range []int{0, 100, 20_000, 3 << 20} {
			key := fmt.Sprintf("after-%s-%d", after, size)
			written[key] = body(key, size)
			began := time.Now()
			raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", key), "", written[key])
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("%s took %v", key, d)
			}
		}
		for key, want := range written {
			if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
				t.Fatalf("%s has other bytes", key)
			}
		}
	}
	write("nothing")
	for _, name := range []string{"gateway1", "default1", leader(t, c)} {
		p := c.Process(name)
		p.Kill()
		write(p.Role)
		p.Launch()
		c.WaitReady()
		write(p.Role + "-came-back")
	}
}

// leader is the name of the tracker that leads.
func leader(t *testing.T, c *harness.Cluster) (name string) {
	t.Helper()
	harness.Until(t, 20*time.Second, "a tracker leads", func() bool {
		for _, g := range c.Gateways {
			if st, err := g.Status(); err == nil && st.Leader != "" {
				name = st.Leader
				return true
			}
		}
		return false
	})
	return name
}

// TestCut takes the leading tracker and then a storage node off the network.
func TestCut(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Isolated: true, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 4}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	for i, name := range []string{leader(t, c), "default1"} {
		p := c.Process(name)
		p.Cut()
		key := fmt.Sprintf("cut-%d", i)
		want := body(key, 200_000)
		began := time.Now()
		raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", key), "", want)
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("a write after %s was cut off took %v", name, d)
		}
		if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
			t.Error("other bytes")
		}
		p.Heal()
		c.WaitReady()
	}
}
