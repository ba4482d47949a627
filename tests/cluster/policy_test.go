package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/storage"
	"holdfast/tests/harness"
	"holdfast/tracker"
)

// admin runs an admin command that must do, or must not, and returns what it
// prints.
func admin(t *testing.T, p *harness.Process, does bool, args ...string) string {
	t.Helper()
	out, err := p.Admin(args...)
	if (err == nil) != does {
		t.Fatalf("holdfast admin %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// where is the group of an object's one blob, and the nodes of its shards that
// are there.
func where(t *testing.T, raw *harness.Raw, bucket, key string) (group string, nodes []storage.NodeID) {
	t.Helper()
	q, err := json.Marshal(map[string]string{"bucket": bucket, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	var i gateway.Inspection
	if err := json.Unmarshal(raw.Must(t, http.StatusOK, "POST", "/-/admin/v1/inspect", "", q).Body, &i); err != nil {
		t.Fatal(err)
	}
	if len(i.Extents) != 1 {
		t.Fatalf("%s/%s has %d extents", bucket, key, len(i.Extents))
	}
	for _, s := range i.Extents[0].Shards {
		if s.Found {
			nodes = append(nodes, s.Node)
		}
	}
	return i.Extents[0].Group, nodes
}

// TestPolicies sets policies in a cluster of two groups, and looks where
// objects go; a tracker that leads next goes by them too.
func TestPolicies(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 2, Groups: []harness.GroupSpec{
		{Name: "one", Scheme: "rep-2", Nodes: 3}, {Name: "two", Scheme: "rep-1", Nodes: 1}}})
	g, raw := c.Gateways[0], c.Gateways[1].Raw()
	for _, b := range []string{"pinned", "turns"} {
		raw.Must(t, http.StatusOK, "PUT", "/"+b, "", nil)
	}
	n := 0
	put := func(bucket string) (key string) {
		t.Helper()
		n++
		key = fmt.Sprintf("key-%d", n)
		raw.Must(t, http.StatusOK, "PUT", harness.Path(bucket, key), "", body(key, 50_000))
		return key
	}
	groups := func(bucket string, n int) (out []string) {
		t.Helper()
		for range n {
			group, _ := where(t, raw, bucket, put(bucket))
			out = append(out, group)
		}
		return out
	}
	all := func(group string, got []string) {
		t.Helper()
		if slices.ContainsFunc(got, func(g string) bool { return g != group }) {
			t.Errorf("objects are in %v, want all in %s", got, group)
		}
	}
	turns := func(got []string) {
		t.Helper()
		same := 0
		for i := 1; i < len(got); i++ {
			if got[i] == got[i-1] {
				same++
			}
		}
		if same > 1 { // an answer that is lost on a busy machine takes a turn too
			t.Errorf("groups do not take turns: %v", got)
		}
	}
	if out := admin(t, g, true, "policy", "list", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("no policy is set, and the list is %s", out)
	}
	admin(t, g, true, "policy", "set", "pinned", "--bucket", "pinned", "--group", "two")
	admin(t, g, true, "policy", "set", "round-robin")
	var got []string
	for range 10 { // the two do not disturb each other
		all("two", groups("pinned", 1))
		got = append(got, groups("turns", 1)...)
	}
	turns(got)
	admin(t, g, true, "policy", "set", "pinned", "--class", "STANDARD", "--group", "one")
	all("two", groups("pinned", 2))
	all("one", groups("turns", 4))

	// A copy shares the data of its source where that may stay, and is written
	// anew where it may not.
	key := put("turns") // in the group one
	for bucket, want := range map[string]string{"turns": "one", "pinned": "two"} {
		raw.Must(t, http.StatusOK, "PUT", harness.Path(bucket, "copy"), "", nil, "x-amz-copy-source", "/turns/"+key)
		if got, _ := where(t, raw, bucket, "copy"); got != want {
			t.Errorf("a copy in bucket %s is in group %s, want %s", bucket, got, want)
		}
		if a := raw.Must(t, http.StatusOK, "GET", harness.Path(bucket, "copy"), "", nil); !bytes.Equal(a.Body, body(key, 50_000)) {
			t.Error("a copy has other bytes")
		}
	}

	// Copied onto itself it moves.
	raw.Must(t, http.StatusOK, "PUT", "/moved", "", nil)
	moved := put("moved")
	admin(t, g, true, "policy", "set", "pinned", "--bucket", "moved", "--group", "two")
	raw.Must(t, http.StatusOK, "PUT", harness.Path("moved", moved), "", nil, "x-amz-copy-source", "/moved/"+moved, "x-amz-metadata-directive", "REPLACE")
	if got, _ := where(t, raw, "moved", moved); got != "two" {
		t.Errorf("an object copied onto itself in a pinned bucket is in group %s", got)
	}
	admin(t, g, true, "policy", "clear", "--bucket", "moved")

	// A group of another class is refused when the policy is set, and one that
	// takes nothing when an object comes.
	admin(t, g, true, "group", "create", "cold", "--scheme", "rep-1", "--class", "GLACIER_IR")
	if out := admin(t, g, false, "group", "create", "cold", "--scheme", "rep-1", "--class", "STANDARD_IA"); !strings.Contains(out, "is there with the scheme rep-1 and class GLACIER_IR") {
		t.Errorf("a group that is there, made with another class: %s", out)
	}
	for want, args := range map[string]string{
		"carries class GLACIER_IR": "set pinned --bucket pinned --group cold", "group cold carries": "set pinned --class STANDARD --group cold",
		"pin a class": "set pinned --group one", "no such bucket": "set balance --bucket absent",
		"no such storage group": "set pinned --class STANDARD --group absent", "no group carries": "set balance --class GLACIER",
	} {
		if out := admin(t, g, false, append([]string{"policy"}, strings.Fields(args)...)...); !strings.Contains(out, want) {
			t.Errorf("policy %s says %q, want %q in it", args, out, want)
		}
	}
	admin(t, g, true, "policy", "set", "pinned", "--bucket", "turns", "--class", "GLACIER_IR", "--group", "cold")
	harness.Until(t, 20*time.Second, "the gateway knows the class, and that its group takes nothing", func() bool {
		a, err := raw.Do("PUT", "/turns/cold", "", body("cold", 50_000), "x-amz-storage-class", "GLACIER_IR")
		return err == nil && a.Status == http.StatusServiceUnavailable
	})
	if a := raw.Must(t, http.StatusBadRequest, "PUT", "/pinned/cold", "", body("cold", 50_000), "x-amz-storage-class", "GLACIER_IR"); !strings.Contains(string(a.Body), "InvalidStorageClass") {
		t.Errorf("another class than that of the pin: %s", a.Body)
	}

	c.Process(leader(t, c)).Kill()
	all("two", groups("pinned", 2))
	all("one", groups("turns", 2))
	admin(t, g, true, "policy", "clear", "--class", "STANDARD")
	turns(groups("turns", 10))

	// What was set for a bucket goes with it.
	a := raw.Must(t, http.StatusOK, "GET", "/pinned", harness.Query("list-type", "2"), nil)
	for _, part := range strings.Split(string(a.Body), "<Key>")[1:] {
		key, _, _ := strings.Cut(part, "<")
		raw.Must(t, http.StatusNoContent, "DELETE", harness.Path("pinned", key), "", nil)
	}
	raw.Must(t, http.StatusNoContent, "DELETE", "/pinned", "", nil)
	raw.Must(t, http.StatusOK, "PUT", "/pinned", "", nil)
	turns(groups("pinned", 10))
	var list []tracker.Policy
	if err := json.Unmarshal([]byte(admin(t, g, true, "policy", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, p := range list {
		left = append(left, p.Scope()+": "+p.Kind.String()+" "+p.Group)
	}
	if want := []string{"the cluster: round-robin ", "bucket turns, class GLACIER_IR: pinned cold"}; !slices.Equal(left, want) {
		t.Errorf("policies %q, want %q", left, want)
	}
}

// slowPut sends half of an object, and the rest when the returned function is
// called, which returns the status.
func slowPut(t *testing.T, p *harness.Process, path string, data []byte) func() int {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequest("PUT", "http://"+p.Addr+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(data))
	sigv4.Sign(req, harness.User, harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
	status := make(chan int, 1)
	go func() {
		resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
		_ = r.CloseWithError(io.ErrClosedPipe) // the sender does not wait for who has gone
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	half := len(data) / 2
	if _, err := w.Write(data[:half]); err != nil {
		t.Fatal(err)
	}
	return func() int {
		if _, err := w.Write(data[half:]); err != nil {
			t.Error(err)
		}
		_ = w.Close()
		return <-status
	}
}

// TestReadOnlyNode sets a node ro while it takes a shard: that write is
// finished, no later one goes there, and what it holds is read and deleted.
func TestReadOnlyNode(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Trackers: 1, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 3}}})
	g := c.Gateways[0]
	raw := g.Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	written := map[string][]byte{}
	put := func(n int) (keys []string) {
		t.Helper()
		for range n {
			key := fmt.Sprintf("key-%d", len(written))
			written[key] = body(key, 30_000)
			raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", key), "", written[key])
			keys = append(keys, key)
		}
		return keys
	}
	put(12)
	written["slow"] = body("slow", 8<<20)
	finish := slowPut(t, g, "/bucket/slow", written["slow"])

	// The node that is set is one that is writing.
	var at *harness.Process
	harness.Until(t, 20*time.Second, "a node has a shard of the object under way", func() bool {
		for _, p := range c.Storage {
			if files, err := os.ReadDir(filepath.Join(p.Dir, "blobs", "tmp")); err == nil && len(files) > 0 {
				at = p
			}
		}
		return at != nil
	})
	node := func() *tracker.Node {
		t.Helper()
		st, err := g.Status()
		if err != nil {
			t.Fatal(err)
		}
		for i := range st.Map.Nodes {
			if st.Map.Nodes[i].Addr == at.Addr {
				return &st.Map.Nodes[i]
			}
		}
		t.Fatalf("no node at %s", at.Addr)
		return nil
	}
	was := node()
	id := strconv.Itoa(int(was.ID))
	admin(t, g, true, "node", "set", id, "ro")
	n := node()
	if n.Role != tracker.RoleReadOnly || !n.ReadOnly || n.Epoch != was.Epoch+1 {
		t.Errorf("node %+v", n)
	}
	if out := admin(t, g, true, "node", "list"); !strings.Contains(strings.Join(strings.Fields(out), " "), id+" default (rep-2) active ro") {
		t.Errorf("node list:\n%s", out)
	}
	for i := range c.Storage { // two of three that take writes are just enough
		if other := strconv.Itoa(i + 1); other != id {
			if out := admin(t, g, false, "node", "set", other, "ro"); !strings.Contains(out, "add a node first, or repeat with --force") {
				t.Errorf("the last but one: %s", out)
			}
		}
	}
	// Two heartbeats later the node has heard of its epoch.
	for range 2 {
		heard := node().Load.At
		harness.Until(t, 30*time.Second, "a heartbeat of the node", func() bool { return node().Load.At > heard })
	}
	if status := finish(); status != http.StatusOK {
		t.Errorf("the write that ran: %d", status)
	}
	if _, nodes := where(t, raw, "bucket", "slow"); !slices.Contains(nodes, n.ID) {
		t.Errorf("the shard under way was not finished: %v", nodes)
	}

	none := func(keys []string) {
		t.Helper()
		for _, key := range keys {
			if _, nodes := where(t, raw, "bucket", key); len(nodes) != 2 || slices.Contains(nodes, n.ID) {
				t.Errorf("%s is on %v; node %d takes nothing", key, nodes, n.ID)
			}
		}
	}
	none(put(12))
	at.Restart()
	c.WaitReady()
	none(put(6))
	// What it holds is read from it and deleted on it.
	held := ""
	for key := range written {
		if _, nodes := where(t, raw, "bucket", key); slices.Contains(nodes, n.ID) && key != "slow" {
			held = key
		}
	}
	if held == "" {
		t.Fatal("the node holds none of 12 objects of two copies on three nodes")
	}
	for _, p := range c.Storage {
		if p != at {
			p.Pause()
		}
	}
	if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", held), "", nil); !bytes.Equal(a.Body, written[held]) {
		t.Error("other bytes from the node that is ro")
	}
	for _, p := range c.Storage {
		p.Continue()
	}
	raw.Must(t, http.StatusNoContent, "DELETE", harness.Path("bucket", held), "", nil)
	delete(written, held)
	for key, want := range written {
		if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
			t.Errorf("%s has other bytes", key)
		}
	}
	admin(t, g, true, "node", "set", id, "rw")
	harness.Until(t, 30*time.Second, "the node takes shards again", func() bool {
		_, nodes := where(t, raw, "bucket", put(1)[0])
		return slices.Contains(nodes, n.ID)
	})
}
