package cluster

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// TestAbsentNode deletes and overwrites while a node is away: what is deleted
// stays so when it comes back, and the node drops what it missed.
func TestAbsentNode(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 3}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	key := func(i int) string { return harness.Path("bucket", fmt.Sprintf("k%02d", i)) }
	for i := range 20 {
		raw.Must(t, http.StatusOK, "PUT", key(i), "", body("old", 50_000))
	}
	away := c.Process("default2")
	away.Kill()
	for i := range 20 {
		if i%2 == 0 {
			raw.Must(t, http.StatusNoContent, "DELETE", key(i), "", nil)
		} else {
			raw.Must(t, http.StatusOK, "PUT", key(i), "", body("new", 60_000))
		}
	}
	away.Launch()
	c.WaitReady()
	// Every read, whichever node it comes from.
	for range 6 {
		for i := range 20 {
			if i%2 == 0 {
				raw.Must(t, http.StatusNotFound, "GET", key(i), "", nil)
			} else if a := raw.Must(t, http.StatusOK, "GET", key(i), "", nil); string(a.Body) != string(body("new", 60_000)) {
				t.Fatalf("key %d has its old bytes again", i)
			}
		}
	}
	settled(t, c)
	census(t, c, "bucket")
}

// TestBucketAgain deletes a bucket and makes one of its name: it shows nothing
// of the old one, through another gateway too.
func TestBucketAgain(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 2, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}}})
	one, two := c.Gateways[0].Raw(), c.Gateways[1].Raw()
	path := harness.Path("bucket", "key")
	for round := range 5 {
		one.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
		two.Must(t, http.StatusNotFound, "GET", path, "", nil)
		two.Must(t, http.StatusOK, "PUT", path, "", body(fmt.Sprint(round), 20_000))
		one.Must(t, http.StatusOK, "GET", path, "", nil)
		one.Must(t, http.StatusNoContent, "DELETE", path, "", nil)
		two.Must(t, http.StatusNoContent, "DELETE", "/bucket", "", nil)
		one.Must(t, http.StatusNotFound, "GET", "/bucket", harness.Query("list-type", "2"), nil)
		one.Must(t, http.StatusNotFound, "PUT", path, "", body("x", 20_000))
	}
}

// TestLeaderLoss measures how long writes stand still when the leader dies.
func TestLeaderLoss(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	for i := range 3 {
		name := leader(t, c)
		c.Process(name).Kill()
		began := time.Now()
		raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", fmt.Sprint(i)), "", []byte("x"))
		took := time.Since(began)
		t.Logf("leader killed: the next write took %v", took.Round(time.Millisecond))
		if took > 15*time.Second { // three times the bound of the figures
			t.Errorf("writes stood still for %v", took)
		}
		c.Process(name).Launch()
		c.WaitReady()
	}
}
