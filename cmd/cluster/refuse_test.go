package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/erasure"
	"holdfast/internal/vfs"
	"holdfast/storage/node"
	"holdfast/tracker"
)

// TestTrackerOnNode: a new copy of the catalog is not put into a storage
// node's directory; an empty directory, and one that has a copy, are taken.
func TestTrackerOnNode(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	if err := node.Format(fs, "/node", node.Identity{Cluster: "c", Node: 3, Incarnation: "one", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := notOfStorage(fs, "/node"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("a storage node's directory: %v", err)
	}
	for _, dir := range []string{"/empty", "/node/log"} {
		if err := fs.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/empty", "/node"} {
		if err := notOfStorage(fs, dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestOtherGroup: a new node does not join a group of another scheme or
// storage class than it was told, whatever it was told of the other.
func TestOtherGroup(t *testing.T) {
	t.Parallel()
	m := &tracker.Map{Groups: []tracker.Group{{ID: 1, Name: "fast", Scheme: mustScheme(t, "rep-3")}}}
	for _, tc := range []struct{ scheme, class, want string }{
		{"", "", ""}, {"rep-3", "STANDARD", ""},
		{"rep-2", "", "leave --scheme away"}, {"rep-3", "STANDARD_IA", "leave --class away"},
	} {
		s := &Storage{cfg: StorageConfig{Group: "fast", Scheme: tc.scheme, Class: tc.class}}
		_, err := s.group(t.Context(), m)
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%q, %q: %v", tc.scheme, tc.class, err)
		}
	}
}

func mustScheme(t *testing.T, s string) erasure.Scheme {
	t.Helper()
	scheme, err := erasure.ParseScheme(s)
	if err != nil {
		t.Fatal(err)
	}
	return scheme
}
