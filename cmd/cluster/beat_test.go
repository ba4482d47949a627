package cluster

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
	"holdfast/tracker"
)

// TestRefusedNodeKeepsAll: a node that a catalog does not know drops nothing
// for it, not what its own catalog had put into quarantine either.
func TestRefusedNodeKeepsAll(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	if err := node.Format(fs, "/node", node.Identity{Cluster: "c", Node: 3, Incarnation: "one", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), node.Config{FS: fs, Dir: "/node", Cluster: "c", Node: 3, Epoch: 4, Logger: zerolog.Nop(), Reserve: -1,
		Limits: node.Limits{DisownShards: 100, DisownBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	id := storagetest.ID(1)
	if err := storagetest.Put(t.Context(), n, storagetest.Ticket(id.Blob, storage.OpWrite, 3, 4), id, storagetest.Payload(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := n.Disown(t.Context(), []storage.ShardID{id}, time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	s := &Storage{cfg: StorageConfig{Common: Common{Log: zerolog.Nop()}}}
	s.mu.nodes, s.mu.refused = map[storage.NodeID]*node.Node{3: n}, map[storage.NodeID]string{}
	years := time.Now().Add(10 * 365 * 24 * time.Hour).UnixMilli()
	answer := func(incarnation, refused string) {
		s.obey(&tracker.BeatAnswer{Incarnation: incarnation, Now: years, Nodes: []tracker.BeatNode{{ID: 3, Epoch: 4, Refused: refused}}})
		s.maintainOnce(t.Context())
	}
	there := func() bool {
		_, err := n.Stat(t.Context(), id)
		return err == nil
	}
	for _, c := range []struct{ incarnation, refused string }{{"two", "not known"}, {"one", "not known"}, {"two", ""}} {
		if answer(c.incarnation, c.refused); !there() {
			t.Fatalf("dropped for the catalog %q, which says %q", c.incarnation, c.refused)
		}
		if _, err := s.Shards(3); (err == nil) != (c.refused == "") {
			t.Errorf("served: %v, where the catalog says %q", err, c.refused)
		}
	}
	if answer("one", ""); there() {
		t.Error("the quarantine of the node's own catalog does not end")
	}
}
