package route

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/s3-compat.md")

// TestDocument holds docs/s3-compat.md against the table.
func TestDocument(t *testing.T) {
	const path = "../../docs/s3-compat.md"
	want := Markdown()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("docs/s3-compat.md is not what the table says; run go test ./gateway/route -update\n%s", d)
	}
}
