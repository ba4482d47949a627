package s3

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/gateway"
	"holdfast/gateway/route"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	origin := func(o string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Origin", o)
			if r.Method == "OPTIONS" {
				r.Header.Set("Access-Control-Request-Method", "PUT")
				r.Header.Set("Access-Control-Request-Headers", "content-type, x-amz-date")
			}
		}
	}
	for _, c := range []struct {
		name    string
		origins []string
		origin  string
		allowed string
	}{
		{"any", []string{"*"}, "https://a.example", "*"},
		{"exact", []string{"https://a.example"}, "https://a.example", "https://a.example"},
		{"pattern", []string{"https://*.example"}, "https://a.b.example", "https://a.b.example"},
		{"other", []string{"https://a.example"}, "https://evil.example", ""},
		{"none", nil, "https://a.example", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ts, cat := frontServer(t, func(g *gateway.Config) { g.CORSOrigins = c.origins })
			cat.put("bucket", "key")
			pre := send(t, ts, "OPTIONS", "/bucket/key", "", origin(c.origin), true)
			if want := map[bool]int{true: 200, false: 403}[c.allowed != ""]; pre.status != want {
				t.Errorf("preflight: %d %s, want %d", pre.status, pre.body, want)
			}
			if c.allowed != "" && (pre.header.Get("Access-Control-Allow-Headers") != "content-type, x-amz-date" ||
				!strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "PUT")) {
				t.Errorf("preflight: %v", pre.header)
			}
			for name, a := range map[string]answer{"preflight": pre,
				"success": send(t, ts, "GET", "/bucket", "", origin(c.origin)),
				"error":   send(t, ts, "GET", "/none", "", origin(c.origin)),
				"denied":  send(t, ts, "GET", "/bucket/key", "", origin(c.origin), true)} {
				if got := a.header.Get("Access-Control-Allow-Origin"); got != c.allowed {
					t.Errorf("%s: allowed origin %q, want %q", name, got, c.allowed)
				}
				if a.header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s: credentials are allowed", name)
				}
				if c.allowed != "" && !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "ETag") {
					t.Errorf("%s: ETag is not exposed", name)
				}
			}
			if n := cat.touched.Load(); n == 0 {
				t.Error("the signed requests did not reach the catalog")
			}
		})
	}
}

func TestVirtualHosts(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, func(c *gateway.Config) { c.Domains = []string{"s3.example.com", "example.com", "store.local"} })
	cat.put("bucket", "-/live", "k")
	cat.put("my.bucket", "k")
	for _, c := range []struct {
		host, path string
		status     int
		want       string
	}{
		{"bucket.s3.example.com", "/?list-type=2", 200, "<Name>bucket</Name>"},
		{"BUCKET.store.local:9000", "/?list-type=2", 200, "<Name>bucket</Name>"},
		{"my.bucket.s3.example.com.", "/?list-type=2", 200, "<Name>my.bucket</Name>"},
		{"s3.example.com:9000", "/bucket?list-type=2", 200, "<Name>bucket</Name>"},
		{"s3.example.com", "/", 200, "<ListAllMyBucketsResult"},
		{"[::1]:9000", "/bucket?list-type=2", 200, "<Name>bucket</Name>"},
		{"other.example.org", "/bucket?list-type=2", 200, "<Name>bucket</Name>"},
		{"none.store.local", "/?list-type=2", 404, "NoSuchBucket"},
		{"s3.example.com", "/-/live", 200, "live"},
		{"bucket.store.local", "/-/live?acl", 501, "NotImplemented"},
	} {
		a := send(t, ts, "GET", c.path, "", func(r *http.Request) { r.Host = c.host })
		if a.status != c.status || !strings.Contains(a.body, c.want) {
			t.Errorf("%s%s: %d %s, want %d %s", c.host, c.path, a.status, a.body, c.status, c.want)
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	t.Parallel()
	ts, _ := frontServer(t, func(c *gateway.Config) { c.MetricsToken = "token-of-metrics" })
	for _, path := range []string{"/-/live", "/-/ready", "/minio/health/live", "/minio/health/ready", "/minio/health/cluster"} {
		if a := send(t, ts, "GET", path, "", nil, true); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	// A bucket of the name "minio" is reached by who signs.
	if a := send(t, ts, "GET", "/minio/health/live?acl", "", nil); a.status != 501 {
		t.Errorf("signed: %d %s", a.status, a.body)
	}
	send(t, ts, "GET", "/", "", nil)
	for _, c := range []struct {
		authorization string
		unsigned      bool
		status        int
	}{{"", true, 403}, {"Bearer wrong", true, 403}, {"Bearer token-of-metrics", true, 200}, {"", false, 200}} {
		var u []bool
		if c.unsigned {
			u = []bool{true}
		}
		a := send(t, ts, "GET", "/-/metrics", "", func(r *http.Request) {
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
		}, u...)
		if a.status != c.status {
			t.Errorf("metrics with %q: %d, want %d", c.authorization, a.status, c.status)
		}
		if c.status == 200 && !strings.Contains(a.body, `holdfast_s3_requests_total{code="200",operation="ListBuckets"} 1`) {
			t.Errorf("metrics lack the request: %s", a.body)
		}
	}
	public, _ := frontServer(t, func(c *gateway.Config) { c.MetricsPublic = true })
	if a := send(t, public, "GET", "/-/metrics", "", nil, true); a.status != 200 {
		t.Errorf("public metrics: %d", a.status)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(testUser, testSecret)
	s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: newFrontCatalog(), Scheduler: noScheduler{}, Keys: keys,
		Ready: func() error { return errors.New("no leader at 10.0.0.7") }}, zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/-/ready", nil))
	if w.Code != 503 || strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestErrorAdapter replaces the handler of an operation by ones that fail.
func TestErrorAdapter(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(testUser, testSecret)
	var logged lockedBuffer
	s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: newFrontCatalog(), Scheduler: noScheduler{}, Keys: keys},
		zerolog.Nop(), nil, WithAccessLog(&logged))
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s.Handler())
	defer ts.Close()
	head, get := route.Named("HeadObject").Index, route.Named("GetObject").Index
	do := func(method string, h handler) (answer, error) {
		s.handlers[head], s.handlers[get] = h, h
		req, _ := http.NewRequest(method, ts.URL+"/bucket/key", nil)
		sign(t, req, nil)
		res, err := ts.Client().Do(req)
		if err != nil {
			return answer{}, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return answer{res.StatusCode, res.Header, string(body)}, err
	}
	if a, err := do("GET", func(*call) error { panic("oops") }); err != nil || a.status != 500 || strings.Contains(a.body, "oops") {
		t.Errorf("a panic: %d %s %v", a.status, a.body, err)
	}
	if a, err := do("GET", func(*call) error { return errors.New("/secret/path") }); err != nil || a.status != 500 || strings.Contains(a.body, "secret") {
		t.Errorf("an unknown error: %d %s %v", a.status, a.body, err)
	}
	if a, err := do("HEAD", func(*call) error { return tracker.ErrNoSuchKey }); err != nil || a.status != 404 || a.body != "" {
		t.Errorf("HEAD of nothing: %d %q %v", a.status, a.body, err)
	}
	if a, err := do("GET", func(c *call) error {
		c.w.Header().Set("Etag", `"e"`)
		return s3err.NotModified
	}); err != nil || a.status != 304 || a.body != "" || a.header.Get("Etag") == "" {
		t.Errorf("304: %d %q %v %v", a.status, a.body, a.header, err)
	}
	if a, err := do("GET", func(*call) error { return tracker.ErrUnavailable }); err != nil || a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("503: %d %v %v", a.status, a.header, err)
	}
	for name, h := range map[string]handler{
		"error": func(c *call) error {
			c.w.Header().Set("Content-Length", "100000")
			c.w.Write(make([]byte, 50000))
			return errors.New("node is gone")
		},
		"panic": func(c *call) error {
			c.w.Write(make([]byte, 50000))
			panic("late")
		},
	} {
		if a, err := do("GET", h); err == nil {
			t.Errorf("%s after the first byte: %d and %d bytes, want a broken connection", name, a.status, len(a.body))
		}
	}
	ts.Close()
	lines := logged.lines()
	if len(lines) != 7 {
		t.Fatalf("%d lines in the access log, want 7", len(lines))
	}
	var last struct {
		Op, Bucket, Key, Req, Method string
		Status                       int
		Aborted                      bool
	}
	if err := json.Unmarshal([]byte(lines[6]), &last); err != nil || last.Op != "GetObject" || last.Key != "key" || !last.Aborted || last.Req == "" {
		t.Errorf("%s: %+v %v", lines[6], last, err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.b.String()), "\n")
}

// TestHugeXML announces and sends documents far over the limit; the answer is
// a 4xx and next to nothing of them is read.
func TestHugeXML(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket")
	for _, chunked := range []bool{false, true} {
		for _, path := range []string{"/bucket?delete", "/new"} {
			method := map[string]string{"/bucket?delete": "POST", "/new": "PUT"}[path]
			body := &endless{left: 1 << 30}
			req, _ := http.NewRequest(method, ts.URL+path, body)
			if !chunked {
				req.ContentLength = 1 << 30
			}
			req.Header.Set("Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")
			req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			sigSign(req)
			res, err := ts.Client().Transport.RoundTrip(req)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 400 || !strings.Contains(string(text), "MaxMessageLengthExceeded") {
				t.Errorf("%s (chunked %v): %d %s", path, chunked, res.StatusCode, text)
			}
			if sent := body.sent(); sent > 64<<20 {
				t.Errorf("%s (chunked %v): %d bytes were taken", path, chunked, sent)
			}
		}
	}
}

// endless is a body of white space.
type endless struct {
	mu   sync.Mutex
	left int64
	n    int64
}

func (e *endless) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), e.left))
	for i := range n {
		p[i] = ' '
	}
	e.left -= int64(n)
	e.n += int64(n)
	return n, nil
}

func (e *endless) sent() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// TestHeaderLimits sends many and large headers.
func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket")
	a := send(t, ts, "GET", "/bucket?location", "", func(r *http.Request) {
		for i := range 400 {
			r.Header.Set(fmt.Sprintf("Extra-%d", i), strings.Repeat("v", 40))
		}
	})
	if a.status != 400 || !strings.Contains(a.body, "RequestHeaderSectionTooLarge") {
		t.Errorf("24 KiB of headers: %d %s", a.status, a.body)
	}
	a = send(t, ts, "GET", "/bucket?location", "", func(r *http.Request) { r.Header.Set("Extra", strings.Repeat("v", 1<<20)) })
	if a.status != 431 {
		t.Errorf("1 MiB of headers: %d", a.status)
	}
	a = send(t, ts, "GET", "/bucket/"+strings.Repeat("k", 1025), "", nil)
	if a.status != 400 || !strings.Contains(a.body, "KeyTooLongError") {
		t.Errorf("a long key: %d %s", a.status, a.body)
	}
}

// TestExpectContinue refuses a body before it is sent, and closes, since it
// may come all the same. A request without a body is told to continue:
// botocore expects that also for an empty object, and takes the next answer on
// the connection for this one's where it is not.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	ts, _ := frontServer(t, nil)
	for _, tc := range []struct {
		request   string
		continues int // interim answers
		close     bool
	}{
		{"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", 0, true},
		{"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", 1, false},
		{"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\n\r\n", 1, false},
		{"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 0, false},
		{"PUT /bucket/key HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", 0, true},
	} {
		conn, err := net.Dial("tcp", ts.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, tc.request)
		in, continues := bufio.NewReader(conn), 0
		res, err := http.ReadResponse(in, nil)
		for ; err == nil && res.StatusCode == http.StatusContinue; res, err = http.ReadResponse(in, nil) {
			continues++
			if len(res.Header) > 0 {
				t.Errorf("%q: 100 has headers: %v", tc.request, res.Header)
			}
		}
		if err != nil || res.StatusCode != http.StatusForbidden || res.Close != tc.close || continues != tc.continues {
			t.Errorf("%q: %d interim answers, %+v, %v", tc.request, continues, res, err)
		}
	}
}

// TestRequestIsLeftAlone: net/http looks at the request's body after the
// handler. Where it does not find its own it reads on, and a client that was
// refused instead of told to continue waits for nothing.
func TestRequestIsLeftAlone(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket")
	inner := ts.Config.Handler
	ts.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := r.Body
		inner.ServeHTTP(w, r)
		if r.Body != before {
			t.Errorf("%s %s: the body was replaced by a %T", r.Method, r.URL, r.Body)
		}
	})
	for _, expect := range []string{"", "100-continue"} {
		body := deleteDocument(3)
		if a := send(t, ts, "POST", "/bucket?delete", body, func(r *http.Request) {
			withMD5(body)(r)
			r.Header.Set("Expect", expect)
		}); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := send(t, ts, "PUT", "/nowhere/key", body, func(r *http.Request) { r.Header.Set("Expect", expect) }); a.status != 404 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// TestSlowBody sends a part of a body and stops.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	for proto := range 3 { // HTTP/1.1 plain and under TLS, HTTP/2
		var logged lockedBuffer
		ts, cat := frontServer(t, func(c *gateway.Config) { c.StallTimeout = 200 * time.Millisecond }, WithAccessLog(&logged))
		cat.put("bucket")
		if proto > 0 {
			plain := ts
			ts = httptest.NewUnstartedServer(nil)
			ts.Config = plain.Config
			ts.EnableHTTP2 = proto == 2
			ts.StartTLS()
			defer ts.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		r, w := io.Pipe()
		defer w.Close()
		req, _ := http.NewRequestWithContext(ctx, "POST", ts.URL+"/bucket?delete", r)
		req.ContentLength = 1000
		req.Header.Set("Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")
		req.Header.Set("Origin", "http://example.com")
		sigSign(req)
		go w.Write([]byte("<Delete>"))
		res, err := ts.Client().Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 400 || !strings.Contains(string(body), "<Code>RequestTimeout<") || int64(len(body)) != res.ContentLength {
			t.Errorf("%s: %d %s, %v", res.Proto, res.StatusCode, body, err)
		}
		for _, name := range []string{"X-Amz-Request-Id", "Server", "Date", "Content-Type", "Access-Control-Allow-Origin"} {
			if len(res.Header[name]) != 1 {
				t.Errorf("%s: %s is %q", res.Proto, name, res.Header[name])
			}
		}
		if !res.Close && proto < 2 {
			t.Errorf("%s: the connection is kept", res.Proto)
		}
		ts.Close()
		// The connection was taken over, so Close does not wait for its line.
		for end := time.Now().Add(10 * time.Second); logged.lines()[0] == "" && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if line := logged.lines()[0]; !strings.Contains(line, `"status":400`) || !strings.Contains(line, `"code":"RequestTimeout"`) {
			t.Errorf("%s: logged %s", res.Proto, line)
		}
	}
}

// TestSlowBodyClosed: a client that goes on sending after its answer finds the
// connection closed, and has the answer first.
func TestSlowBodyClosed(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, func(c *gateway.Config) { c.StallTimeout = 200 * time.Millisecond })
	cat.put("bucket")
	req, _ := http.NewRequest("POST", ts.URL+"/bucket?delete", nil)
	req.Header.Set("Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")
	sigSign(req)
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n", req.URL.RequestURI(), req.URL.Host)
	if err := req.Header.Write(conn); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "\r\n<Delete>")
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "<Object>")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "RequestTimeout") {
		t.Errorf("%s, %v", body, err)
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes more, %v", n, err)
	}
}

// TestProxyHostIsExplained sends what a proxy that rewrites Host would send.
func TestProxyHostIsExplained(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(testUser, testSecret)
	var logged lockedBuffer
	s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: newFrontCatalog(), Scheduler: noScheduler{}, Keys: keys},
		zerolog.New(&logged), nil)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s.Handler())
	defer ts.Close()
	req, _ := http.NewRequest("GET", ts.URL+"/", nil)
	req.Host = "s3.example.com"
	sign(t, req, nil)
	req.Host = "backend:9000"
	req.Header.Set("X-Forwarded-Host", "s3.example.com")
	res, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 403 || !strings.Contains(string(body), "<Host>backend:9000</Host>") || !strings.Contains(string(body), "<StringToSign>") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if line := logged.lines()[0]; !strings.Contains(line, `"sawHost":"backend:9000"`) || !strings.Contains(line, `"signedHost":"s3.example.com"`) {
		t.Errorf("log: %s", line)
	}
}

// TestHTTP2 serves over TLS, where HTTP/2 comes by itself.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(testUser, testSecret)
	cat := newFrontCatalog()
	cat.put("bucket", "a")
	s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: cat, Scheduler: noScheduler{}, Keys: keys}, zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s.HTTPServer()
	ts.EnableHTTP2 = true
	ts.StartTLS()
	defer ts.Close()
	body := "<Delete><Object><Key>a</Key></Object></Delete>"
	if a := send(t, ts, "POST", "/bucket?delete", body, withMD5(body)); a.status != 200 || !strings.Contains(a.body, "<Deleted>") {
		t.Errorf("%d %s", a.status, a.body)
	}
	res, err := ts.Client().Get(ts.URL + "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != 403 {
		t.Errorf("HTTP/%d, %d", res.ProtoMajor, res.StatusCode)
	}
}

// TestSlowReader asks for an endless object and reads nothing of it.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(testUser, testSecret)
	cfg := gateway.DefaultConfig()
	cfg.StallTimeout = 200 * time.Millisecond
	s, err := NewServer(cfg, gateway.Deps{Catalog: newFrontCatalog(), Scheduler: noScheduler{}, Keys: keys}, zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	s.handlers[route.Named("GetObject").Index] = func(c *call) error {
		block := make([]byte, 128<<10)
		for {
			if _, err := c.w.Write(block); err != nil {
				ended <- err
				return err
			}
		}
	}
	ts := httptest.NewServer(s.Handler())
	defer ts.Close()
	req, _ := http.NewRequest("GET", ts.URL+"/bucket/key", nil)
	sign(t, req, nil)
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the server still waits for the client to read")
	}
}
