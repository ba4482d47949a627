package diskloss

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
	"holdfast/tracker"
)

// copies counts the catalog copies that work, and all that are listed.
func copies(st *tracker.Status) (well, all int) {
	for _, v := range st.Voters {
		if all++; v.Err == "" {
			well++
		}
	}
	return well, all
}

// wellCopies waits until all copies that are listed work, and fails unless they
// are so many at least. One whose disk is slow says so meanwhile, and is
// waited for; how many there are is known at once.
func (s *store) wellCopies(t *testing.T, least int, when string) {
	t.Helper()
	if _, all := copies(s.Status()); all < least {
		t.Errorf("the catalog has %d copies %s, want %d:\n%s", all, when, least, s.MustAdmin("status"))
	}
	harness.Until(t, 30*time.Second, "the catalog's copies to be well "+when, func() bool {
		well, all := copies(s.Status())
		return well == all
	})
}

// TestTwoCopiesLost loses two of three catalog copies for good: one command
// goes on from the third, and replacing what was lost gives the catalog its
// copies back without a restart.
func TestTwoCopiesLost(t *testing.T) {
	if testing.Short() {
		t.Skip("opens without a majority and waits for a refill")
	}
	for _, tc := range []struct {
		name  string
		lose  func(dir string) error
		given bool // the lost directories stay on the command line
		least int  // copies from then on that nobody need ask for
	}{
		{"with their directories", os.RemoveAll, true, 2},
		{"with directories that are not given any more", os.RemoveAll, false, 2},
		{"and nothing else", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "catalog")) }, true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.Options{Dirs: 4, Scheme: "rs-2+2"})
			s.write(t, "first", 100, 20_000, 2<<20)
			s.Stop()
			all, lost := s.Dirs, s.Dirs[:2]
			for _, d := range lost {
				if err := tc.lose(d); err != nil {
					t.Fatal(err)
				}
			}
			if !tc.given {
				s.Dirs = s.Dirs[2:]
			}
			s.Launch()
			s.twoCopiesLost(t, lost, tc.least)
			s.Stop()
			s.Dirs = all
			s.Launch()
			s.WaitReady()
			s.wellCopies(t, 3, "after a restart")
			s.verify(t, "after a restart")
		})
	}
}

// twoCopiesLost goes on from the one copy that is left and replaces the others.
func (s *store) twoCopiesLost(t *testing.T, lost []string, least int) {
	t.Helper()
	harness.Until(t, 60*time.Second, "the server to listen", func() bool {
		a, err := s.raw.Do("GET", "/-/live", "", nil)
		return err == nil && a.Status == 200
	})
	if out, err := s.Admin("disk", "replace", lost[0]); err == nil || !strings.Contains(out, "holdfast admin catalog alone") {
		t.Errorf("a replacement without a majority of the catalog does not say what to do: %v: %s", err, out)
	}
	s.MustAdmin("catalog", "alone", "--lost-for-good")
	s.WaitReady()
	s.wellCopies(t, least, "after going on alone")
	s.raw.Must(t, 200, "POST", "/-/admin/v1/fsck/adopt", "", []byte("{}"))
	for _, d := range lost {
		s.MustAdmin("disk", "replace", d)
	}
	s.wellCopies(t, 3, "after both were replaced")
	harness.Until(t, 90*time.Second, "refill", func() bool {
		st := s.Status()
		return st.BlobsBelow == 0 && st.Queues["repair"].Length == 0
	})
	s.verify(t, "after both were replaced")
	s.write(t, "second", 100, 20_000)
}
