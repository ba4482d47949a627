package allinone

import (
	"errors"
	"slices"
	"testing"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/tracker"
)

// TestRoleAndPolicy sets both in a server of one process: they hold at once
// and after a restart.
func TestRoleAndPolicy(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, vfs.NewMem(), "/d1", "/d2", "/d3", "/d4")
	s, stop := open(t, cfg)
	until(t, "the level that policies need", func() bool {
		_, err := s.SetPolicy(t.Context(), &tracker.SetPolicy{Kind: tracker.RoundRobin})
		return err == nil
	})
	if _, err := s.SetPolicy(t.Context(), &tracker.SetPolicy{}); err != nil {
		t.Fatal(err)
	}
	bucket, err := s.Catalog().CreateBucket(t.Context(), &tracker.CreateBucket{Name: "bucket"})
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.svc.Place(t.Context(), &tracker.PlaceRequest{Bucket: bucket.ID, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetNodeRole(t.Context(), 2, tracker.RoleReadOnly, false); !errors.Is(err, tracker.ErrTooFewNodes) {
		t.Error("three are left of rs-2+2:", err)
	}
	if n, err := s.SetNodeRole(t.Context(), 2, tracker.RoleReadOnly, true); err != nil || n.Role != tracker.RoleReadOnly {
		t.Fatal(n, err)
	}
	if p, err := s.SetPolicy(t.Context(), &tracker.SetPolicy{Bucket: "bucket", Kind: tracker.Pinned, Group: "default"}); err != nil || p.GroupID != 1 {
		t.Fatal(p, err)
	}
	// A ticket of before opens no shard on the node any more, on others it does.
	for index, p := range before.Shards {
		api, err := s.nodes.Shards(p.Node)
		if err != nil {
			t.Fatal(err)
		}
		w, err := api.Create(t.Context(), &before.Ticket, storage.ShardID{Blob: before.Blob, Index: uint8(index), Gen: p.Gen}, 1)
		if errors.Is(err, storage.ErrStaleEpoch) != (p.Node == 2) || err != nil && p.Node != 2 {
			t.Errorf("node %d opens a shard under a ticket of before: %v", p.Node, err)
		}
		if err == nil {
			w.Abort()
		}
	}
	holds := func(s *Server) {
		t.Helper()
		g, err := s.svc.Place(t.Context(), &tracker.PlaceRequest{Bucket: bucket.ID, Size: 1})
		if err != nil || len(g.Ticket.Nodes) != 3 || slices.ContainsFunc(g.Ticket.Nodes, func(n storage.Grantee) bool { return n.Node == 2 }) {
			t.Errorf("grant %+v, %v", g, err)
		}
		list, err := s.Policies(t.Context())
		if err != nil || len(list) != 1 || list[0].Bucket != "bucket" || list[0].Group != "default" || list[0].Kind != tracker.Pinned {
			t.Errorf("policies %+v, %v", list, err)
		}
	}
	holds(s)
	stop()
	s, _ = open(t, cfg)
	holds(s)
	st, err := s.Status(t.Context())
	if err != nil || st.Map.Node(2).Role != tracker.RoleReadOnly || st.Map.Node(1).Role != tracker.RoleReadWrite {
		t.Error(st, err)
	}
}
