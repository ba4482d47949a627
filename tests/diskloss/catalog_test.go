package diskloss

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/cmd/allinone"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/tests/harness"
)

// names lists the shards on a stopped server's disks, quarantined ones too.
func names(t *testing.T, dir string) map[string]storage.NodeID {
	t.Helper()
	out := map[string]storage.NodeID{}
	for _, f := range harness.StoredShards(t, dir) {
		out[f.Info.ID.String()] = f.Node
	}
	return out
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// settle lets a server's background work run for a while.
func settle(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(8 * time.Second): // longer than any worker's first rest
	case <-t.Context().Done():
	}
}

// TestCatalogNotMounted starts servers whose catalog directories are away. No
// new catalog is made, and no node deletes a byte.
func TestCatalogNotMounted(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the workers")
	}
	t.Parallel()
	for _, tc := range []struct {
		name    string
		o       harness.Options
		away    int  // so many catalogs are away
		mount   bool // an empty directory is in their place
		refused bool
	}{
		{"the only one", harness.Options{Dirs: 1}, 1, false, true},
		{"the only one, its mount point is there", harness.Options{Dirs: 1}, 1, true, true},
		{"one of three", harness.Options{Dirs: 4}, 1, false, false},
		{"one of three, its mount point is there", harness.Options{Dirs: 4}, 1, true, false},
		{"all of three", harness.Options{Dirs: 4}, 3, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, tc.o)
			s.write(t, "first", sizes...)
			s.Stop()
			before := names(t, s.Dirs[0])
			for i := range tc.away {
				catalog := filepath.Join(s.Dirs[i], "catalog")
				rename(t, catalog, catalog+".away")
				if tc.mount {
					if err := os.Mkdir(catalog, 0o700); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tc.refused {
				refused(t, tc.name, []string{"no copy of the catalog is reachable", "catalog", "mount"}, s.Dirs...)
			} else {
				s.Launch()
				s.WaitReady()
				s.verify(t, "a copy of the catalog is away")
				s.write(t, "second", 100, 20_000)
				settle(t)
				s.Stop()
			}
			if after := names(t, s.Dirs[0]); !contains(after, before) {
				t.Errorf("shards are gone: %s", cmp.Diff(before, after))
			}
			for i := range tc.away {
				catalog := filepath.Join(s.Dirs[i], "catalog")
				if err := os.RemoveAll(catalog); err != nil {
					t.Fatal(err)
				}
				rename(t, catalog+".away", catalog)
			}
			s.Launch()
			s.WaitReady()
			s.verify(t, "the catalog is back")
			s.census(t)
		})
	}
}

func contains(all, some map[string]storage.NodeID) bool {
	for k, v := range some {
		if all[k] != v {
			return false
		}
	}
	return true
}

// TestCatalogRolledBack puts an old copy of the catalog in the place of the
// present one, as a person would restore a backup. What the old copy does not
// know is not deleted, however long it takes anybody to notice.
func TestCatalogRolledBack(t *testing.T) {
	if testing.Short() {
		t.Skip("lets days pass")
	}
	for _, o := range []harness.Options{{Dirs: 1, Scheme: "rep-1"}, {Dirs: 4, Scheme: "rs-2+2"}} {
		t.Run(o.Scheme, func(t *testing.T) {
			t.Parallel()
			clk := harness.NewClock()
			s := harness.StartLocal(t, harness.LocalOptions{Options: o, Clock: clk,
				Tune: allinone.Tune{TicketLife: time.Minute, Ballast: -1, Node: node.Limits{SpaceEvery: time.Second}}})
			st := &store{Server: s.Server, raw: s.Raw()}
			st.raw.Must(t, 200, "PUT", "/loss", "", nil)
			st.write(t, "old", sizes...)
			s.Stop()
			for _, d := range s.Dirs {
				copyTree(t, filepath.Join(d, "catalog"), filepath.Join(d, "..", filepath.Base(d)+".backup"))
			}
			s.Launch()
			st.write(t, "new", sizes...)
			s.Stop()
			before := names(t, s.Dirs[0])
			for _, d := range s.Dirs {
				if err := os.RemoveAll(filepath.Join(d, "catalog")); err != nil {
					t.Fatal(err)
				}
				copyTree(t, filepath.Join(d, "..", filepath.Base(d)+".backup"), filepath.Join(d, "catalog"))
			}
			if err := s.TryLaunch(); err == nil {
				for range 36 {
					s.Pass(clk, 2*time.Hour)
				}
				s.Stop()
			} else {
				t.Logf("refused: %v", err)
			}
			if after := names(t, s.Dirs[0]); !contains(after, before) {
				t.Errorf("nodes deleted shards on the word of an old catalog: %d of %d are left", len(after), len(before))
			}
		})
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if _, err := os.Stat(from); err != nil {
		return // no voter there
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
