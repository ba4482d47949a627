package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/cmd/cluster"
	"holdfast/internal/peer"
	"holdfast/tests/harness"
	"holdfast/tracker"
)

// TestRecover destroys two of three trackers' directories and goes on from the
// one that is left.
func TestRecover(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 3}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	written := map[string][]byte{}
	write := func(keys ...string) {
		t.Helper()
		for i, key := range keys {
			written[key] = body(key, []int{100, 20_000, 2 << 20}[i%3])
			raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", key), "", written[key])
		}
	}
	readable := func() {
		t.Helper()
		for key, want := range written {
			if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
				t.Fatalf("%s has other bytes", key)
			}
		}
	}
	write("a", "b", "c")
	old, err := c.Gateways[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	left, lost := c.Trackers[0], c.Trackers[1:]
	recoverIt := func(in string, args ...string) (string, error) {
		return c.Command(in, append([]string{"tracker", "recover", left.Dir, "--listen", left.Addr, "--advertise", left.Addr, "--trackers", c.TrackerAddrs()}, args...)...)
	}
	if out, err := recoverIt("", "--yes"); err == nil || !strings.Contains(out, "stop it first") {
		t.Fatalf("recovery under a running tracker: %v: %s", err, out)
	}
	left.Kill()
	if out, err := recoverIt("", "--yes"); err == nil || !strings.Contains(out, "answers that one leads") {
		t.Fatalf("recovery beside a majority: %v: %s", err, out)
	}
	// It missed nothing: what it may lack is what it was not there for.
	left.Launch()
	c.WaitReady()
	harness.Until(t, 30*time.Second, "the tracker is there again", func() bool {
		st, err := c.Gateways[0].Status()
		if err != nil {
			return false
		}
		at := map[string]uint64{}
		for _, v := range st.Voters {
			at[v.ID] = v.Applied
		}
		return len(at) == 3 && at["tracker1"] == at["tracker2"] && at["tracker2"] == at["tracker3"]
	})
	for _, p := range c.Trackers {
		p.Kill()
	}
	for _, p := range lost {
		if err := os.RemoveAll(p.Dir); err != nil {
			t.Fatal(err)
		}
	}
	out, err := recoverIt("", "--dry-run", "--json", "--log-level", "error")
	var seen cluster.TrackerCopy
	if err == nil {
		err = json.Unmarshal([]byte(out), &seen)
	}
	if err != nil || seen.Incarnation != old.Incarnation || seen.Cluster != old.Map.Cluster || seen.Tracker != "tracker1" || len(seen.Trackers) != 3 || seen.Nodes != 3 || time.Since(seen.LastChange) > time.Hour {
		t.Fatalf("dry run: %v: %+v: %s", err, seen, out)
	}
	if out, err := recoverIt("no\n"); err == nil || !strings.Contains(out, "nothing was changed") || !strings.Contains(out, "Lost with the other trackers") {
		t.Fatalf("recovery without a yes: %v: %s", err, out)
	}
	if out, err := recoverIt("yes\n"); err != nil || !strings.Contains(out, "Recovered") {
		t.Fatalf("recovery: %v: %s", err, out)
	}
	left.Launch()
	c.WaitReady()
	readable()
	write("d", "e", "f")
	st, err := c.Gateways[0].Status()
	if err != nil || st.Incarnation == old.Incarnation || st.Held || len(st.Strangers) != 0 {
		t.Fatalf("status: %+v, %v", st, err)
	}
	harness.Until(t, 30*time.Second, "the nodes say that they delete nothing", func() bool {
		st, err := c.Gateways[0].Status()
		return err == nil && st.Frozen
	})
	// Others join, with empty directories and the flags that they had.
	for _, p := range lost {
		p.Launch()
	}
	harness.Until(t, time.Minute, "three trackers vote", func() bool {
		st, err := c.Gateways[0].Status()
		voting := 0
		for i := 0; err == nil && i < len(st.Voters); i++ {
			if !st.Voters[i].Joining && st.Voters[i].Err == "" {
				voting++
			}
		}
		return voting == 3
	})
	left.Kill()
	write("g", "h", "i")
	readable()
	left.Launch()
	if out, err := c.Gateways[0].Admin("fsck"); err != nil || !strings.Contains(out, "holdfast admin fsck --adopt") || !strings.Contains(out, "missing shards        0") {
		t.Errorf("fsck: %v: %s", err, out)
	}
	if out, err := c.Gateways[0].Admin("fsck", "--adopt", "--json"); err != nil || !strings.Contains(out, st.Incarnation) {
		t.Fatalf("fsck --adopt: %v: %s", err, out)
	}
	harness.Until(t, 30*time.Second, "the nodes follow the recovered catalog", func() bool {
		st, err := c.Gateways[0].Status()
		return err == nil && !st.Frozen
	})
	readable()
}

// TestRecoverDeletes: after a recovery nodes delete nothing, not even what was
// deleted since, until a person has confirmed; a recovery that was cut short
// lets no tracker start.
func TestRecoverDeletes(t *testing.T) {
	lengthy(t)
	r := harness.StartRoles(t, harness.RolesOptions{Trackers: 1, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}},
		Tracker: func(_ string, c *cluster.TrackerConfig) { c.Tune.Grace = time.Second }})
	raw := r.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	path := harness.Path("bucket", "key")
	shards := func() int64 {
		t.Helper()
		var n int64
		harness.Until(t, 30*time.Second, "the node tells of its space", func() bool {
			st, err := r.Status()
			if err == nil && len(st.Map.Nodes) == 1 {
				n = st.Map.Nodes[0].Load.Used
			}
			return err == nil
		})
		return n
	}
	raw.Must(t, http.StatusOK, "PUT", path, "", body("key", 100_000))
	harness.Until(t, 30*time.Second, "the node holds the object", func() bool { return shards() > 100_000 })
	tr := r.Trackers[0]
	tr.Stop()

	secret, err := peer.ParseSecret(harness.ClusterSecret)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := peer.Derived(secret, peer.Tracker)
	if err != nil {
		t.Fatal(err)
	}
	cfg := cluster.TrackerConfig{Common: cluster.Common{Access: cluster.Access{Secret: secret, Credentials: creds}, Trackers: r.TrackerAddrs(), Log: zerolog.Nop()},
		Dir: tr.Dir, Advertise: tr.Addr}
	before, err := cluster.InspectTracker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cluster.RecoverTracker(cut, cfg); err == nil {
		t.Fatal("a recovery was done that was cut short")
	}
	if _, err := os.Stat(filepath.Join(tr.Dir, "recovering")); err != nil {
		t.Fatal("nothing says that a recovery was cut short:", err)
	}
	tr.Start()
	harness.Until(t, 30*time.Second, "a tracker that was recovered by half refuses to start", func() bool {
		ended, err := tr.Ended()
		return ended && err != nil && strings.Contains(err.Error(), "run holdfast tracker recover")
	})
	after, err := cluster.RecoverTracker(t.Context(), cfg)
	if err != nil || after.Unfinished || after.Incarnation == before.Incarnation {
		t.Fatalf("%+v, %v", after, err)
	}
	tr.Start()
	r.WaitReady()

	raw.Must(t, http.StatusNoContent, "DELETE", path, "", nil)
	harness.Until(t, time.Minute, "the node was asked to delete, and refused", func() bool {
		st, err := r.Status()
		return err == nil && st.Frozen && st.Queues["garbage"].Length > 0 && st.Queues["garbage"].Failed > 0
	})
	if used := shards(); used < 100_000 {
		t.Fatalf("the node holds %d bytes", used)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var f *tracker.Fsck
	if f, err = r.Trackers[0].Tracker().Service().Fsck(ctx, true); err != nil || f.Incarnation != after.Incarnation {
		t.Fatalf("%+v, %v", f, err)
	}
	harness.Until(t, 2*time.Minute, "the node deletes again", func() bool { return shards() == 0 })
}
