package s3err

import (
	"encoding/xml"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"holdfast/auth"
	"holdfast/gateway/route"
	"holdfast/internal/fault"
	"holdfast/tracker"
)

// contractCodes returns the wire codes of all sentinels that a package makes.
func contractCodes(t *testing.T, dir string) []string {
	t.Helper()
	var codes []string
	files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of %s: %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "New" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "fault" {
					code, _ := strconv.Unquote(call.Args[1].(*ast.BasicLit).Value)
					codes = append(codes, code)
				}
			}
			return true
		})
	}
	return codes
}

// TestEverySentinelIsMapped walks the sources of the contracts.
func TestEverySentinelIsMapped(t *testing.T) {
	t.Parallel()
	mapped := map[string]bool{}
	for s := range sentinels {
		mapped[s.Code()] = true
	}
	for _, dir := range []string{"auth", "tracker", "storage", "erasure", "gateway/route", "gateway/blob"} {
		codes := contractCodes(t, dir)
		if len(codes) == 0 {
			t.Errorf("%s: no sentinels found", dir)
		}
		for _, code := range codes {
			if !mapped[code] {
				t.Errorf("sentinel %s has no S3 error", code)
			}
		}
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	t.Parallel()
	for s, r := range sentinels {
		e := From(fmt.Errorf("item: %w", s))
		if e.Code != r.code || e.Status < 400 || e.Message == "" || !errors.Is(e, s) {
			t.Errorf("%s: %d %s %q", s.Code(), e.Status, e.Code, e.Message)
		}
	}
	for c, e := range table {
		if e.status < 300 || e.status > 507 || e.message == "" {
			t.Errorf("%s: %d %q", c, e.status, e.message)
		}
	}
}

func TestUnmappedErrorShowsNothing(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errors.New("open /secret/path: denied"), fault.New(fault.Invalid, "x.y", "secret")} {
		e := From(err)
		doc := string(e.AppendXML(nil, "/b/k", "id", "host"))
		if e.Code != InternalError || e.Status != 500 || strings.Contains(doc, "secret") {
			t.Errorf("%v: %d %s", err, e.Status, doc)
		}
	}
}

func TestErrorsWithFields(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		err    error
		status int
		code   Code
		want   []string
	}{
		{&auth.SignatureError{AccessKey: "AK", Host: "h:1", Provided: "sig", StringToSign: "STS", CanonicalRequest: "CR\n<"}, 403, SignatureDoesNotMatch,
			[]string{"<StringToSign>STS<", "<CanonicalRequest>CR\n&lt;<", "<Host>h:1<", "<SignatureProvided>sig<"}},
		{&auth.SkewError{RequestTime: at, ServerTime: at.Add(time.Hour), MaxAllowed: 15 * time.Minute}, 403, RequestTimeTooSkewed,
			[]string{"<RequestTime>20260102T030405Z<", "<ServerTime>2026-01-02T04:04:05Z<", "<MaxAllowedSkewMilliseconds>900000<"}},
		{&auth.ExpiredError{Signed: at, Expires: at.Add(time.Minute), ServerTime: at.Add(time.Hour), Seconds: 60}, 403, AccessDenied,
			[]string{"Request has expired", "<X-Amz-Expires>60<"}},
		{&auth.RegionError{Given: "a", Want: "b", Query: true}, 400, AuthQueryParametersError, []string{"<Region>b<"}},
		{&auth.UnsignedHeadersError{Headers: []string{"x-amz-acl"}}, 403, AccessDenied, []string{"<HeadersNotSigned>x-amz-acl<"}},
		{&auth.DigestError{Sentinel: auth.ErrBadDigest, Algorithm: "CRC32", Provided: "a", Computed: "b"}, 400, BadDigest, []string{"CRC32"}},
		{&auth.DigestError{Sentinel: auth.ErrContentSHA256Mismatch, Provided: "a", Computed: "b"}, 400, XAmzContentSHA256Mismatch,
			[]string{"<S3ComputedContentSHA256>b<"}},
		{&auth.PolicyError{Reason: "Extra input fields: x"}, 403, AccessDenied, []string{"Extra input fields: x"}},
		{fmt.Errorf("access key of 0 bytes: %w", auth.ErrHeaderMalformed), 400, AuthHeaderMalformed, []string{"malformed; access key of 0 bytes"}},
		{&route.Refusal{Reason: route.NotBuilt, Name: "acl"}, 501, NotImplemented, []string{"<Parameter>acl<", "query parameter acl is not implemented"}},
		{&route.Refusal{Reason: route.NotBuilt, Name: "GetBucketAcl"}, 501, NotImplemented, []string{"<Operation>GetBucketAcl<", "operation GetBucketAcl is not implemented"}},
		{&route.Refusal{Reason: route.HeaderNotBuilt, Name: "X-Amz-Acl"}, 501, NotImplemented, []string{"<Header>X-Amz-Acl<", "functionality that is not implemented: x-amz-acl"}},
		{&route.Refusal{Reason: route.Repeated, Name: "uploadId"}, 400, InvalidArgument, []string{"<ArgumentName>uploadId<", "only once"}},
		{&route.Refusal{Reason: route.BadParam, Name: "x"}, 400, InvalidArgument, []string{"<ArgumentName>x<"}},
		{&route.Refusal{Reason: route.NoMethod, Name: "PATCH"}, 405, MethodNotAllowed, []string{"<Method>PATCH<"}},
		{fmt.Errorf("bucket: %w", tracker.ErrNoSuchBucket), 404, NoSuchBucket, []string{"<Resource>/b<", "<RequestId>id<", "<HostId>host<"}},
		{fmt.Errorf("body: %w", os.ErrDeadlineExceeded), 400, RequestTimeout, nil},
		{InvalidArgument, 400, InvalidArgument, nil},
	} {
		e := From(c.err)
		doc := e.AppendXML(nil, "/b", "id", "host")
		if e.Status != c.status || e.Code != c.code {
			t.Errorf("%v: %d %s, want %d %s", c.err, e.Status, e.Code, c.status, c.code)
		}
		for _, w := range c.want {
			if !strings.Contains(string(doc), w) {
				t.Errorf("%v: %s lacks %s", c.err, doc, w)
			}
		}
		var any struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}
		if err := xml.Unmarshal(doc, &any); err != nil || any.Code != string(c.code) {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

// FuzzXML holds the escaper against the parser of the standard library.
func FuzzXML(f *testing.F) {
	for _, s := range []string{"plain", "<&>\"'", "\x00\x01", "\ufffe", "\xff", "\x98\x9f\xf0", "é\U0001F600", "a\r\nb\tc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(AppendText(nil, s))
		if strings.ContainsAny(got, "<>\"\x00\r") {
			t.Fatalf("%q: %q", s, got)
		}
		var back string
		if err := xml.Unmarshal([]byte("<a>"+got+"</a>"), &back); err != nil {
			if !strings.Contains(got, "&#x") { // characters that XML 1.0 cannot carry
				t.Fatalf("%q: %q: %v", s, got, err)
			}
		} else if utf8.ValidString(s) && back != s {
			t.Fatalf("%q: %q read back as %q", s, got, back)
		}
	})
}
