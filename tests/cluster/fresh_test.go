package cluster

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// empty removes all that is in a directory, as a new disk in its place would.
func empty(t *testing.T, dir string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(dir, n.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// files lists a directory tree with sizes, but for what a running node writes
// by itself.
func files(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, sub := range []string{"volumes", "blobs"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			out[path] = info.Size()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestFreshCatalog empties the disk of the only tracker, which was told to
// begin a catalog and does: it answers no client and deletes nothing of the
// nodes that the old one had, until the old disk comes back, or a person gives
// their data up.
func TestFreshCatalog(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Trackers: 1, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 3}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	small, large := body("small", 20_000), body("large", 2<<20)
	raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", "small"), "", small)
	raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", "large"), "", large)
	readable := func() {
		t.Helper()
		for key, want := range map[string][]byte{"small": small, "large": large} {
			if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
				t.Fatalf("%s has other bytes", key)
			}
		}
	}
	readable()
	old, err := c.Gateways[0].Status()
	if err != nil {
		t.Fatal(err)
	}

	tr := c.Trackers[0]
	tr.Stop()
	kept := filepath.Join(c.Root, "kept")
	if err := os.Rename(tr.Dir, kept); err != nil {
		t.Fatal(err)
	}
	before := map[string]map[string]int64{}
	for _, p := range c.Storage {
		before[p.Dir] = files(t, p.Dir)
	}
	tr.Launch()
	held := func() {
		t.Helper()
		harness.Until(t, 30*time.Second, "the new catalog is held", func() bool {
			st, err := c.Gateways[0].Status()
			return err == nil && st.Held && len(st.Strangers) == len(c.Storage)
		})
	}
	held()
	st, err := c.Gateways[0].Status()
	if err != nil || st.Incarnation == old.Incarnation || len(st.Map.Nodes) != 0 {
		t.Fatalf("status: %+v, %v", st, err)
	}
	out, err := c.Gateways[0].Admin("status")
	if err != nil || !strings.Contains(out, "answers no client") || !strings.Contains(out, old.Incarnation) {
		t.Errorf("admin status: %v: %s", err, out)
	}
	if !strings.Contains(tr.Log(), "not known to the catalog") || !strings.Contains(tr.Log(), "answers no client") {
		t.Error("the tracker's log does not say it")
	}
	refused := func() {
		t.Helper()
		// Nothing says that it is not there, and nothing new is taken.
		for _, q := range [][2]string{{"GET", "/"}, {"PUT", "/bucket"}, {"GET", "/bucket/small"}, {"PUT", "/bucket/new"}, {"DELETE", "/bucket/small"}} {
			began := time.Now()
			raw.Must(t, http.StatusServiceUnavailable, q[0], q[1], "", nil)
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("%s %s was refused after %v", q[0], q[1], d)
			}
		}
	}
	refused()
	tr.Restart()
	held()
	refused()
	// A node that starts again has heard of no catalog yet, and keeps its data too.
	c.Storage[0].Restart()
	c.Storage[1].Restart()
	held()
	for _, p := range c.Storage {
		after := files(t, p.Dir)
		for name, size := range before[p.Dir] {
			if after[name] < size {
				t.Errorf("%s has %d bytes of %d", name, after[name], size)
			}
		}
	}

	// The old disk comes back: all is as it was.
	tr.Stop()
	fresh := filepath.Join(c.Root, "fresh")
	if err := os.Rename(tr.Dir, fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(kept, tr.Dir); err != nil {
		t.Fatal(err)
	}
	tr.Launch()
	c.WaitReady()
	harness.Until(t, 30*time.Second, "nodes and gateway have heard of the old catalog again", func() bool {
		a, err := raw.Do("GET", "/bucket/large", "", nil)
		return err == nil && a.Status == http.StatusOK
	})
	readable()
	if st, err := c.Gateways[0].Status(); err != nil || st.Held || st.Frozen || len(st.Strangers) != 0 || st.Incarnation != old.Incarnation {
		t.Fatalf("after the old disk came back: %+v, %v", st, err)
	}

	// It is lost for good: a person decides, and the nodes' directories are
	// given up, one of them emptied and used anew.
	tr.Stop()
	empty(t, tr.Dir)
	tr.Launch()
	held()
	if out, err = c.Gateways[0].Admin("fsck"); err != nil || strings.Count(out, "unknown to the catalog") != len(c.Storage) {
		t.Errorf("fsck: %v: %s", err, out)
	}
	refused()
	if out, err = c.Gateways[0].Admin("fsck", "--adopt"); err != nil {
		t.Fatalf("fsck --adopt: %v: %s", err, out)
	}
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	raw.Must(t, http.StatusNotFound, "GET", "/bucket/small", "", nil)
	if files(t, c.Storage[0].Dir) == nil {
		t.Error("a node that was given up has lost its files")
	}
	for _, p := range c.Storage {
		p.Stop()
		empty(t, p.Dir)
		p.Launch()
	}
	c.WaitReady()
	raw.Must(t, http.StatusOK, "PUT", "/bucket/large", "", large)
	raw.Must(t, http.StatusOK, "GET", "/bucket/large", "", nil)
	if st, err = c.Gateways[0].Status(); err != nil || st.Held {
		t.Fatal(st, err)
	}
	for _, n := range st.Map.Nodes {
		if old.Map.Node(n.ID) != nil && n.State.String() != "gone" {
			t.Errorf("node %d has the id of one that was given up", n.ID)
		}
	}
}
