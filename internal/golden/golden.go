// Package golden holds formats by fixtures: files that say, line after line,
// a name and the bytes in hexadecimal that a release wrote under it. It is for
// tests only and has no goroutine. A fixture is added to and never changed: a
// line that differs is a disk, or a message, that can be read no longer.
package golden

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Line is one encoding. Its name has no space; the bytes may be none.
type Line struct {
	Name  string
	Bytes []byte
}

// Check fails t where got, an encoding of now, is not what the fixture at path
// holds, and returns the fixture's lines: what a decoder must understand. With
// the flag -update the fixture is written anew first.
func Check(t testing.TB, path string, got []Line) []Line {
	t.Helper()
	if *update {
		var b strings.Builder
		for _, l := range got {
			b.WriteString(strings.TrimSuffix(fmt.Sprintf("%s %x", l.Name, l.Bytes), " ") + "\n")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := Read(t, path)
	for i, l := range got {
		if i >= len(want) || want[i].Name != l.Name || string(want[i].Bytes) != string(l.Bytes) {
			t.Fatalf("%s line %d: now it would be\n%s %x", path, i+1, l.Name, l.Bytes)
		}
	}
	if len(want) > len(got) {
		t.Fatalf("%s line %d, %s, is made no longer", path, len(got)+1, want[len(got)].Name)
	}
	return want
}

// Read returns the lines of the fixture at path.
func Read(t testing.TB, path string) (lines []Line) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(raw)) {
		name, digits, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		b, err := hex.DecodeString(digits)
		if name == "" || err != nil {
			t.Fatalf("%s line %d is no fixture: %v", path, len(lines)+1, err)
		}
		lines = append(lines, Line{name, b})
	}
	return lines
}
