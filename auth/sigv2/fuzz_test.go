package sigv2

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"holdfast/internal/fault"
)

// FuzzV2Query throws queries at the verifier. Nothing may pass but a
// signature that botocore made, and that only over what it was made over.
func FuzzV2Query(f *testing.F) {
	known := map[string]string{}
	for name, line := range botocore {
		r, _ := request(f, line)
		f.Add(r.Method, r.URL.Path, r.URL.RawQuery, "")
		known[r.URL.Query().Get("Signature")] = name
	}
	f.Add("GET", "/bucket/k", "AWSAccessKeyId=a&Signature=b&Expires=1&%zz&=&x", "text/plain")
	keys := exampleKeys(f)
	f.Fuzz(func(t *testing.T, method, path, query, contentType string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "h", Header: http.Header{"Content-Type": {contentType}}}
		res, err := Verify(context.Background(), keys, r, "", exampleTime())
		if k := fault.KindOf(err); err != nil && k != fault.Invalid && k != fault.Denied {
			t.Fatalf("kind %v: %v", k, err)
		}
		if err != nil {
			return
		}
		values := r.URL.Query()
		if known[values.Get("Signature")] == "" {
			t.Fatal("accepted a signature that nobody made")
		}
		want, _ := request(t, botocore[known[values.Get("Signature")]])
		if strings.TrimSuffix(want.URL.Path, "/") != strings.TrimSuffix(path, "/") || want.Method != method {
			t.Fatalf("%s %q was signed, %s %q passed", want.Method, want.URL.Path, method, path)
		}
		signed := want.URL.Query()
		for name, v := range values {
			if !pages[name] && name != "x-id" && signed.Get(name) != v[0] && signed.Get(strings.ToLower(name)) != v[0] {
				t.Fatalf("%q=%q passed, and was not signed", name, v)
			}
		}
		if res.SignedHeaders == "" {
			t.Fatal("no signed headers")
		}
	})
}
