package main

import (
	"bytes"
	"strings"
	"testing"

	"holdfast/gateway"
)

// TestFsckSaysWhatNext: after --adopt a person is told that it was done, and
// what to do about nodes that did not answer.
func TestFsckSaysWhatNext(t *testing.T) {
	t.Parallel()
	const adopt, follow, again = "run: holdfast admin fsck --adopt", "The nodes follow this catalog", "holdfast admin node forget ID"
	for _, tc := range []struct {
		f       gateway.Fsck
		adopted bool
		want    []string
	}{
		{gateway.Fsck{}, false, nil},
		{gateway.Fsck{Frozen: true}, false, []string{adopt}},
		{gateway.Fsck{}, true, []string{follow}},
		{gateway.Fsck{Unreached: []string{"node 3"}}, true, []string{follow, again}},
	} {
		var out bytes.Buffer
		if err := writeFsck(&out, &tc.f, tc.adopted); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{adopt, follow, again} {
			want := false
			for _, w := range tc.want {
				want = want || w == s
			}
			if strings.Contains(out.String(), s) != want {
				t.Errorf("%+v, adopted %v: %q is there: %v\n%s", tc.f, tc.adopted, s, !want, out.String())
			}
		}
	}
}
