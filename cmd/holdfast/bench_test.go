package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBenchHTML: a file that cannot be written is refused before the run.
func TestBenchHTML(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := filepath.Join(dir, "old.html")
	if err := os.WriteFile(old, []byte("report"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{"": true, old: true, filepath.Join(dir, "new.html"): true, filepath.Join(dir, "none", "x.html"): false, dir: false} {
		if err := mayWrite(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "report" {
		t.Errorf("the old report: %q, %v", b, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}
