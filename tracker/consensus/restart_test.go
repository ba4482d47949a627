package consensus

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestAppliedNeverFalls: what a group says that it applied is compared with
// what was remembered, to notice a state that was rolled back. Starts that
// end before a command must not move it ahead of what the next start reaches.
func TestAppliedNeverFalls(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ {
		cfg := group(t, n, oneFS(vfs.NewMem()))
		cfg.Bootstrap = true
		l := mustOpen(t, cfg)
		mustPropose(t, l, "a")
		mustClose(t, l)
		cfg.Bootstrap = false
		var highest uint64
		for range 12 {
			l := mustOpen(t, cfg)
			if _, release, err := l.Read(t.Context()); err != nil {
				t.Fatal(err)
			} else {
				release()
			}
			var applied uint64
			for _, v := range l.Status().Voters {
				applied = max(applied, v.Applied)
			}
			mustClose(t, l)
			if applied < highest {
				t.Fatalf("%d voters: applied %d after %d", n, applied, highest)
			}
			highest = applied
		}
	}
}
