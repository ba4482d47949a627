package s3

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseCopySource(t *testing.T) {
	t.Parallel()
	for h, want := range map[string]copySource{
		"b/k":                            {"b", "k", ""},
		"/b/k":                           {"b", "k", ""},
		"/b/a/b/c":                       {"b", "a/b/c", ""},
		"b//k":                           {"b", "/k", ""},
		"b/k%20x+y":                      {"b", "k x+y", ""},
		"b%2Fk":                          {"b", "k", ""},
		"%2Fb%2Fk":                       {"b", "k", ""},
		"b/k?versionId=v1":               {"b", "k", "v1"},
		"b/k%3FversionId=v1":             {"b", "k?versionId=v1", ""},
		"b/k?x?versionId=v%2F1":          {"b", "k?x", "v/1"},
		"b/k?versionId=a?versionId=b":    {"b", "k?versionId=a", "b"},
		"b/../k":                         {"b", "../k", ""},
		"b/" + strings.Repeat("k", 1024): {"b", strings.Repeat("k", 1024), ""},
	} {
		if got, ok := parseCopySource(h); !ok || got != want {
			t.Errorf("%q: got %+v %v, want %+v", h, got, ok, want)
		}
	}
	for _, h := range []string{"", "/", "b", "b/", "/b", "//k", "b/%zz", "b/k?versionId=", "b/k?versionId=%zz", "b/%ff",
		"arn:aws:s3:us-east-1:1:accesspoint/x/object/k", "b/" + strings.Repeat("k", 1025)} {
		if got, ok := parseCopySource(h); ok {
			t.Errorf("%q: got %+v, want refused", h, got)
		}
	}
}

func FuzzCopySource(f *testing.F) {
	for _, s := range []string{"b/k", "/b/k?versionId=v", "b/%2f%2e", "?versionId=", "b/k?versionId=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, h string) {
		src, ok := parseCopySource(h)
		if !ok {
			return
		}
		again := url.PathEscape(src.bucket) + "/" + url.PathEscape(src.key)
		if src.version != "" {
			again += "?versionId=" + url.QueryEscape(src.version)
		}
		if got, ok := parseCopySource(again); !ok || got != src {
			t.Fatalf("%q: %+v, and again %+v %v", h, src, got, ok)
		}
	})
}
