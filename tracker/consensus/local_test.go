package consensus

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestOpenProposeRestart(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			cfg := group(t, n, oneFS(vfs.NewMem()))
			cfg.Bootstrap = true
			begin := time.Now()
			l := mustOpen(t, cfg)
			t.Logf("bootstrap took %v", time.Since(begin))
			cfg.Bootstrap = false
			for round := range 3 {
				for i := range 50 {
					mustPropose(t, l, fmt.Sprintf("%d.%d", round, i))
				}
				begin = time.Now()
				mustClose(t, l)
				closed := time.Since(begin)
				begin = time.Now()
				l = mustOpen(t, cfg)
				opened := time.Since(begin)
				t.Logf("close took %v, open %v", closed, opened)
				// Usually milliseconds; what matters is that no timeout of
				// Raft's is waited for.
				if closed > 4*time.Second || opened > 4*time.Second {
					t.Errorf("too slow")
				}
				for i := range 50 {
					key := fmt.Sprintf("%d.%d", round, i)
					if got := lookup(t, l, key); got != key {
						t.Fatalf("%s is %q after a restart", key, got)
					}
				}
			}
			mustClose(t, l)
		})
	}
}
