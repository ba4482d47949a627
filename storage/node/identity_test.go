package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"
)

// goldenIdentity is an identity file of format 1; it must open for ever.
const goldenIdentity = `{"format":1,"cluster":"5f3e","node":12,"incarnation":"a1","created":"2026-01-02T03:04:05Z"}
xxh3 23249c817d3af084
`

func TestIdentityGolden(t *testing.T) {
	t.Parallel()
	line, _, _ := strings.Cut(goldenIdentity, "\n")
	file := goldenIdentity
	want := Identity{Cluster: "5f3e", Node: 12, Incarnation: "a1", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	got, err := decodeIdentity([]byte(file))
	if err != nil || got != want {
		t.Fatal(got, err)
	}
	b, err := want.encode()
	if err != nil || string(b) != file {
		t.Fatal(string(b), err)
	}
	newer := strings.Replace(line, `"format":1`, `"format":2`, 1)
	_, err = decodeIdentity(fmt.Appendf(nil, "%s\nxxh3 %016x\n", newer, xxh3.HashString(newer)))
	if !errors.Is(err, ErrIdentity) || errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzIdentity(f *testing.F) {
	b, _ := (&Identity{Cluster: "c", Node: 1}).encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeIdentity(b)
		if err == nil && (id.Cluster == "" || id.Node == 0) {
			t.Fatal(id)
		}
	})
}
