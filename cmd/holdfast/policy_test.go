package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/gateway/admin"
	"holdfast/tracker"
)

// recorder answers every call with out, and notes what was asked.
func recorder(t *testing.T, out any) (c *adminClient, asked *[]string) {
	t.Helper()
	t.Setenv("HOLDFAST_ROOT_USER", "root-of-test")
	t.Setenv("HOLDFAST_ROOT_PASSWORD", "secret-of-test")
	asked = new([]string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body any
		_ = json.NewDecoder(r.Body).Decode(&body) // a GET has none
		text, err := json.Marshal(body)
		if err != nil {
			t.Error(err)
		}
		*asked = append(*asked, r.Method+" "+strings.TrimPrefix(r.URL.Path, admin.Prefix)+" "+string(text))
		_ = json.NewEncoder(w).Encode(out) // the client says if it fails
	}))
	t.Cleanup(srv.Close)
	return &adminClient{endpoint: srv.URL, region: "us-east-1", timeout: time.Minute}, asked
}

func TestPolicyCommands(t *testing.T) {
	set := tracker.Policy{BucketID: 7, Bucket: "photos", Kind: tracker.Pinned, GroupID: 1, Group: "fast"}
	c, asked := recorder(t, &set)
	if out := runCommand(t, policyCommand(c), "set", "pinned", "--bucket", "photos", "--group", "fast"); out != "new data of bucket photos: pinned fast\n" {
		t.Errorf("set prints %q", out)
	}
	var got struct{ Bucket, Kind, Group string }
	if err := json.Unmarshal([]byte(runCommand(t, policyCommand(c), "set", "round-robin", "--class", "STANDARD_IA", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Bucket != "photos" || got.Kind != "pinned" || got.Group != "fast" {
		t.Errorf("--json: %+v", got)
	}
	runCommand(t, policyCommand(c), "clear", "--bucket", "photos", "--class", "STANDARD_IA")
	want := []string{
		`POST policy/set {"bucket":"photos","class":"","group":"fast","policy":"pinned"}`,
		`POST policy/set {"bucket":"","class":"STANDARD_IA","group":"","policy":"round-robin"}`,
		`POST policy/clear {"bucket":"photos","class":"STANDARD_IA","group":"","policy":""}`,
	}
	if d := cmp.Diff(want, *asked); d != "" {
		t.Error(d)
	}
	for args, want := range map[string]string{"set pinned": "--group NAME", "set balance --group fast": "goes with pinned", "set spread": "balance, round-robin or pinned"} {
		cmd := policyCommand(c)
		cmd.SetArgs(strings.Fields(args))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	c, _ = recorder(t, []tracker.Policy{{Kind: tracker.RoundRobin}, set})
	if d := cmp.Diff([]string{"the cluster round-robin", "bucket photos pinned fast"}, rows(runCommand(t, policyCommand(c), "list"), "the", "bucket")); d != "" {
		t.Error(d)
	}
	c, _ = recorder(t, []tracker.Policy{})
	if d := cmp.Diff([]string{"the cluster balance"}, rows(runCommand(t, policyCommand(c), "list"), "the")); d != "" {
		t.Error(d)
	}
}

func TestNodeRole(t *testing.T) {
	c, asked := recorder(t, &tracker.Node{ID: 7, Role: tracker.RoleReadOnly})
	if out := runCommand(t, nodeCommand(c), "set", "7", "ro", "--force"); out != "node 7 is ro\n" {
		t.Errorf("set prints %q", out)
	}
	if d := cmp.Diff([]string{`POST node/role {"force":true,"node":7,"role":"ro"}`}, *asked); d != "" {
		t.Error(d)
	}
	st := sampleStatus()
	st.Map.Nodes[1].Role, st.Map.Nodes[1].ReadOnly = tracker.RoleReadOnly, true
	c = administration(t, st)
	if d := cmp.Diff([]string{"2 default (rs-2+2) active, ro 4.0 KiB 512.0 MiB 0 /d2"}, rows(runCommand(t, statusCommand(c)), "2")); d != "" {
		t.Error(d)
	}
	c = administration(t, st)
	if d := cmp.Diff([]string{"2 default (rs-2+2) active ro 0 /d2 4.0 KiB 512.0 MiB 0", "3 default (rs-2+2) active rw 0 /d3 512.0 MiB 0 B 0"},
		rows(runCommand(t, nodeCommand(c), "list"), "2", "3")); d != "" {
		t.Error(d)
	}
	var got struct {
		Map struct {
			Nodes []struct {
				ID   int
				Role string
			}
		}
	}
	if err := json.Unmarshal([]byte(runCommand(t, statusCommand(c), "--json")), &got); err != nil || got.Map.Nodes[0].ID != 2 || got.Map.Nodes[0].Role != "ro" {
		t.Error(got, err)
	}
}
