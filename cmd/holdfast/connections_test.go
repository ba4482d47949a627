package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		descriptors uint64
		dirs, want  int
	}{{0, 1, 0}, {256, 3, 128}, {1024, 1, 512}, {10_000, 1, 8000}, {1 << 20, 4, 1<<20 - 8000}, {1 << 63, 1, 1<<30 - 2000}} {
		if got := maxConnections(c.descriptors, c.dirs); got != c.want {
			t.Errorf("%d descriptors, %d directories: %d connections, want %d", c.descriptors, c.dirs, got, c.want)
		}
	}
}

// TestBoundConnections holds that idle connections cannot take every
// descriptor, that a closed one makes room, and that a full server stops.
func TestBoundConnections(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}
	served := make(chan error, 1)
	bounded := boundConnections(h, ln, 2, zerolog.Nop())
	go func() { served <- h.Serve(bounded) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	// ask returns nil if the connection was answered within d.
	ask := func(c net.Conn, d time.Duration) error {
		if err := c.SetDeadline(time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	first, second, third := dial(), dial(), dial()
	for _, c := range []net.Conn{first, second} {
		if err := ask(c, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	var timeout net.Error
	if err := ask(third, 100*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("third connection: %v", err)
	}
	first.Close()
	if err := ask(third, 10*time.Second); err != nil {
		t.Fatalf("after one was closed: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Fatal(err)
	}
}
