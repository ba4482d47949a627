package s3

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/gateway"
)

// presignV2 makes the URL a presigned one of version 2, as botocore does.
// resource is the path with the sub-resources that are signed.
func presignV2(r *http.Request, secret, resource string, valid time.Duration) {
	expires := fmt.Sprint(time.Now().Add(valid).Unix())
	mac := hmac.New(sha1.New, []byte(secret))
	fmt.Fprintf(mac, "%s\n\n%s\n%s\n%s", r.Method, r.Header.Get("Content-Type"), expires, resource)
	r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&AWSAccessKeyId="+testUser+"&Expires="+expires+
		"&Signature="+url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))), "&")
}

// TestPresignedVersion2 sends URLs of version 2 through the front end, where
// their parameters are none of an operation's.
func TestPresignedVersion2(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, func(c *gateway.Config) { c.Domains = []string{"s3.example.test"} })
	cat.put("bucket", "a", "b/c")
	for _, c := range []struct {
		name, method, path, resource string
		change                       func(*http.Request)
		status                       int
		body                         string
	}{
		{"list", "GET", "/bucket?list-type=2&prefix=b", "/bucket/", nil, 200, "<Key>b/c</Key>"},
		{"list, as sent", "GET", "/bucket?list-type=2&prefix=b", "/bucket", nil, 200, "<Key>b/c</Key>"},
		{"virtual host", "GET", "/?delimiter=/", "/bucket/", func(r *http.Request) { r.Host = "bucket.s3.example.test:9000" }, 200, "<Prefix>b/</Prefix>"},
		{"other virtual host", "GET", "/", "/bucket/", func(r *http.Request) { r.Host = "other.s3.example.test" }, 403, "<StringToSign>GET"},
		{"write", "PUT", "/bucket/k?acl", "/bucket/k?acl", nil, 501, "NotImplemented"},
		{"put bucket", "PUT", "/new", "/new", nil, 200, ""},
		{"not signed", "GET", "/bucket?publicAccessBlock", "/bucket", nil, 403, "not signed; &quot;publicAccessBlock&quot;"},
		{"unknown, write", "DELETE", "/bucket/a?Expired=1", "/bucket/a", nil, 403, "AccessDenied"},
		{"type not signed", "PUT", "/new2", "/new2", func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, 403, "SignatureDoesNotMatch"},
	} {
		r := func(req *http.Request) {
			presignV2(req, testSecret, c.resource, time.Minute)
			if c.change != nil {
				c.change(req)
			}
		}
		if a := send(t, ts, c.method, c.path, "", r, true); a.status != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.status, a.body, c.status, c.body)
		}
	}
}
