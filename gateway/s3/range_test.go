package s3

import (
	"testing"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		h       string
		size    int64
		off, n  int64
		partial bool
		bad     bool
	}{
		{"", 10, 0, 0, false, false},
		{"bytes=0-0", 10, 0, 1, true, false},
		{"bytes=0-", 10, 0, 10, true, false},
		{"bytes=3-5", 10, 3, 3, true, false},
		{"bytes=3-500", 10, 3, 7, true, false},
		{"Bytes= 3 - 5 ", 10, 3, 3, true, false},
		{"bytes=-3", 10, 7, 3, true, false},
		{"bytes=-30", 10, 0, 10, true, false},
		{"bytes=-0", 10, 0, 0, false, true},
		{"bytes=-1", 0, 0, 0, false, true},
		{"bytes=0-", 0, 0, 0, false, true},
		{"bytes=10-", 10, 0, 0, false, true},
		{"bytes=99999999999999999999-", 10, 0, 0, false, true},
		{"bytes=0-99999999999999999999", 10, 0, 10, true, false},
		{"bytes=5-3", 10, 0, 0, false, false},
		{"bytes=a-3", 10, 0, 0, false, false},
		{"bytes=+1-3", 10, 0, 0, false, false},
		{"bytes=-", 10, 0, 0, false, false},
		{"bytes=", 10, 0, 0, false, false},
		{"bytes=1", 10, 0, 0, false, false},
		{"bytes=0-1,3-4", 10, 0, 0, false, false},
		{"items=0-1", 10, 0, 0, false, false},
	} {
		r, partial, err := parseRange(tc.h, tc.size)
		if (err != nil) != tc.bad || partial != tc.partial || partial && (r.off != tc.off || r.n != tc.n) {
			t.Errorf("%q of %d: got %+v %v %v", tc.h, tc.size, r, partial, err)
		}
	}
}

func TestParseCopyRange(t *testing.T) {
	t.Parallel()
	for h, want := range map[string]byteRange{"bytes=0-0": {0, 1}, "bytes=5-9": {5, 5}} {
		if r, ok := parseCopyRange(h); !ok || r != want {
			t.Errorf("%q: got %+v %v", h, r, ok)
		}
	}
	for _, h := range []string{"0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=-5",
		"bytes=5-", "bytes=3-2", "bytes=0-99999999999999999999", ""} {
		if r, ok := parseCopyRange(h); ok {
			t.Errorf("%q: got %+v, want refused", h, r)
		}
	}
}

func TestContentRange(t *testing.T) {
	t.Parallel()
	if got := contentRange(byteRange{3, 4}, 10); got != "bytes 3-6/10" {
		t.Errorf("got %q", got)
	}
	if got := unsatisfied(10); got != "bytes */10" {
		t.Errorf("got %q", got)
	}
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=7-", "bytes=1-2,4-5", "bytes=99999999999999999999-3", "x"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, h string, size int64) {
		if size < 0 {
			return
		}
		if r, partial, err := parseRange(h, size); partial && (err != nil || r.off < 0 || r.n < 1 || r.off+r.n > size) {
			t.Fatalf("%q of %d: %+v, %v", h, size, r, err)
		}
		if r, ok := parseCopyRange(h); ok && (r.off < 0 || r.n < 1 || r.off+r.n < r.n) {
			t.Fatalf("copy %q: %+v", h, r)
		}
	})
}
