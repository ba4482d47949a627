package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"holdfast/erasure"
	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/tracker"
)

// sampleStatus has a node that is well, one that is full, one that is missing
// and two that are gone.
func sampleStatus() *tracker.Status {
	full := tracker.Load{Total: 1 << 30, Used: 1 << 29, Err: "node is full", At: 1}
	return &tracker.Status{
		Map: &tracker.Map{Cluster: "c", Groups: []tracker.Group{{ID: 1, Name: "default", Scheme: erasure.Scheme{Data: 2, Parity: 2}}}, Nodes: []tracker.Node{
			{ID: 1, Group: 1, State: tracker.NodeGone, Addr: "/old"},
			{ID: 2, Group: 1, State: tracker.NodeActive, Addr: "/d2", Load: tracker.Load{Total: 1 << 30, Free: 1 << 29, Used: 4096, At: 1}},
			{ID: 3, Group: 1, State: tracker.NodeActive, ReadOnly: true, Addr: "/d3", Load: full},
			{ID: 4, Group: 1, State: tracker.NodeDown, Addr: "/d4", Load: tracker.Load{Err: "missing or empty"}},
			{ID: 5, Group: 1, State: tracker.NodeGone, Addr: "/d4"},
		}},
		Leader: "voter-1", Voters: []tracker.Voter{{ID: "voter-1", Leader: true, Dir: "/d2/catalog"}},
		Queues: map[string]tracker.Queue{"repair": {Length: 2}},
	}
}

// administration answers as a server with a status would.
func administration(t *testing.T, st *tracker.Status) *adminClient {
	t.Helper()
	t.Setenv("HOLDFAST_ROOT_USER", "root-of-test")
	t.Setenv("HOLDFAST_ROOT_PASSWORD", "secret-of-test")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, admin.Prefix) {
		case "clock/accept":
			st.Fence += 90_000_000 // 25 h
		case "catalog/alone":
			st.Voters = []tracker.Voter{{ID: "voter-1", Dir: "/d1/catalog"}, {ID: "voter-9", Dir: "/d4/catalog"}}
		}
		_ = json.NewEncoder(w).Encode(st) // the client says if it fails
	}))
	t.Cleanup(srv.Close)
	return &adminClient{endpoint: srv.URL, region: "us-east-1", timeout: time.Minute}
}

func runCommand(t *testing.T, cmd *cobra.Command, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// rows are a table's lines that begin with a name, their fields joined.
func rows(out string, names ...string) (got []string) {
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		for _, n := range names {
			if len(f) > 0 && f[0] == n {
				got = append(got, strings.Join(f, " "))
			}
		}
	}
	return got
}

func TestStatusTable(t *testing.T) {
	c := administration(t, sampleStatus())
	out := runCommand(t, statusCommand(c))
	want := []string{
		"2 default (rs-2+2) active 4.0 KiB 512.0 MiB 0 /d2",
		"3 default (rs-2+2) read-only 512.0 MiB 0 B 0 /d3 node is full",
		"4 default (rs-2+2) down - - - /d4 missing or empty",
	}
	if d := cmp.Diff(want, rows(out, "1", "2", "3", "4", "5")); d != "" {
		t.Errorf("%s\n%s", d, out)
	}
	if !strings.Contains(out, "(2 more, replaced or forgotten: --all)") || strings.Contains(out, "no majority") {
		t.Errorf("the table is:\n%s", out)
	}
	want = append([]string{"1 default (rs-2+2) gone - - - /old"}, append(want, "5 default (rs-2+2) gone - - - /d4")...)
	out = runCommand(t, statusCommand(c), "--all")
	if d := cmp.Diff(want, rows(out, "1", "2", "3", "4", "5")); d != "" {
		t.Errorf("--all: %s\n%s", d, out)
	}
}

// TestStatusJSON: the same is left out as in the table, and states are names.
func TestStatusJSON(t *testing.T) {
	c := administration(t, sampleStatus())
	for args, want := range map[string][]string{"--json": {"active", "active", "down"}, "--json --all": {"gone", "active", "active", "down", "gone"}} {
		var st struct {
			Map struct{ Nodes []struct{ State string } }
		}
		if err := json.Unmarshal([]byte(runCommand(t, statusCommand(c), strings.Fields(args)...)), &st); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range st.Map.Nodes {
			got = append(got, n.State)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", args, d)
		}
	}
}

func TestStatusWithoutMajority(t *testing.T) {
	st := sampleStatus()
	st.Leader = ""
	out := runCommand(t, statusCommand(administration(t, st)))
	if !strings.Contains(out, "no majority") || !strings.Contains(out, "holdfast admin catalog alone --lost-for-good") {
		t.Errorf("the table does not say what to do:\n%s", out)
	}
}

func TestClockAcceptSaysWhat(t *testing.T) {
	st := sampleStatus()
	st.Fence = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	out := runCommand(t, clockCommand(administration(t, st)), "accept")
	if want := "catalog time is 2026-05-02T13:00:00Z now; it was 2026-05-01T12:00:00Z, 25h0m0s behind the clock\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	at := time.UnixMilli(st.Fence)
	if got := clockChange(at, at.Add(50*time.Second)); !strings.Contains(got, "had followed the clock already") {
		t.Errorf("nothing to accept: %q", got)
	}
}

func TestAloneSaysWhatIsLeft(t *testing.T) {
	out := runCommand(t, catalogCommand(administration(t, sampleStatus())), "alone", "--lost-for-good")
	for _, want := range []string{"/d1/catalog", "/d4/catalog", "holdfast admin disk replace", "holdfast fsck --adopt"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
}

// TestInspectionTable: an object without a class of its own is STANDARD, and
// what is said above a table does not widen its columns.
func TestInspectionTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	err := writeInspection(w, &gateway.Inspection{Bucket: "b", Key: "k", Extents: []gateway.ExtentInspection{{Length: 9_000_000, Shards: []gateway.ShardInspection{{Node: 7}}}}})
	if err = errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "class     STANDARD\n") || !strings.Contains(out.String(), "\nSHARD  NODE  ") {
		t.Errorf("the table is\n%s", out.String())
	}
}
