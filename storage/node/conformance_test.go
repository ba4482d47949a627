package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open formats dir where it is empty and opens it as node id.
func open(t *testing.T, fs vfs.FS, dir string, id storage.NodeID, set func(*node.Config)) *node.Node {
	t.Helper()
	if empty, err := node.Empty(fs, dir); err == nil && empty {
		must(t, node.Format(fs, dir, node.Identity{Cluster: "test", Node: id}))
	}
	cfg := node.Config{FS: fs, Dir: dir, Cluster: "test", Node: id, Epoch: 4, Logger: zerolog.Nop(), Reserve: -1}
	if set != nil {
		set(&cfg)
	}
	n, err := node.Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

func conformance(t *testing.T, dir func(*testing.T) (vfs.FS, string), limits node.Limits) {
	storagetest.Run(t, func(t *testing.T, id storage.NodeID, nodes storage.Nodes) storagetest.Target {
		fs, d := dir(t)
		start := func() *node.Node {
			return open(t, fs, d, id, func(c *node.Config) { c.Nodes, c.Limits = nodes, limits })
		}
		n := start()
		return storagetest.Target{Shards: n, Epoch: 4, SetEpoch: func(e uint32) { n.SetEpoch(e) },
			EndQuarantine: func(now time.Time) { must(t, n.Maintain(context.Background(), now)) },
			Reopen: func() storage.Shards {
				must(t, n.Close())
				n = start()
				return n
			}}
	})
}

func TestConformanceDisk(t *testing.T) {
	conformance(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() }, node.Limits{})
}

// TestConformanceMemory uses the smallest volumes, so that they roll and are
// rewritten all the time.
func TestConformanceMemory(t *testing.T) {
	conformance(t, func(*testing.T) (vfs.FS, string) { return vfs.NewMem(), "/node" },
		node.Limits{VolumeSize: 1, BufferBytes: 1, OpenFiles: 2})
}
