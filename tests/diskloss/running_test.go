package diskloss

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// TestEmptiedWhileRunning empties a directory under a running server, which
// must not make it look like a member's again: it stays empty over a stop and
// a start, everything is read, and one command refills it.
func TestEmptiedWhileRunning(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Dirs: 4, Scheme: "rs-2+2"})
	s.write(t, "first", 100, 20_000, 2<<20)
	names, err := filepath.Glob(filepath.Join(s.Dirs[1], "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if err := os.RemoveAll(n); err != nil {
			t.Fatal(err)
		}
	}
	s.verify(t, "with a directory emptied under the server")
	s.Restart()
	if left, _ := os.ReadDir(s.Dirs[1]); len(left) != 0 {
		t.Fatalf("the emptied directory has %v in it after a restart", left)
	}
	s.verify(t, "after a restart with the directory empty")
	harness.Until(t, 30*time.Second, "the status to find what is below", func() bool { return s.Status().BlobsBelow > 0 })
	s.MustAdmin("disk", "replace", s.Dirs[1])
	harness.Until(t, 60*time.Second, "the directory to be refilled", func() bool {
		st := s.Status()
		return st.BlobsBelow == 0 && st.Queues["repair"].Length == 0
	})
	s.Stop()
	harness.TakeCensus(t, s.Dirs[0]).Clean(t)
}
