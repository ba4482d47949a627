package harness

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
)

// Answer is a whole response.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Raw sends signed requests without a client library between.
type Raw struct {
	endpoint func() string
	client   *http.Client
	now      func() time.Time // what requests are signed by
}

// Raw returns a sender of signed requests.
func (s *Server) Raw() *Raw {
	c := s.HTTPClient()
	c.Transport.(*http.Transport).MaxIdleConnsPerHost = 256
	s.raws.Lock()
	defer s.raws.Unlock()
	s.raws.clients = append(s.raws.clients, c)
	return &Raw{s.Endpoint, c, time.Now}
}

// own is the harness's own sender, for what is asked again and again.
func (s *Server) own() *Raw {
	s.raws.once.Do(func() { s.raws.own = s.Raw() })
	return s.raws.own
}

// forgetConnections closes idle connections to a process that has ended, so
// that no sender tries one of them.
func (s *Server) forgetConnections() {
	s.raws.Lock()
	defer s.raws.Unlock()
	for _, c := range s.raws.clients {
		c.CloseIdleConnections()
	}
}

// Path escapes a bucket and key as S3 does: every byte but unreserved
// characters and slash.
func Path(bucket, key string) string {
	var b strings.Builder
	for _, c := range []byte("/" + bucket + "/" + key) {
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
	}
	return b.String()
}

// Do sends one request. path is already escaped; headers come in pairs.
func (r *Raw) Do(method, path, query string, body []byte, headers ...string) (*Answer, error) {
	target := r.endpoint() + path
	if query != "" {
		target += "?" + query
	}
	req, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	sum := sha256.Sum256(body)
	sigv4.Sign(req, User, Password, "us-east-1", hex.EncodeToString(sum[:]), r.now())
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return &Answer{resp.StatusCode, resp.Header, data}, err
}

// Must is Do that fails the test unless the status is the wanted one.
func (r *Raw) Must(t testing.TB, status int, method, path, query string, body []byte, headers ...string) *Answer {
	t.Helper()
	a, err := r.Do(method, path, query, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != status {
		t.Fatalf("%s %s?%s: status %d, want %d: %.500s", method, path, query, a.Status, status, a.Body)
	}
	return a
}

// Query encodes parameters given in pairs.
func Query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return strings.ReplaceAll(v.Encode(), "+", "%20")
}

// MD5 returns the value of Content-MD5 for a body.
func MD5(body []byte) string {
	sum := md5.Sum(body)
	return base64.StdEncoding.EncodeToString(sum[:])
}
