// Package archtest holds the layers: it reads the import graph and fails when
// a lower layer imports a higher one, when a contract leans on an
// implementation's library, or when an implementation is reached around its
// contract.
package archtest

import (
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Imports    []string
}

// layers from the bottom up; erasure and auth stand side by side.
var layers = map[string]int{"internal": 0, "erasure": 1, "auth": 1, "storage": 2, "tracker": 3, "gateway": 4, "cmd": 5, "tests": 6}

// barred from the root packages of the top folders, which are contracts.
var barred = []string{"github.com/cockroachdb/pebble", "github.com/hashicorp/raft", "net/http", "github.com/gorilla/mux", "google.golang.org/protobuf", "google.golang.org/grpc"}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "holdfast/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// split returns the top folder and whether path is its root package.
func split(path string) (top string, root bool) {
	rest, ok := strings.CutPrefix(path, "holdfast/")
	if !ok {
		return "", false
	}
	top, _, sub := strings.Cut(rest, "/")
	return top, !sub
}

// open tells the implementation packages that every higher layer may import:
// the pure ones.
func open(path string) bool {
	top, _ := split(path)
	return top == "internal" || top == "erasure" || top == "auth"
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		top, root := split(p.ImportPath)
		layer, known := layers[top]
		if !known {
			t.Errorf("%s stands in no layer", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			for _, b := range barred {
				if root && layer >= 1 && layer <= 4 && strings.HasPrefix(imp, b) {
					t.Errorf("contract %s imports %s", p.ImportPath, imp)
				}
			}
			other, otherRoot := split(imp)
			if other == "" || other == top {
				continue
			}
			if layers[other] >= layer {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, imp)
			}
			if !otherRoot && !open(imp) && top != "cmd" && top != "tests" {
				t.Errorf("%s imports the implementation %s; it may see only the contract", p.ImportPath, imp)
			}
		}
	}
}
