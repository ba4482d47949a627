package s3

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/gateway/route"
)

// routePath is a request line that the table matches to the operation.
func routePath(op *route.Operation) string {
	path := [...]string{"/", "/bucket", "/bucket/key"}[op.Level]
	if op.Path != "" {
		path = "/" + op.Path
	}
	q := url.Values{}
	for _, s := range op.Select {
		k, v, _ := strings.Cut(s, "=")
		q.Set(k, v)
	}
	if op.ByID {
		q.Set("x-id", op.Name)
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

// credentials are ways of not being who one says one is.
var credentials = []struct {
	name string
	code string // "" for any
	make func(r *http.Request)
}{
	{"anonymous", "AccessDenied", func(*http.Request) {}},
	{"unknown key", "InvalidAccessKeyId", func(r *http.Request) { sigv4.Sign(r, "nobody", testSecret, "us-east-1", "", time.Now()) }},
	{"wrong secret", "SignatureDoesNotMatch", func(r *http.Request) { sigv4.Sign(r, testUser, "another-secret", "us-east-1", "", time.Now()) }},
	{"old", "RequestTimeTooSkewed", func(r *http.Request) {
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now().Add(-16*time.Minute))
	}},
	{"of the future", "RequestTimeTooSkewed", func(r *http.Request) {
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now().Add(16*time.Minute))
	}},
	{"changed after signing", "SignatureDoesNotMatch", func(r *http.Request) {
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now())
		r.URL.Path += "x"
	}},
	{"query added after signing", "SignatureDoesNotMatch", func(r *http.Request) {
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now())
		r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&versionId=1", "&")
	}},
	{"header added after signing", "AccessDenied", func(r *http.Request) {
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now())
		r.Header.Set("X-Amz-Acl", "private")
	}},
	{"no signature", "", func(r *http.Request) {
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+testUser+"/20260101/us-east-1/s3/aws4_request, SignedHeaders=host")
	}},
	{"garbage", "", func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256") }},
	{"version 2", "", func(r *http.Request) { r.Header.Set("Authorization", "AWS "+testUser+":c2ln") }},
	{"version 2 in the query, for ever", "", func(r *http.Request) {
		r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&AWSAccessKeyId="+testUser+"&Signature=c2ln&Expires=9999999999", "&")
	}},
	{"version 2 in the query, by another", "", func(r *http.Request) { presignV2(r, "another-secret", r.URL.RequestURI(), time.Minute) }},
	{"version 2 in the query, expired", "AccessDenied", func(r *http.Request) { presignV2(r, testSecret, r.URL.RequestURI(), -time.Minute) }},
	{"bearer", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer token") }},
	{"security token", "InvalidToken", func(r *http.Request) {
		r.Header.Set("X-Amz-Security-Token", "token")
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now())
	}},
	{"presigned, expired", "AccessDenied", func(r *http.Request) {
		r.URL = sigv4.Presign(r, testUser, testSecret, "us-east-1", time.Minute, time.Now().Add(-2*time.Minute))
	}},
	{"presigned by another", "SignatureDoesNotMatch", func(r *http.Request) {
		r.URL = sigv4.Presign(r, testUser, "another-secret", "us-east-1", time.Minute, time.Now())
	}},
	{"presigned, longer than signed", "SignatureDoesNotMatch", func(r *http.Request) {
		r.URL = sigv4.Presign(r, testUser, testSecret, "us-east-1", time.Minute, time.Now())
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Expires=60", "X-Amz-Expires=600", 1)
	}},
	{"presigned without a signature", "", func(r *http.Request) {
		r.URL = sigv4.Presign(r, testUser, testSecret, "us-east-1", time.Minute, time.Now())
		r.URL.RawQuery = r.URL.RawQuery[:strings.Index(r.URL.RawQuery, "&X-Amz-Signature")]
	}},
	{"both ways at once", "InvalidArgument", func(r *http.Request) {
		u := sigv4.Presign(r, testUser, testSecret, "us-east-1", time.Minute, time.Now())
		sigv4.Sign(r, testUser, testSecret, "us-east-1", "", time.Now())
		r.URL = u
	}},
}

// TestCredentialMatrix sends every operation of the table with every kind of
// wrong credential: the answer is 403, or 400 for a malformed one, it is the
// same for what is built and what is not, and the catalog is never asked.
func TestCredentialMatrix(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket", "key")
	for _, op := range route.All() {
		for _, c := range credentials {
			a := send(t, ts, op.Method, routePath(op), "", func(r *http.Request) {
				if op.Need != "" {
					r.Header.Set(op.Need, "/bucket/key")
				}
				c.make(r)
			}, true)
			if op.Beyond && c.name == "anonymous" {
				if a.status/100 != 4 {
					t.Errorf("%s, anonymous: %d", op.Name, a.status)
				}
				continue
			}
			if a.status != 403 && a.status != 400 {
				t.Errorf("%s, %s: %d %s", op.Name, c.name, a.status, a.body)
			}
			if op.Method == "HEAD" {
				if a.body != "" {
					t.Errorf("%s, %s: HEAD with a body", op.Name, c.name)
				}
			} else if !strings.Contains(a.body, "<Code>"+c.code) {
				t.Errorf("%s, %s: %s, want %s", op.Name, c.name, a.body, c.code)
			}
		}
	}
	if n := cat.touched.Load(); n != 0 {
		t.Errorf("the catalog was asked %d times", n)
	}
}

// TestUnbuiltIsNotImplemented sends every operation that is not built with a
// good credential.
func TestUnbuiltIsNotImplemented(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket", "key")
	for _, op := range route.All() {
		if op.Built {
			continue
		}
		a := send(t, ts, op.Method, routePath(op), "", nil)
		if a.status != 501 || !strings.Contains(a.body, "<Code>NotImplemented</Code>") {
			t.Errorf("%s: %d %s", op.Name, a.status, a.body)
		}
	}
	if n := cat.touched.Load(); n != 0 {
		t.Errorf("the catalog was asked %d times", n)
	}
}

// TestHeadersThatChangeMeaning sends headers that are not built to operations
// that would otherwise succeed.
func TestHeadersThatChangeMeaning(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket", "key")
	for _, c := range []struct {
		method, path, name, value string
		status                    int
	}{
		{"PUT", "/bucket/key", "X-Amz-Write-Offset-Bytes", "0", 501},
		{"PUT", "/bucket/key", "X-Amz-Server-Side-Encryption", "AES256", 501},
		{"PUT", "/bucket/key", "X-Amz-Object-Lock-Mode", "COMPLIANCE", 501},
		{"PUT", "/bucket/key", "X-Amz-Tagging", "a=b&a=c", 400},
		{"PUT", "/bucket/key", "X-Amz-Tagging-Directive", "REPLACE", 501},
		{"PUT", "/bucket/key?partNumber=1&uploadId=1", "X-Amz-Tagging", "a=b", 501},
		{"PUT", "/bucket", "X-Amz-Tagging", "a=b", 501},
		{"PUT", "/bucket/key", "X-Amz-Acl", "public-read", 501},
		{"PUT", "/bucket/key", "X-Amz-Acl", "nonsense", 400},
		{"PUT", "/bucket/key", "X-Amz-Grant-Read", "id=1", 501},
		{"PUT", "/bucket/key", "X-Amz-Something-New", "1", 501},
		{"PUT", "/bucket/key", "If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT", 501},
		{"PUT", "/bucket/key", "Content-Range", "bytes 0-1/2", 501},
		{"PUT", "/bucket/key?x-amz-server-side-encryption=aws:kms", "X-None", "1", 501},
		{"PUT", "/bucket/key?X-AMZ-ACL=public-read", "X-None", "1", 501},
		{"GET", "/bucket/key", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", 501},
		{"PUT", "/other", "X-Amz-Bucket-Object-Lock-Enabled", "true", 501},
		{"PUT", "/other", "X-Amz-Object-Ownership", "ObjectWriter", 501},
		{"PUT", "/other1", "X-Amz-Object-Ownership", "BucketOwnerEnforced", 200},
		{"PUT", "/other2", "X-Amz-Acl", "private", 200},
		{"PUT", "/other3", "X-Amz-Bucket-Object-Lock-Enabled", "False", 200},
		{"PUT", "/bucket/key?renameObject", "X-None", "1", 501},
		{"PUT", "/bucket/key?encryption", "X-None", "1", 501},
		{"PUT", "/bucket/key?partNumber=1", "X-None", "1", 501},
		{"PUT", "/bucket/key?cache=1", "X-None", "1", 400},
		{"DELETE", "/bucket?x-id=PutObject", "X-None", "1", 400},
		{"GET", "/bucket?list-type=2", "If-None-Match", "*", 200},
		{"GET", "/bucket?list-type=2", "X-Amz-Optional-Object-Attributes", "RestoreStatus", 200},
	} {
		a := send(t, ts, c.method, c.path, "", func(r *http.Request) { r.Header.Set(c.name, c.value) })
		if a.status != c.status {
			t.Errorf("%s %s with %s: %s: %d %s, want %d", c.method, c.path, c.name, c.value, a.status, a.body, c.status)
		}
	}
}
