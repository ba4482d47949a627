package sigv2

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/auth"
)

const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	// credentials are those of every vector that botocore made.
	credentials = "AWSAccessKeyId=" + exampleKey + "&Expires=1700000600"
)

// exampleTime is when botocore made the vectors, which are valid for 600 s.
func exampleTime() time.Time { return time.Unix(1700000000, 0) }

func exampleKeys(tb testing.TB) auth.Keys {
	tb.Helper()
	keys, err := auth.NewStatic(exampleKey, exampleSecret)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// request reads "METHOD URL", as it comes in.
func request(tb testing.TB, line string) (r *http.Request, bucket string) {
	tb.Helper()
	method, target, _ := strings.Cut(line, " ")
	u, err := url.Parse(target)
	if err != nil {
		tb.Fatal(err)
	}
	bucket, _, found := strings.Cut(u.Host, ".s3.")
	if !found {
		bucket = ""
	}
	r = &http.Request{Method: method, Host: u.Host, Header: http.Header{}, URL: u}
	u.Host, u.Scheme = "", ""
	return r, bucket
}

// published is the example of the User Guide, "Signing and authenticating REST
// requests", under "Query string request authentication alternative".
const published = "GET http://johnsmith.s3.amazonaws.com/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"

func TestPublished(t *testing.T) {
	t.Parallel()
	r, bucket := request(t, published)
	res, err := Verify(context.Background(), exampleKeys(t), r, bucket, time.Unix(1175139620, 0))
	if err != nil {
		t.Fatal(err)
	}
	if res.Identity.AccessKey != exampleKey || !res.Identity.Root || res.Expires.Unix() != 1175139620 || res.SignedHeaders != "content-md5;content-type" {
		t.Errorf("%+v", res)
	}
}

// botocore are URLs of boto3 1.43.11 and 1.26.27 at their defaults, made by
// generate_presigned_url for path style; in virtual-host style the signatures
// are the same.
var botocore = map[string]string{
	"get":          "GET /bucket/photos/a%20b%2Bc%26d~%C3%A9%281%29.jpg?" + credentials + "&Signature=1kztTZPwuGeA%2B8gA0kBMcxcHcSE%3D",
	"head":         "HEAD /bucket/photos/a%20b%2Bc%26d~%C3%A9%281%29.jpg?" + credentials + "&Signature=Ky0fobe%2BOtHcRnfwmpjzgPqXOk4%3D",
	"delete":       "DELETE /bucket/photos/a%20b%2Bc%26d~%C3%A9%281%29.jpg?versionId=v%201&" + credentials + "&Signature=Lt%2B7GTvfiib1u2Q9U%2Ft8efLXgAc%3D",
	"put":          "PUT /bucket/k?" + credentials + "&Signature=zT378wLe2ulGGiUJGJZRGFFpHR0%3D",
	"overrides":    "GET /bucket/k?versionId=abc&response-content-disposition=attachment%3B%20filename%3D%22a%26b.txt%22&response-content-type=text%2Fplain&" + credentials + "&Signature=5%2B413XfAJRGLp%2FNERmwglEpUAGM%3D",
	"list":         "GET /bucket?list-type=2&prefix=a%2Fb&delimiter=%2F&encoding-type=url&" + credentials + "&Signature=IFCiRR0Cbg881Enwl%2FPEmal8lj4%3D",
	"list, slash":  "GET /bucket/?encoding-type=url&" + credentials + "&Signature=IFCiRR0Cbg881Enwl%2FPEmal8lj4%3D",
	"buckets":      "GET /?" + credentials + "&Signature=AS9GosHV18e6Ebu62KRhR4grplg%3D",
	"uploads":      "POST /bucket/k?uploads&" + credentials + "&Signature=dV9XPCNR5%2ByTeDsuCcfRMlzV7OQ%3D",
	"uploads=":     "POST /bucket/k?uploads=&" + credentials + "&Signature=dV9XPCNR5%2ByTeDsuCcfRMlzV7OQ%3D",
	"part":         "PUT /bucket/k?uploadId=u%2B1&partNumber=3&" + credentials + "&Signature=7Wjsyhrg%2BanZxpfwe0qXM2PVidk%3D",
	"tagging":      "GET /bucket/k?tagging&" + credentials + "&Signature=P31lzqjBq1mRqIz%2Br9SxzTB8k1U%3D",
	"bucket acl":   "GET /bucket?acl&" + credentials + "&Signature=EaKt5YCGwaJXrGZUqVAHDOHGlZE%3D",
	"copy":         "PUT /bucket/k?x-amz-copy-source=bucket%2Fother%2520key&" + credentials + "&Signature=7fFMJM7lnQFnteq55bNO3Gzb9YQ%3D",
	"list uploads": "GET /bucket?uploads&" + credentials + "&Signature=2qlhyI8kTJjukyD%2FCTtQP49ELws%3D",
	"complete":     "POST /bucket/k?uploadId=u&" + credentials + "&Signature=qK0UmPnOYwexRst%2B%2FjHSyIQ3WBU%3D",
	"put with headers": "PUT /bucket/k?content-type=text%2Fplain%3B%20a%3Db&content-md5=1B2M2Y8AsgTpgAmY7PhCfg%3D%3D&x-amz-acl=private&x-amz-meta-b=two%20%20words&x-amz-meta-a=1%2B1&" +
		credentials + "&Signature=X9ZpmYLfQzgflKMycjsvRRM%2F5qU%3D",
}

func TestBotocore(t *testing.T) {
	t.Parallel()
	keys := exampleKeys(t)
	for name, line := range botocore {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := request(t, line)
			if _, err := Verify(context.Background(), keys, r, "", exampleTime()); err != nil {
				t.Errorf("path style: %v", err)
			}
			virtual, ok := strings.CutPrefix(r.URL.EscapedPath(), "/bucket")
			if !ok {
				return
			}
			line = strings.Replace(line, r.URL.EscapedPath(), "http://bucket.s3.example.test:9000"+"/"+strings.TrimPrefix(virtual, "/"), 1)
			r, bucket := request(t, line)
			if _, err := Verify(context.Background(), keys, r, bucket, exampleTime()); err != nil {
				t.Errorf("virtual host: %v", err)
			}
		})
	}
}

func add(query string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery += "&" + query }
}

func replace(old, new string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, old, new, 1) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = []string{value} }
}

func path(p string) func(*http.Request) {
	return func(r *http.Request) { r.URL.Path, r.URL.RawPath = p, "" }
}

// TestEdits changes good URLs: what changes the meaning of a request must not
// pass, and what does not may.
func TestEdits(t *testing.T) {
	t.Parallel()
	keys := exampleKeys(t)
	mismatch, unsigned, malformed := auth.ErrSignatureMismatch, auth.ErrQueryNotSigned, auth.ErrQueryMalformed
	for name, tc := range map[string]struct {
		of   string
		edit func(*http.Request)
		want error
	}{
		"method":               {"get", func(r *http.Request) { r.Method = "HEAD" }, mismatch},
		"path":                 {"put", path("/bucket/other"), mismatch},
		"object of the bucket": {"list", path("/bucket/k"), mismatch},
		"double slash":         {"list", path("/bucket//"), mismatch},
		"final slash":          {"put", path("/bucket/k/"), mismatch},
		"host":                 {"get", func(r *http.Request) { r.Host = "elsewhere" }, nil}, // not signed when it names no bucket
		"longer":               {"get", replace("1700000600", "1700000601"), mismatch},
		"other text of a time": {"get", replace("1700000600", "01700000600"), mismatch},
		"signed twice":         {"get", add("Signature=x"), malformed},
		"no signature":         {"get", replace("Signature=", "Signature=&x="), malformed},
		"no expiry":            {"get", replace("Expires=1700000600", ""), malformed},
		"expiry of text":       {"get", replace("1700000600", "tomorrow"), malformed},
		"expiry with a sign":   {"get", replace("1700000600", "%2B1700000600"), malformed},
		"expiry over all":      {"get", replace("1700000600", "99999999999999999999"), malformed},
		"8 days":               {"get", replace("1700000600", "1700691200"), malformed},
		"expired":              {"get", replace("1700000600", "1699999999"), auth.ErrExpired},
		"unknown key":          {"get", replace(exampleKey, "AKIAOTHER"), auth.ErrUnknownAccessKey},
		"bad escape":           {"get", add("a=%zz"), auth.ErrInvalidURI},
		"empty pairs":          {"get", add("&&"), nil},

		"version":                   {"put", add("versionId=1"), mismatch},
		"version taken out":         {"overrides", replace("versionId=abc&", ""), mismatch},
		"sub-resource":              {"get", add("acl"), mismatch},
		"sub-resource taken out":    {"tagging", replace("tagging&", ""), mismatch},
		"sub-resource twice":        {"tagging", add("tagging"), malformed},
		"unsigned sub-resource":     {"get", add("legal-hold"), unsigned},
		"unsigned bucket resource":  {"list", add("publicAccessBlock"), unsigned},
		"letter case":               {"get", add("versionid=1"), unsigned},
		"cache buster":              {"get", add("x=1"), unsigned},
		"another page":              {"list", add("continuation-token=t"), nil},
		"page of a write":           {"put", add("prefix=a"), unsigned},
		"x-id":                      {"get", add("x-id=GetObject"), nil},
		"kept header":               {"put", add("cache-control=no-store"), unsigned},
		"second Expires":            {"put", add("expires=1"), unsigned},
		"override":                  {"get", add("response-content-type=text/html"), mismatch},
		"override taken into other": {"overrides", replace("&response-content-type", "%26response-content-type"), malformed},
		"version taken into other":  {"overrides", replace("a%26b", "a%26versionId=1"), malformed},

		"hoisted header":        {"put", add("x-amz-acl=public-read"), mismatch},
		"hoisted in other case": {"put", add("X-AMZ-ACL=public-read"), mismatch},
		"hoisted taken out":     {"put with headers", replace("x-amz-acl=private&", ""), mismatch},
		"hoisted line in line": {"put with headers", func(r *http.Request) {
			replace("x-amz-acl=private", "x-amz-acl=private%0Ax-amz-meta-a:1%2B1")(r)
			replace("&x-amz-meta-a=1%2B1", "")(r)
		}, malformed},
		"hoisted name with colon":  {"put with headers", replace("x-amz-acl=private", "x-amz-acl:private"), malformed},
		"hoisted with space":       {"copy", replace("other%2520key", "other%2520key%20"), malformed},
		"hoisted type":             {"put", add("Content-Type=text/html"), mismatch},
		"hoisted type of two":      {"put with headers", add("Content-Type=text/html"), malformed},
		"type sent as well":        {"put with headers", header("Content-Type", "text/plain; a=b"), nil},
		"type sent differs":        {"put with headers", header("Content-Type", "text/html"), mismatch},
		"type sent and not signed": {"put", header("Content-Type", "text/html"), mismatch},
		"type only sent": {"put with headers", func(r *http.Request) {
			header("Content-Type", "text/plain; a=b")(r)
			replace("content-type=text%2Fplain%3B%20a%3Db&", "")(r)
		}, nil},
		"md5 sent and not signed": {"put", header("Content-Md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), mismatch},
		"header":                  {"put", header("X-Amz-Meta-A", "1"), mismatch},
		"header sent as well":     {"put with headers", header("X-Amz-Meta-A", "1+1"), nil},
		"header only sent":        {"put with headers", func(r *http.Request) { header("X-Amz-Meta-A", "1+1")(r); replace("x-amz-meta-a=1%2B1&", "")(r) }, nil},
		"header differs":          {"put with headers", header("X-Amz-Meta-A", "2"), malformed},
		"cloudfront":              {"get", header("X-Amz-Cf-Id", "x"), nil},
		"range":                   {"get", header("Range", "bytes=0-1"), nil},
		"token":                   {"get", add("x-amz-security-token=t"), auth.ErrInvalidToken},
		"token header":            {"get", header("X-Amz-Security-Token", "t"), auth.ErrInvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := request(t, botocore[tc.of])
			tc.edit(r)
			if _, err := Verify(context.Background(), keys, r, "", exampleTime()); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// TestErrorsTell holds what a client is told.
func TestErrorsTell(t *testing.T) {
	t.Parallel()
	r, _ := request(t, botocore["part"])
	r.Method = "GET"
	_, err := Verify(context.Background(), exampleKeys(t), r, "", exampleTime())
	var sig *auth.SignatureError
	if !errors.As(err, &sig) || sig.StringToSign != "GET\n\n\n1700000600\n/bucket/k?partNumber=3&uploadId=u+1" || sig.AccessKey != exampleKey {
		t.Errorf("%+v", sig)
	}
	r, _ = request(t, botocore["put with headers"])
	r.Method, r.Header = "POST", http.Header{"X-Amz-Meta-C": {"1", "2"}}
	_, err = Verify(context.Background(), exampleKeys(t), r, "", exampleTime())
	want := "POST\n1B2M2Y8AsgTpgAmY7PhCfg==\ntext/plain; a=b\n1700000600\nx-amz-acl:private\nx-amz-meta-a:1+1\nx-amz-meta-b:two  words\nx-amz-meta-c:1,2\n/bucket/k"
	if !errors.As(err, &sig) || sig.StringToSign != want {
		t.Errorf("%+v", sig)
	}
	r, _ = request(t, botocore["get"])
	_, err = Verify(context.Background(), exampleKeys(t), r, "", exampleTime().Add(601*time.Second))
	var expired *auth.ExpiredError
	if !errors.As(err, &expired) || expired.Expires.Unix() != 1700000600 || !errors.Is(err, auth.ErrExpired) {
		t.Errorf("%v", err)
	}
	r, _ = request(t, botocore["put with headers"])
	res, err := Verify(context.Background(), exampleKeys(t), r, "", exampleTime())
	if err != nil || res.SignedHeaders != "content-md5;content-type;x-amz-acl;x-amz-meta-a;x-amz-meta-b" {
		t.Errorf("%v %v", res, err)
	}
}
