package allinone

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
)

// disk is a directory of a test: what it holds before a server is started.
type disk struct {
	layout  *Layout
	id      storage.NodeID // 0 is none
	cluster string         // of the identity, "c" where it is not said
	other   bool           // the identity is of another cluster
	names   []string       // of further files; one with a slash at its end is a directory
}

func put(t *testing.T, mem *vfs.Mem, name string) {
	t.Helper()
	var err error
	if dir, ok := strings.CutSuffix(name, "/"); ok {
		err = mem.MkdirAll(dir, 0o700)
	} else if err = mem.MkdirAll(path.Dir(name), 0o700); err == nil {
		err = vfs.WriteFile(mem, name, []byte("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disk) make(t *testing.T, mem *vfs.Mem, dir string) {
	t.Helper()
	put(t, mem, dir+"/")
	var errs []error
	if d.layout != nil {
		errs = append(errs, d.layout.write(mem, dir))
	}
	if d.id != 0 {
		cluster := d.cluster
		switch {
		case d.other:
			cluster = "other"
		case cluster == "":
			cluster = "c"
		}
		errs = append(errs, node.WriteIdentity(mem, dir, node.Identity{Cluster: cluster, Node: d.id}))
	}
	for _, n := range d.names {
		put(t, mem, path.Join(dir, n)+strings.Repeat("/", strings.Count(n, "/")))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// three is the layout of a server with three nodes, at a revision.
func three(revision int, change ...func(*Layout)) *Layout {
	l := &Layout{Format: 1, Revision: revision, Cluster: "c", Incarnation: "i", Scheme: "rep-2", Ready: true,
		Nodes:  []Member{{Node: 1, Dir: "/a"}, {Node: 2, Dir: "/b"}, {Node: 3, Dir: "/c"}},
		Voters: []VoterPlace{{ID: "v1", Node: 1}, {ID: "v2", Node: 2}, {ID: "v3", Node: 3}}}
	for _, f := range change {
		f(l)
	}
	return l
}

// tree lists what is on a file system, without what is in the files.
func tree(t *testing.T, mem *vfs.Mem, dir string) (names []string) {
	t.Helper()
	list, err := mem.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	slices.Sort(list)
	for _, n := range list {
		at := path.Join(dir, n)
		names = append(names, at)
		if info, err := mem.Stat(at); err == nil && info.IsDir() {
			names = append(names, tree(t, mem, at)...)
		}
	}
	return names
}

// TestLook holds what is made of directories before anything is opened: a
// first start, a later one with a layout of some revision, or a refusal.
func TestLook(t *testing.T) {
	t.Parallel()
	unready := func(l *Layout) { l.Ready = false }
	foreign := func(l *Layout) { l.Cluster = "other" }
	for _, tc := range []struct {
		name     string
		disks    map[string]disk // a directory that is not here does not exist
		first    bool
		revision int
		empty    []string
		refused  string
	}{
		{name: "nothing there", first: true, empty: []string{"/a", "/b"}},
		{name: "empty", disks: map[string]disk{"/a": {}, "/b": {}}, first: true, empty: []string{"/a", "/b"}},
		{name: "fresh file systems", disks: map[string]disk{"/a": {names: []string{"lost+found/"}}, "/b": {}}, first: true, empty: []string{"/a", "/b"}},
		{name: "a first write cut off", disks: map[string]disk{"/a": {names: []string{"holdfast.cluster.tmp"}}, "/b": {}}, first: true, empty: []string{"/a", "/b"}},
		{name: "a first start cut off", disks: map[string]disk{"/a": {layout: three(1, unready), id: 1}, "/b": {}}, first: true, revision: 1, empty: []string{"/b"}},
		{name: "both well", disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4), id: 2}}, revision: 4},
		{name: "one behind", disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(7), id: 2}}, revision: 7},
		{name: "one was never ready", disks: map[string]disk{"/a": {layout: three(9, unready), id: 1}, "/b": {layout: three(2), id: 2}}, revision: 2},
		{name: "one not mounted", disks: map[string]disk{"/a": {layout: three(4), id: 1}}, revision: 4, empty: []string{"/b"}},
		{name: "of two servers", disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4, foreign), id: 2, other: true}}, refused: "belongs to server other"},
		{name: "something else", disks: map[string]disk{"/a": {}, "/b": {names: []string{"photo.jpg"}}}, refused: "/b is not empty (photo.jpg is in it)"},
		{name: "something else beside a server's", disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {names: []string{"etc/"}}}, refused: "/b is not empty (etc is in it)"},
		{name: "a node without its layout", disks: map[string]disk{"/a": {}, "/b": {id: 2}}, refused: "copy that file from another directory"},
		{name: "parts of a node", disks: map[string]disk{"/a": {}, "/b": {names: []string{"volumes/"}}}, refused: "/b has files of Holdfast, but neither holdfast.cluster nor holdfast.id"},
		{name: "a damaged layout", disks: map[string]disk{"/a": {names: []string{layoutFile}}}, refused: "/a/holdfast.cluster is damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			for dir, d := range tc.disks {
				d.make(t, mem, dir)
			}
			before := tree(t, mem, "/")
			sv, err := look(mem, []string{"/a", "/b"})
			if d := cmp.Diff(before, tree(t, mem, "/")); d != "" {
				t.Errorf("looking changed something: %s", d)
			}
			if tc.refused != "" {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("got %v, want a refusal with %q", err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			revision := 0
			if sv.layout != nil {
				revision = sv.layout.Revision
			}
			if sv.first() != tc.first || revision != tc.revision || !slices.Equal(sv.empty, tc.empty) {
				t.Errorf("first %v, revision %d, empty %v; want %v, %d, %v", sv.first(), revision, sv.empty, tc.first, tc.revision, tc.empty)
			}
		})
	}
}

// TestPlace holds which node is taken to be in which directory.
func TestPlace(t *testing.T) {
	t.Parallel()
	gone := func(l *Layout) { l.Nodes[1].Gone = true }
	fresh := func(l *Layout) { l.Nodes[1].Fresh = true }
	for _, tc := range []struct {
		name    string
		disks   map[string]disk
		dirs    []string
		want    string // directories of nodes 1 to 3
		open    string // directories that are opened
		refused string
	}{
		{name: "as they were", want: "/a /b /c", open: "/a /b /c",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4), id: 2}, "/c": {layout: three(4), id: 3}}},
		{name: "mounted elsewhere", dirs: []string{"/x", "/a", "/c"}, want: "/x /a /c", open: "/a /c /x",
			disks: map[string]disk{"/x": {layout: three(4), id: 1}, "/a": {layout: three(4), id: 2}, "/c": {layout: three(4), id: 3}}},
		{name: "one not given", dirs: []string{"/a", "/c"}, want: "/a /b /c", open: "/a /c",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/c": {layout: three(4), id: 3}}},
		{name: "one is empty", want: "/a /b /c", open: "/a /c",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {}, "/c": {layout: three(4), id: 3}}},
		{name: "one lost its identity", want: "/a /b /c", open: "/a /c",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4)}, "/c": {layout: three(4), id: 3}}},
		{name: "a format cut off", want: "/a /b /c", open: "/a /b /c",
			disks: map[string]disk{"/a": {layout: three(4, fresh), id: 1}, "/b": {layout: three(4, fresh)}, "/c": {layout: three(4, fresh), id: 3}}},
		{name: "a fresh one with shards and no identity", want: "/a /b /c", open: "/a /c",
			disks: map[string]disk{"/a": {layout: three(4, fresh), id: 1}, "/b": {layout: three(4, fresh), names: []string{"volumes/"}}, "/c": {layout: three(4, fresh), id: 3}}},
		{name: "one was replaced and is back", refused: "/b holds node 2, which was replaced or forgotten",
			disks: map[string]disk{"/a": {layout: three(4, gone), id: 1}, "/b": {layout: three(3), id: 2}}},
		{name: "a node that is not known", refused: "/b holds node 9 of server c, which this server does not know",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4), id: 9}}},
		{name: "a node of another server under this one's layout", refused: "of server other",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4), id: 2, other: true}}},
		{name: "a copy beside the original", dirs: []string{"/a", "/b", "/c", "/copy"}, refused: "/b and /copy both hold node 2, so one is a copy of the other",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4), id: 2}, "/c": {layout: three(4), id: 3}, "/copy": {layout: three(4), id: 2}}},
		{name: "a copy in the place of another", refused: "/b and /c both hold node 2, so one is a copy of the other, and may lack what was written since; the node was last used in /b",
			disks: map[string]disk{"/a": {layout: three(4), id: 1}, "/b": {layout: three(4), id: 2}, "/c": {layout: three(4), id: 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			for dir, d := range tc.disks {
				d.make(t, mem, dir)
			}
			dirs := tc.dirs
			if dirs == nil {
				dirs = []string{"/a", "/b", "/c"}
			}
			sv, err := look(mem, dirs)
			if err != nil {
				t.Fatal(err)
			}
			l, err := (&Server{cfg: testConfig(t, mem, dirs...)}).place(sv)
			if tc.refused != "" {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("got %v, want a refusal with %q", err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var where, open []string
			for _, m := range l.Nodes {
				where = append(where, m.Dir)
				if sv.layouts[m.Dir] != nil {
					open = append(open, m.Dir)
				}
			}
			slices.Sort(open)
			if got := strings.Join(where, " "); got != tc.want {
				t.Errorf("nodes are in %s, want %s", got, tc.want)
			}
			if got := strings.Join(open, " "); got != tc.open {
				t.Errorf("opened are %s, want %s", got, tc.open)
			}
		})
	}
}

// TestFirstStartRefused: what cannot end well is refused before anything is
// made in, or instead of, the directories.
func TestFirstStartRefused(t *testing.T) {
	t.Parallel()
	denied := func(where string) vfs.Hook {
		return func(op vfs.Op, p string) error {
			if op == vfs.OpCreate && strings.HasPrefix(p, where) {
				return &os.PathError{Op: "open", Path: p, Err: fs.ErrPermission}
			}
			return nil
		}
	}
	for _, tc := range []struct {
		name     string
		change   func(*Config)
		capacity int64
		hook     vfs.Hook
		want     []string
	}{
		{name: "too little space", capacity: 2<<30 + 1<<20, want: []string{"/new/a has", "MiB free", "needs 2304 MiB"}},
		{name: "under 3 % is free", capacity: 64 << 30, change: func(c *Config) {
			f, err := c.FS.Create("/old", "")
			if err == nil {
				err = errors.Join(f.Preallocate(0, 62<<30), f.Close())
			}
			if err != nil {
				panic(err)
			}
		}, want: []string{"needs", "free some"}},
		{name: "a scheme that is too wide", change: func(c *Config) { c.Scheme = "rs-4+2" }, want: []string{"rs-4+2 needs 6 directories and 2 are given"}},
		{name: "no scheme", change: func(c *Config) { c.Scheme = "raid5" }, want: []string{"raid5"}},
		{name: "somebody else's directory", hook: denied("/b"), want: []string{"/b cannot be written to", "the server runs as user", "chown -R", "'/b'"}},
		{name: "somebody else's parent", hook: denied("/new"), want: []string{"cannot be made by user", "chown", "'/new/a'"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			put(t, mem, "/b/")
			if tc.capacity > 0 {
				mem.SetCapacity(tc.capacity)
			}
			var fsys vfs.FS = mem
			if tc.hook != nil {
				fsys = vfs.WithHook(mem, tc.hook)
			}
			cfg := testConfig(t, fsys, "/new/a", "/b")
			if tc.change != nil {
				tc.change(&cfg)
			}
			before := tree(t, mem, "/")
			s, err := Open(t.Context(), cfg)
			if err == nil {
				t.Fatal(errors.Join(errors.New("it started"), s.Close()))
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the refusal lacks %q: %v", w, err)
				}
			}
			if d := cmp.Diff(before, tree(t, mem, "/")); d != "" {
				t.Errorf("the refused start left something: %s", d)
			}
		})
	}
}

// TestDeniedLater holds what a later start says of a directory that may not
// be read.
func TestDeniedLater(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	dirs := make4(t, mem)
	fsys := vfs.WithHook(mem, func(op vfs.Op, p string) error {
		if strings.HasPrefix(p, "/d3/") {
			return &os.PathError{Op: op.String(), Path: p, Err: fs.ErrPermission}
		}
		return nil
	})
	_, err := Open(t.Context(), testConfig(t, fsys, dirs...))
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "chown -R") || !strings.Contains(err.Error(), "'/d3'") {
		t.Errorf("got %v; want what to do with /d3", err)
	}
}

// TestLaterStart starts a server again on what was done to its directories.
func TestLaterStart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		change  func(t *testing.T, mem *vfs.Mem)
		dirs    []string
		scheme  string
		nodes   int // that are open; 0 is refused
		copies  int
		refused string
	}{
		{name: "unchanged", nodes: 4, copies: 3},
		{name: "its own scheme", scheme: "rs-2+2", nodes: 4, copies: 3},
		{name: "another scheme", scheme: "rep-2", refused: "was made with --scheme rs-2+2"},
		{name: "a directory more", dirs: []string{"/d1", "/d2", "/d3", "/d4", "/d5"}, change: func(t *testing.T, mem *vfs.Mem) { put(t, mem, "/d5/") }, nodes: 5, copies: 3},
		{name: "a directory more that is not there", dirs: []string{"/d1", "/d2", "/d3", "/d4", "/d5"}, nodes: 4, copies: 3},
		{name: "one empty, one more", dirs: []string{"/d1", "/d2", "/d3", "/d4", "/d5"}, nodes: 3, copies: 3,
			change: func(t *testing.T, mem *vfs.Mem) { empties(t, mem, "/d4"); put(t, mem, "/d5/") }},
		{name: "a catalog's directory empty", nodes: 3, copies: 2, change: func(t *testing.T, mem *vfs.Mem) { empties(t, mem, "/d1") }},
		{name: "a copy of the catalog lost", nodes: 4, copies: 2, change: func(t *testing.T, mem *vfs.Mem) { empties(t, mem, "/d1/catalog") }},
		{name: "all copies of the catalog lost", refused: "no copy of the catalog is reachable",
			change: func(t *testing.T, mem *vfs.Mem) { empties(t, mem, "/d1", "/d2", "/d3") }},
		{name: "only directories without a catalog", dirs: []string{"/d4"}, refused: "no copy of the catalog is reachable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			dirs := make4(t, mem)
			if tc.change != nil {
				tc.change(t, mem)
			}
			if tc.dirs != nil {
				dirs = tc.dirs
			}
			cfg := testConfig(t, mem, dirs...)
			cfg.Scheme = tc.scheme
			if tc.refused != "" {
				if s, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("got %v, want %q in it", err, tc.refused)
					if err == nil {
						s.Close()
					}
				}
				return
			}
			s, _ := open(t, cfg)
			if n := len(s.nodes.all()); n != tc.nodes {
				t.Errorf("%d nodes are open, want %d", n, tc.nodes)
			}
			if n, _ := well(t, s); n != tc.copies {
				t.Errorf("%d copies of the catalog are well, want %d: %+v", n, tc.copies, s.log.Status().Voters)
			}
		})
	}
}

func empties(t *testing.T, mem *vfs.Mem, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := errors.Join(mem.RemoveAll(d), mem.MkdirAll(d, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
}
