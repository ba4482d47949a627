package allinone

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/golden"
	"holdfast/internal/vfs"
)

func goldenLayout() *Layout {
	return &Layout{Format: 1, Revision: 12, Cluster: "5f3e", Incarnation: "a1", Scheme: "rs-2+1",
		Nodes:  []Member{{Node: 1, Dir: "/disk1"}, {Node: 2, Dir: "/disk 2"}, {Node: 3, Dir: "/old", Gone: true}},
		Voters: []VoterPlace{{ID: "v1", Node: 1}}, Applied: 99, Ready: true}
}

// plainLayout is a layout file as it was before it had a sum.
func plainLayout(t *testing.T, l *Layout) []byte {
	t.Helper()
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// TestLayoutGolden holds the file in both its forms: a server that was stopped
// under an old release starts from it under a new one.
func TestLayoutGolden(t *testing.T) {
	t.Parallel()
	sealed, err := goldenLayout().encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range golden.Check(t, "testdata/layout.golden", []golden.Line{{Name: "plain", Bytes: plainLayout(t, goldenLayout())}, {Name: "sealed", Bytes: sealed}}) {
		l, err := decodeLayout(f.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if d := cmp.Diff(goldenLayout(), l); d != "" {
			t.Errorf("%s: %s", f.Name, d)
		}
		// What a release before the sum makes of it.
		old := &Layout{}
		if err := json.Unmarshal(f.Bytes, old); err != nil || !cmp.Equal(old, goldenLayout()) {
			t.Errorf("%s: an older release reads %+v (%v)", f.Name, old, err)
		}
	}
}

// TestLayoutDamage: no flipped bit and no cut gives another layout.
func TestLayoutDamage(t *testing.T) {
	t.Parallel()
	sealed, err := goldenLayout().encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		if l, err := decodeLayout(sealed[:i]); err == nil {
			t.Fatalf("cut after %d bytes it reads as %+v", i, l)
		}
		for bit := range 8 {
			b := bytes.Clone(sealed)
			b[i] ^= 1 << bit
			if l, err := decodeLayout(b); err == nil && !cmp.Equal(l, goldenLayout()) {
				t.Fatalf("with bit %d of byte %d flipped it reads as %+v", bit, i, l)
			}
		}
	}
	// Without a sum, the key that says whether anything was acknowledged.
	plain := string(plainLayout(t, goldenLayout()))
	if l, err := decodeLayout([]byte(strings.Replace(plain, `"ready"`, `"reado"`, 1))); err == nil {
		t.Errorf("with a key that rotted it reads as %+v", l)
	}
	if _, err := decodeLayout([]byte(strings.Replace(plain, `"format": 1`, `"format": 2`, 1))); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a newer format: %v", err)
	}
}

func TestLayoutFile(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := readLayout(fs, "/d"); l != nil || err != nil {
		t.Fatal(l, err)
	}
	if err := goldenLayout().write(fs, "/d"); err != nil {
		t.Fatal(err)
	}
	if l, err := readLayout(fs, "/d"); err != nil || !cmp.Equal(l, goldenLayout()) {
		t.Fatal(l, err)
	}
	if err := vfs.WriteFile(fs, "/d/"+layoutFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := readLayout(fs, "/d"); err == nil || !strings.HasPrefix(err.Error(), "/d/"+layoutFile+" is damaged") {
		t.Fatal(err)
	}
}

func FuzzLayout(f *testing.F) {
	sealed, err := goldenLayout().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte(`{"format":1,"ready":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decodeLayout(data)
		if err != nil {
			return
		}
		b, err := l.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeLayout(b)
		if err != nil {
			t.Fatal(err)
		}
		c, err := again.encode()
		if err != nil || !bytes.Equal(b, c) {
			t.Fatalf("%s reads back as %s (%v)", b, c, err)
		}
	})
}
