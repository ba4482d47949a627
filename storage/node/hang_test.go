package node_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/vfs"
	"holdfast/storage/node"
	"holdfast/storage/storagetest"
)

// TestHangingDiskIsTold: while a write hangs, or every call on the disk does,
// Status answers and says so, and not that the node is read-only; it is well
// again once the disk is.
func TestHangingDiskIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		size  int
		hangs func(op vfs.Op) bool
	}{
		{"writes of small shards", 1000, func(op vfs.Op) bool { return op == vfs.OpWrite }},
		{"syncs of small shards", 1000, func(op vfs.Op) bool { return op == vfs.OpSync }},
		{"writes of large shards", 2 << 20, func(op vfs.Op) bool { return op == vfs.OpWrite }},
		{"syncs of large shards", 2 << 20, func(op vfs.Op) bool { return op == vfs.OpSync }},
		{"files of large shards", 2 << 20, func(op vfs.Op) bool { return op == vfs.OpCreate }},
		{"all", 0, func(vfs.Op) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var hangs atomic.Bool
			released := make(chan struct{})
			fs := vfs.WithHook(vfs.NewMem(), func(op vfs.Op, path string) error {
				if hangs.Load() && strings.HasPrefix(path, "/node") && c.hangs(op) {
					<-released
				}
				return nil
			})
			n := open(t, fs, "/node", 1, func(c *node.Config) { c.Limits.HangAfter = 20 * time.Millisecond })
			told := func(want string) {
				t.Helper()
				deadline := time.Now().Add(30 * time.Second)
				for {
					st, err := n.Status(t.Context())
					must(t, err)
					if st.ReadOnly {
						t.Fatal("read-only:", st.Err)
					}
					if st.Err == want || want != "" && strings.Contains(st.Err, want) {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("Status tells %q, want %q", st.Err, want)
					}
				}
			}
			told("")
			hangs.Store(true)
			wrote := make(chan error, 1)
			if c.size > 0 {
				go func() { wrote <- putOne(t, n, storagetest.ID(1), storagetest.Payload(1, c.size)) }()
			} else {
				wrote <- nil
			}
			told("disk hangs")
			hangs.Store(false)
			close(released)
			must(t, <-wrote)
			told("")
			if c.size > 0 {
				wants(t, n, storagetest.ID(1), storagetest.Payload(1, c.size))
			}
		})
	}
}
