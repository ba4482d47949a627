package node_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
)

func config(fs vfs.FS, dir string) node.Config {
	return node.Config{FS: fs, Dir: dir, Cluster: "test", Node: 1, Epoch: 4, Logger: zerolog.Nop(), Reserve: -1}
}

func TestDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fs, ctx := vfs.OS(), t.Context()
	if _, err := node.Open(ctx, config(fs, dir)); !errors.Is(err, node.ErrNoIdentity) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Fatal("a refused open left", names, err)
	}
	must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
	if empty, err := node.Empty(fs, dir); !empty || err != nil {
		t.Fatal(empty, err)
	}
	id := node.Identity{Cluster: "test", Node: 1, Created: time.UnixMilli(77).UTC()}
	must(t, node.Format(fs, dir, id))
	if got, err := node.ReadIdentity(fs, dir); err != nil || got != id {
		t.Fatal(got, err)
	}
	if err := node.Format(fs, dir, id); !errors.Is(err, node.ErrNotEmpty) {
		t.Fatal(err)
	}
	n, err := node.Open(ctx, config(fs, dir))
	must(t, err)
	if _, err := node.Open(ctx, config(fs, dir)); !errors.Is(err, node.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	must(t, n.Close())
	must(t, n.Close())
	if _, err := n.Stat(ctx, storagetest.ID(1)); !errors.Is(err, storage.ErrOffline) {
		t.Fatal(err)
	}
	for name, set := range map[string]func(*node.Config){
		"cluster": func(c *node.Config) { c.Cluster = "other" },
		"node":    func(c *node.Config) { c.Node = 2 },
	} {
		c := config(fs, dir)
		set(&c)
		if _, err := node.Open(ctx, c); !errors.Is(err, node.ErrIdentity) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := filepath.Join(dir, "holdfast.id")
	good, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.Replace(good, []byte("test"), []byte("tesu"), 1), 0o600))
	if _, err := node.Open(ctx, config(fs, dir)); !errors.Is(err, storage.ErrCorrupt) {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, "index"))
	must(t, err)
	if fi.Mode().Perm() != 0o700 {
		t.Error("index is open to others:", fi.Mode())
	}
}

func TestIncarnation(t *testing.T) {
	t.Parallel()
	fs, ctx := vfs.NewMem(), t.Context()
	n := open(t, fs, "/node", 1, func(c *node.Config) { c.Incarnation = "one" })
	id := storagetest.ID(1)
	must(t, putOne(t, n, id, storagetest.Payload(1, 10)))
	must(t, n.Disown(ctx, []storage.ShardID{id}, time.UnixMilli(1)))
	must(t, n.Close())
	n = open(t, fs, "/node", 1, func(c *node.Config) { c.Incarnation = "two" })
	for name, call := range map[string]func() error{
		"delete": func() error { return n.Delete(ctx, []storage.ShardID{id}) },
		"disown": func() error { return n.Disown(ctx, []storage.ShardID{id}, time.UnixMilli(1)) },
	} {
		if err := call(); !errors.Is(err, storage.ErrIncarnation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, n.Maintain(ctx, time.UnixMilli(1<<41)))
	wants(t, n, id, storagetest.Payload(1, 10))
	must(t, putOne(t, n, storagetest.ID(2), storagetest.Payload(1, 10)))
	must(t, n.SetIncarnation("two"))
	must(t, n.Delete(ctx, []storage.ShardID{id}))
	must(t, n.Close())
	n = open(t, fs, "/node", 1, func(c *node.Config) { c.Incarnation = "two" })
	must(t, n.Delete(ctx, []storage.ShardID{storagetest.ID(2)}))
	if n.Identity().Incarnation != "two" {
		t.Error(n.Identity())
	}
}

func TestMassDisown(t *testing.T) {
	t.Parallel()
	fs, ctx := vfs.NewMem(), t.Context()
	set := func(c *node.Config) { c.Limits = node.Limits{DisownShards: 10, DisownBytes: 100_000} }
	n := open(t, fs, "/node", 1, set)
	var ids []storage.ShardID
	for i := range uint64(40) {
		ids = append(ids, storagetest.ID(i))
		must(t, putOne(t, n, ids[i], storagetest.Payload(i, 1000)))
	}
	big := storagetest.ID(100)
	must(t, putOne(t, n, big, storagetest.Payload(100, 200_000)))
	now := time.UnixMilli(1 << 40)
	must(t, n.Disown(ctx, ids[:10], now))
	must(t, n.Disown(ctx, ids[:10], now)) // nothing new
	must(t, n.Disown(ctx, ids[10:20], now.Add(61*time.Minute)))
	if err := n.Disown(ctx, ids[20:21], now.Add(100*time.Minute)); !errors.Is(err, storage.ErrMassDisown) {
		t.Fatal(err)
	}
	must(t, n.Close())
	n = open(t, fs, "/node", 1, set)
	// A person is waited for, over restarts and hours; nothing ends meanwhile.
	if err := n.Disown(ctx, ids[20:21], now.Add(900*time.Hour)); !errors.Is(err, storage.ErrMassDisown) {
		t.Fatal(err)
	}
	must(t, n.Maintain(ctx, now.Add(900*time.Hour)))
	wants(t, n, ids[0], storagetest.Payload(0, 1000))
	if st, err := n.Status(ctx); err != nil || st.Err == "" || st.ReadOnly || st.Quarantined != 20 {
		t.Fatal(st, err)
	}
	must(t, putOne(t, n, storagetest.ID(101), storagetest.Payload(1, 10)))
	must(t, n.Revive(ctx, ids[:1]))
	must(t, n.ConfirmDisown(ctx))
	must(t, n.Disown(ctx, ids[20:21], now.Add(900*time.Hour)))
	if err := n.Disown(ctx, []storage.ShardID{big}, now.Add(900*time.Hour)); !errors.Is(err, storage.ErrMassDisown) {
		t.Fatal(err)
	}
	must(t, n.ConfirmDisown(ctx))
	must(t, n.Maintain(ctx, now.Add(900*time.Hour)))
	if _, err := n.Stat(ctx, ids[1]); !errors.Is(err, storage.ErrNotHere) {
		t.Fatal(err)
	}
	wants(t, n, ids[0], storagetest.Payload(0, 1000))
}

// TestRun lets the background loops free and scrub, and ends them.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	damaged := make(chan storage.Damage, 10)
	n := open(t, vfs.OS(), dir, 1, func(c *node.Config) {
		c.Damage = func(d storage.Damage) { damaged <- d }
	})
	id, gone := storagetest.ID(1), storagetest.ID(2)
	must(t, putOne(t, n, id, storagetest.Payload(1, 2<<20)))
	must(t, putOne(t, n, gone, storagetest.Payload(2, 2<<20)))
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "0*", id.Blob.String()+"*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	must(t, os.Truncate(files[0], 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	select {
	case d := <-damaged:
		if d.Shard != id || d.Node != 1 || d.Reason == "" {
			t.Error(d)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("scrub found nothing")
	}
	must(t, n.Delete(ctx, []storage.ShardID{gone}))
	for deadline := time.After(20 * time.Second); ; {
		left, err := filepath.Glob(filepath.Join(dir, "blobs", "0*", "*"))
		must(t, err)
		if len(left) == 1 {
			break
		}
		select {
		case <-deadline:
			t.Fatal("deleted file stays: ", left)
		default:
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDirectoryGone takes the directory away under an open node: a disk that
// was unmounted, an rm too many. Its files stay open and take every write, and
// nothing of that would be there after a restart, so the node must take none.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(dir string) error{
		"emptied": func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "volumes")), os.Remove(filepath.Join(dir, "holdfast.id")))
		},
		"moved": func(dir string) error { return os.Rename(dir, dir+".away") },
		"another's": func(dir string) error {
			return node.WriteIdentity(vfs.OS(), dir, node.Identity{Cluster: "test", Node: 2})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "node")
			n := open(t, vfs.OS(), dir, 1, nil)
			first := storagetest.ID(1)
			must(t, putOne(t, n, first, storagetest.Payload(1, 5000)))
			must(t, take(dir))
			if st, err := n.Status(t.Context()); err != nil || !st.ReadOnly || st.Err == "" {
				t.Errorf("status: %+v, %v", st, err)
			}
			if err := putOne(t, n, storagetest.ID(2), storagetest.Payload(2, 5000)); !errors.Is(err, storage.ErrOffline) {
				t.Errorf("write: %v", err)
			}
		})
	}
}
