package s3

import (
	"encoding/base64"
	"testing"

	"holdfast/internal/golden"
)

// TestTokenGolden holds the continuation token: a listing that was begun with
// one release goes on with the next.
func TestTokenGolden(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		scope uint64
		after string
		whole bool
	}{
		{"key", listScope(0x0102030405060708), "photos/a\x00é.jpg", false},
		{"prefix", listScope(0x0102030405060708), "photos/", true},
		{"empty", listScope(1), "", false},
		{"bucket", bucketScope, "bucket-name", false},
	}
	var lines []golden.Line
	for _, c := range cases {
		b, err := base64.URLEncoding.DecodeString(encodeToken(c.scope, c.after, c.whole))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, golden.Line{Name: c.name, Bytes: b})
	}
	for i, l := range golden.Check(t, "testdata/token.golden", lines) {
		c := cases[i]
		after, whole, ok := decodeToken(c.scope, base64.URLEncoding.EncodeToString(l.Bytes))
		if !ok || after != c.after || whole != c.whole {
			t.Errorf("%s: reads as %q %v %v", c.name, after, whole, ok)
		}
	}
}
