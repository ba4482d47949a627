package main

import (
	"strings"
	"testing"

	"holdfast/internal/peer"
)

// TestClusterID: the id of a cluster is the same in either case of its letters.
func TestClusterID(t *testing.T) {
	t.Parallel()
	const id = "bedc8b75-17c4-3ebc-929d-54eff22a844b"
	env := func(name string) (string, bool) { return strings.Repeat("s", 43), name == clusterSecret }
	for given, want := range map[string]string{id: id, strings.ToUpper(id): id, "bedc8b75": "", "{" + id + "}": ""} {
		o := roleFlags{clusterID: given}
		a, err := o.access(peer.Storage, env)
		if (err == nil) != (want != "") || err == nil && a.Cluster() != want {
			t.Errorf("%s: %s, %v; want %q", given, a.Cluster(), err, want)
		}
	}
}
