package allinone

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/internal/vfs"
	"holdfast/tracker"
)

// TestStatusSaysWhy: a directory that is missing and a node that takes no
// writes have their reason in the status, with a catalog and without.
func TestStatusSaysWhy(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		empty   []string
		quorum  bool
		missing string // the copies that are missing
	}{
		{"with a majority of the catalog", []string{"/d1", "/d4"}, true, "/d1/catalog"},
		{"without", []string{"/d1", "/d2", "/d4"}, false, "/d1/catalog /d2/catalog"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			dirs := make4(t, mem)
			empties(t, mem, tc.empty...)
			var disk failing
			s, _ := open(t, testConfig(t, vfs.WithHook(mem, disk.hook), dirs...))
			disk.set("/d3/volumes", "/d3/index")
			if err := s.nodes.get(3).ConfirmDisown(t.Context()); err == nil {
				t.Fatal("the node's disk did not fail")
			}
			var st *tracker.Status
			until(t, "the node to be known as read-only", func() bool {
				began := time.Now()
				var err error
				if st, err = s.Status(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("the status took %v", took)
				}
				return st.Map.Node(3).ReadOnly
			})
			if got := st.Map.Node(3).Load.Err; !strings.Contains(got, "until its disk takes writes again") || !strings.Contains(got, "input/output error") {
				t.Errorf("the failed node says %q", got)
			}
			if n := st.Map.Node(4); n.State != tracker.NodeDown || !strings.Contains(n.Load.Err, "holdfast admin disk replace '/d4'") {
				t.Errorf("the missing node is %v and says %q", n.State, n.Load.Err)
			}
			var lost []string
			for _, v := range st.Voters {
				if v.Err != "" {
					lost = append(lost, v.Dir)
				}
			}
			if got := strings.Join(lost, " "); got != tc.missing || (st.Leader != "") != tc.quorum {
				t.Errorf("copies in %s are missing, leader %q; want %s", got, st.Leader, tc.missing)
			}
			wantErr := errNoQuorum
			if tc.quorum {
				wantErr = errFailed
			}
			if err := s.ReplaceDisk(t.Context(), "/d3"); !errors.Is(err, wantErr) {
				t.Errorf("replacing the failed node's directory: %v; want %v", err, wantErr)
			}
			data, err := json.Marshal(st)
			if err != nil || !strings.Contains(string(data), `"State":"down"`) {
				t.Errorf("the status as JSON lacks a state's name: %v: %s", err, data)
			}
		})
	}
}

// TestNodeComesBack: a node whose disk failed a write is used again once the
// disk is well, without a restart, and the status says so all the while.
func TestNodeComesBack(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	dirs := make4(t, mem)
	var disk failing
	cfg := testConfig(t, vfs.WithHook(mem, disk.hook), dirs...)
	cfg.Tune.Node.ReopenEvery = 10 * time.Millisecond
	s, _ := open(t, cfg)
	readOnly := func() bool {
		st, err := s.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := st.Map.Node(3)
		return n.ReadOnly && strings.Contains(n.Load.Err, "until its disk takes writes again")
	}
	disk.set("/d3/volumes", "/d3/index", "/d3/probe")
	failed := s.nodes.get(3)
	if err := failed.ConfirmDisown(t.Context()); err == nil {
		t.Fatal("the node's disk did not fail")
	}
	until(t, "the node to be known as read-only", readOnly)
	disk.set()
	until(t, "the node to be opened anew", func() bool { return s.nodes.get(3) != failed })
	if err := s.nodes.get(3).ConfirmDisown(t.Context()); err != nil {
		t.Errorf("a write to the node: %v", err)
	}
	until(t, "the node to be known as well", func() bool { return !readOnly() })
}
