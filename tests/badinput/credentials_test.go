package badinput

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/gateway/route"
	"holdfast/tests/harness"
)

const old = 16 * time.Minute // over the clock skew that is allowed

// forgery makes a request's credentials wrong in one way. code is the S3 error
// that must answer, "" for any of 4xx.
type forgery struct {
	name, code string
	spoil      func(r *http.Request)
}

var forgeries = []forgery{
	{"no credentials", "AccessDenied", func(*http.Request) {}},
	{"forged signature", "SignatureDoesNotMatch", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		r.Header.Set("Authorization", forge(r.Header.Get("Authorization")))
	}},
	{"forged presigned signature", "SignatureDoesNotMatch", func(r *http.Request) {
		r.URL = signer.Presign(r, time.Hour, time.Now())
		r.URL.RawQuery = forge(r.URL.RawQuery)
	}},
	{"wrong secret", "SignatureDoesNotMatch", func(r *http.Request) {
		sigv4.Sign(r, harness.User, harness.Password+"x", "us-east-1", sigv4.UnsignedPayload, time.Now())
	}},
	{"empty secret", "SignatureDoesNotMatch", func(r *http.Request) {
		sigv4.Sign(r, harness.User, "", "us-east-1", sigv4.UnsignedPayload, time.Now())
	}},
	{"unknown key", "InvalidAccessKeyId", func(r *http.Request) {
		sigv4.Sign(r, "nobody-known", harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
	}},
	{"unknown presigned key", "InvalidAccessKeyId", func(r *http.Request) {
		r.URL = sigv4.Presign(r, "nobody-known", harness.Password, "us-east-1", time.Hour, time.Now())
	}},
	{"root by its name", "InvalidAccessKeyId", func(r *http.Request) {
		sigv4.Sign(r, "root", harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
	}},
	{"expired presigned", "AccessDenied", func(r *http.Request) {
		r.URL = signer.Presign(r, time.Minute, time.Now().Add(-2*time.Minute))
	}},
	{"presigned for too long", "AuthorizationQueryParametersError", func(r *http.Request) {
		r.URL = signer.Presign(r, 8*24*time.Hour, time.Now())
	}},
	{"presigned in the future", "AccessDenied", func(r *http.Request) {
		r.URL = signer.Presign(r, time.Hour, time.Now().Add(old))
	}},
	{"old signature", "RequestTimeTooSkewed", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now().Add(-old))
	}},
	{"future signature", "RequestTimeTooSkewed", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now().Add(old))
	}},
	{"header and query", "", func(r *http.Request) {
		r.URL = signer.Presign(r, time.Hour, time.Now())
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
	}},
	{"signature of another method", "SignatureDoesNotMatch", func(r *http.Request) { borrow(r, "PATCH", r.URL.Path) }},
	{"signature of another path", "SignatureDoesNotMatch", func(r *http.Request) { borrow(r, r.Method, r.URL.Path+"x") }},
	{"presigned for another path", "SignatureDoesNotMatch", func(r *http.Request) {
		other := r.Clone(r.Context())
		other.URL.Path += "x"
		r.URL.RawQuery = signer.Presign(other, time.Hour, time.Now()).RawQuery
	}},
	{"query changed after signing", "SignatureDoesNotMatch", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&versionId=null", "&")
	}},
	{"header added after signing", "", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		r.Header.Set("X-Amz-Meta-Added", "1")
	}},
	{"host not signed", "", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		a := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(a, "SignedHeaders=host;", "SignedHeaders=", 1))
	}},
	{"another service's scope", "", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/s3/", "/ec2/", 1))
	}},
	{"signature version 2", "", func(r *http.Request) {
		r.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		r.Header.Set("Authorization", "AWS "+harness.User+":bWFkZSB1cCBzaWduYXR1cmU=")
	}},
	{"presigned version 2", "", func(r *http.Request) {
		r.URL.RawQuery += fmt.Sprintf("&AWSAccessKeyId=%s&Expires=%d&Signature=bWFkZSB1cA%%3D%%3D", harness.User, time.Now().Add(time.Hour).Unix())
	}},
	{"basic authorization", "", func(r *http.Request) { r.SetBasicAuth(harness.User, harness.Password) }},
	{"torn authorization", "", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		a := r.Header.Get("Authorization")
		r.Header.Set("Authorization", a[:len(a)/2])
	}},
	{"empty authorization", "", func(r *http.Request) { r.Header["Authorization"] = []string{""} }},
	{"two authorizations", "", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		r.Header["Authorization"] = append([]string{forge(r.Header.Get("Authorization"))}, r.Header["Authorization"]...)
	}},
	{"a session token nobody gave", "", func(r *http.Request) {
		r.Header.Set("X-Amz-Security-Token", "made-up")
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
	}},
	{"no signed date", "", func(r *http.Request) {
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		r.Header.Del("X-Amz-Date")
	}},
}

// forge changes the last digit of a signature.
func forge(s string) string {
	last := s[len(s)-1]
	if last == '0' {
		return s[:len(s)-1] + "1"
	}
	return s[:len(s)-1] + "0"
}

// borrow signs r with the signature of a request that differs from it.
func borrow(r *http.Request, method, path string) {
	other := r.Clone(r.Context())
	other.Method, other.URL.Path = method, path
	signer.Sign(other, sigv4.UnsignedPayload, time.Now())
	r.Header = other.Header
}

// operationRequest returns an unsigned request of an operation of the table,
// on a bucket and an object that exist.
func operationRequest(t *testing.T, s *harness.Server, op *route.Operation) *http.Request {
	path := "/"
	switch {
	case op.Path != "":
		path = "/" + op.Path
	case op.Level == route.Bucket:
		path = "/matrix"
	case op.Level == route.Object:
		path = "/matrix/object"
	}
	var query []string
	if op.ByID {
		query = append(query, "x-id="+op.Name)
	}
	for _, sel := range op.Select {
		k, v, _ := strings.Cut(sel, "=")
		query = append(query, k+"="+v)
	}
	r := request(t, s, op.Method, path, strings.Join(query, "&"))
	if op.Need != "" {
		r.Header.Set(op.Need, "/matrix/object")
	}
	return r
}

// TestCredentialMatrix tries every way in which credentials can be wrong on
// every operation of the route table, built or not.
func TestCredentialMatrix(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	raw := s.Raw()
	raw.Must(t, 200, "PUT", "/matrix", "", nil)
	raw.Must(t, 200, "PUT", "/matrix/object", "", []byte("untouched"))
	before := raw.Must(t, 200, "HEAD", "/matrix/object", "", nil).Header
	client := s.HTTPClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cells := 0
	for _, op := range route.All() {
		for i := range forgeries {
			f := &forgeries[i]
			r := operationRequest(t, s, op)
			f.spoil(r)
			cells++
			if code := tryCell(t, client, op, r, f); code != f.code && f.code != "" && op.Method != "HEAD" && op.Name != "PostObject" {
				t.Errorf("%s with %s: error %s, want %s", op.Name, f.name, code, f.code)
			}
		}
	}
	after := raw.Must(t, 200, "HEAD", "/matrix/object", "", nil).Header
	for _, h := range []string{"Etag", "Last-Modified", "Content-Length"} {
		if before.Get(h) != after.Get(h) {
			t.Errorf("the object changed: %s was %s and is %s", h, before.Get(h), after.Get(h))
		}
	}
	formMatrix(t, s)
	sane(t, s)
	t.Logf("%d cells over %d operations, all refused", cells, len(route.All()))
}

// tryCell sends one request, which must be refused with 4xx, and returns the
// error's code.
func tryCell(t *testing.T, client *http.Client, op *route.Operation, r *http.Request, f *forgery) string {
	t.Helper()
	if op.Body != route.NoBody {
		r.Body = http.NoBody
		if op.Method == "PUT" || op.Method == "POST" {
			r2, err := http.NewRequest(r.Method, "http://x/", strings.NewReader("<Nothing/>"))
			if err != nil {
				t.Fatal(err)
			}
			r.Body, r.ContentLength, r.GetBody = r2.Body, r2.ContentLength, r2.GetBody
		}
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Errorf("%s with %s: %v", op.Name, f.name, err)
		return f.code
	}
	defer resp.Body.Close()
	text := make([]byte, 64<<10)
	n, _ := readFull(resp.Body, text)
	if resp.StatusCode/100 != 4 {
		t.Errorf("%s (%s %s) with %s: status %d, want 4xx: %.200s", op.Name, r.Method, r.URL.RequestURI(), f.name, resp.StatusCode, text[:n])
	}
	_, rest, _ := strings.Cut(string(text[:n]), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

func readFull(r interface{ Read([]byte) (int, error) }, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// formMatrix tries forms whose signature or policy does not hold.
func formMatrix(t *testing.T, s *harness.Server) {
	t.Helper()
	forms := map[string]func(f *form){
		"forged signature":     func(f *form) { f.fields = map[string]string{"x-amz-signature": strings.Repeat("0", 64)} },
		"wrong secret":         func(f *form) { f.secret += "x" },
		"unknown key":          func(f *form) { f.user = "nobody-known" },
		"expired policy":       func(f *form) { f.expires = time.Now().Add(-time.Minute) },
		"no signature":         func(f *form) { f.fields = map[string]string{"x-amz-signature": ""} },
		"no policy":            func(f *form) { f.fields = map[string]string{"policy": ""} },
		"neither":              func(f *form) { f.fields = map[string]string{"policy": "", "x-amz-signature": ""} },
		"no credential":        func(f *form) { f.fields = map[string]string{"x-amz-credential": ""} },
		"policy of other key":  func(f *form) { f.fields = map[string]string{"key": "another"} },
		"field not in policy":  func(f *form) { f.fields = map[string]string{"x-amz-meta-extra": "1"} },
		"policy of no base64":  func(f *form) { f.fields = map[string]string{"policy": "%%%"} },
		"policy is empty JSON": func(f *form) { f.fields = map[string]string{"policy": "e30="} },
	}
	for name, spoil := range forms {
		f := newForm("matrix", "form-"+url.QueryEscape(name), []byte("never"))
		spoil(f)
		r, body := f.wire(t, s)
		refused(t, "form with "+name, exchange(t, s, append(head(r, int64(len(body))), body...), wait), false)
		s.Raw().Must(t, 404, "HEAD", harness.Path("matrix", f.key), "", nil)
	}
	s.Raw().Must(t, 404, "HEAD", "/matrix/another", "", nil)
}
