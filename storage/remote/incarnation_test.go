package remote

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
)

// TestDropForAnotherCatalog asks a node that has just started, and has heard
// of no catalog yet, to drop shards: it goes by what the call says.
func TestDropForAnotherCatalog(t *testing.T) {
	t.Parallel()
	fs, cfg := vfs.NewMem(), node.Config{Dir: "/node", Cluster: "c", Node: 7, Logger: zerolog.Nop()}
	cfg.FS = fs
	if err := node.Format(fs, cfg.Dir, node.Identity{Cluster: "c", Node: 7, Incarnation: "one", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	addr := serve(t, n)
	catalog := "two"
	nodes := connect(t, map[storage.NodeID]string{7: addr})
	nodes.cfg.Incarnation = func() string { return catalog }
	api, err := nodes.Shards(7)
	if err != nil {
		t.Fatal(err)
	}
	ids := []storage.ShardID{{Blob: storage.MakeBlobID(0, 1, 1, 1), Index: 0, Gen: 1}}
	drop := map[string]func(context.Context) error{
		"delete": func(ctx context.Context) error { return api.Delete(ctx, ids) },
		"disown": func(ctx context.Context) error { return api.Disown(ctx, ids, time.Now()) },
	}
	check := func(refused bool) {
		t.Helper()
		for name, f := range drop {
			if err := f(t.Context()); errors.Is(err, storage.ErrIncarnation) != refused || (err != nil) != refused {
				t.Errorf("%s for the catalog %q by a node that knows %q: %v", name, catalog, n.Identity().Incarnation, err)
			}
		}
	}
	check(true)
	catalog = "one"
	check(false)
	// A tracker of before is refused once a person has confirmed the new one.
	if err := api.Adopt(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	check(true)
	catalog = "two"
	check(false)
}
