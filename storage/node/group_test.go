package node

import (
	"runtime"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
)

// TestReadyWritersShareASync has many writers on one processor and a disk that
// never makes one wait, so that nothing but the committer brings them together.
func TestReadyWritersShareASync(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	fs := vfs.NewMem()
	if err := fs.MkdirAll("node", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Format(fs, "node", Identity{Cluster: "test", Node: 1}); err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), Config{FS: fs, Dir: "node", Cluster: "test", Node: 1, Epoch: 1, Logger: zerolog.Nop(), Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	const writers, shards = 32, 10
	before := n.stats.syncs.Load()
	var wg sync.WaitGroup
	for w := range uint64(writers) {
		wg.Go(func() {
			for i := range uint64(shards) {
				if err := put(n, w<<8|i, make([]byte, 16<<10)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if syncs := n.stats.syncs.Load() - before; syncs > writers*shards/5 {
		t.Errorf("%d shards of %d writers took %d syncs", writers*shards, writers, syncs)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
