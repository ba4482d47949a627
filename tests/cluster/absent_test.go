package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/tests/harness"
	"holdfast/tracker"
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

// TestOneDirectoryLost empties one of the directories of a storage process:
// the process starts without it, until a person gives the node up.
func TestOneDirectoryLost(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 1}}})
	lost := filepath.Join(c.Root, "lost")
	p := c.Add("storage", "two", lost, "--group", "default", "--host", "two")
	states := func() (active, away int) {
		st, err := c.Gateways[0].Status()
		if err != nil {
			return 0, 0
		}
		for _, n := range st.Map.Nodes {
			switch n.State {
			case tracker.NodeActive:
				active++
			case tracker.NodeGone:
			default:
				away++
			}
		}
		return active, away
	}
	harness.Until(t, time.Minute, "three nodes are active", func() bool { n, _ := states(); return n == 3 })
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	want := body("key", 100_000)
	for i := range 10 {
		raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", fmt.Sprint(i)), "", want)
	}
	p.Stop()
	if err := os.RemoveAll(lost); err != nil {
		t.Fatal(err)
	}
	p.Launch()
	harness.Until(t, time.Minute, "the lost node is missed, and the others are there", func() bool {
		active, away := states()
		return active == 2 && away == 1
	})
	if p.Exited() {
		t.Fatalf("the process ended: %s", p.Log())
	}
	if _, err := os.Stat(filepath.Join(lost, "holdfast.id")); err == nil {
		t.Error("the empty directory was formatted without being asked")
	}
	for i := range 10 {
		if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", fmt.Sprint(i)), "", nil); !bytes.Equal(a.Body, want) {
			t.Errorf("object %d has other bytes", i)
		}
	}
}
