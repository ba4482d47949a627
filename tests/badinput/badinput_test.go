// Package badinput sends what no well-meaning client would send: bodies cut at
// random bytes in every payload mode, credentials that do not hold on every
// route of the table, malformed documents, a document of a gigabyte, and ten
// thousand connections that never finish their request. The server answers 4xx
// or closes, shows nothing of what did not hold, does not grow, and does not
// panic.
package badinput

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/tests/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(slowBare) != "" {
		if err := beBare(os.Stdout); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	if addr := os.Getenv(slowClient); addr != "" {
		if err := beSlow(addr, os.Getenv(slowCount), os.Stdout); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var signer = sigv4.NewSigner(harness.User, harness.Password, "us-east-1")

// request returns an unsigned request to a server; path is already escaped.
func request(t testing.TB, s *harness.Server, method, path, query string) *http.Request {
	t.Helper()
	if query != "" {
		path += "?" + query
	}
	r, err := http.NewRequest(method, s.Endpoint()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// head returns a request's line and headers as they go over the wire. length
// is the Content-Length; under 0 there is none.
func head(r *http.Request, length int64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.URL.Host)
	if length >= 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", length)
	}
	_ = r.Header.Write(&b) // into memory
	b.WriteString("\r\n")
	return b.Bytes()
}

// patience bounds every exchange over a raw connection.
const patience = 90 * time.Second

// ending is how a client ends its sending.
type ending int

const (
	finish ending = iota // at once: to the server the client is gone
	reset                // the connection is reset, no answer is read
	wait                 // only after a while without an answer
)

// exchange sends wire on a connection of its own, ends the sending side, and
// returns what the server answered: nil where it closed without an answer.
func exchange(t testing.TB, s *harness.Server, wire []byte, end ending) *harness.Answer {
	t.Helper()
	a, err := tryExchange(t.Context(), s.Addr, wire, end)
	if err != nil {
		t.Error(err)
	}
	return a
}

func tryExchange(ctx context.Context, addr string, wire []byte, end ending) (*harness.Answer, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	tcp := c.(*net.TCPConn)
	if err := tcp.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	_, sent := tcp.Write(wire) // a server that refuses early may close before it has read all
	switch {
	case end == reset:
		return nil, tcp.SetLinger(0)
	case end == wait:
		defer time.AfterFunc(700*time.Millisecond, func() { _ = tcp.CloseWrite() }).Stop()
	case sent == nil:
		_ = tcp.CloseWrite()
	}
	return answer(tcp)
}

// answer reads one answer, nil if the connection ends without one. Only an
// answer that does not come in time is an error.
func answer(c net.Conn) (*harness.Answer, error) {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		defer resp.Body.Close()
		var body []byte
		body, err = io.ReadAll(resp.Body)
		if err == nil {
			return &harness.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
		}
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return nil, fmt.Errorf("the server neither answers nor closes: %w", err)
	}
	return nil, nil
}

// refused fails the test unless the server answered 4xx, or closed without an
// answer where that is allowed.
func refused(t testing.TB, what string, a *harness.Answer, mayClose bool) {
	t.Helper()
	switch {
	case a == nil && mayClose:
	case a == nil:
		t.Errorf("%s: the connection was closed without an answer", what)
	case a.Status/100 != 4:
		t.Errorf("%s: status %d, want 4xx: %.300s", what, a.Status, a.Body)
	}
}

// sane fails the test if the server panicked, or does not answer quickly.
func sane(t *testing.T, s *harness.Server) {
	t.Helper()
	if lines := s.Panics(); len(lines) > 0 {
		t.Errorf("the server panicked: %s", strings.Join(lines, "\n"))
	}
	best := time.Hour
	for range 3 {
		start := time.Now()
		s.Raw().Must(t, http.StatusOK, "GET", "/", "", nil)
		if best = min(best, time.Since(start)); best < time.Second {
			return
		}
	}
	t.Errorf("the server takes %v to list its buckets", best)
}
