package remote

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/internal/rpc"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/catalog/catalogtest"
	"holdfast/tracker/service"
	"holdfast/tracker/trackertest"
)

func plain(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// listen serves services on loopback and returns the address.
func listen(t *testing.T, services ...*rpc.Service) string {
	t.Helper()
	srv, err := rpc.NewServer(services...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close(0)
		<-done
	})
	return l.Addr().String()
}

func client(t *testing.T, change func(*Config), addrs ...string) *Client {
	t.Helper()
	cfg := Default()
	cfg.Addrs, cfg.Dial = addrs, plain
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestConformance runs the catalog's suite over the network: a real service
// over a log in memory, a real server, and the client.
func TestConformance(t *testing.T) {
	trackertest.Run(t, func(t *testing.T) tracker.Catalog {
		l := catalogtest.New(t)
		t.Cleanup(func() {
			for _, line := range catalog.Check(l.Store) {
				t.Error(line)
			}
		})
		cat := service.NewReplicated(l, clock.System{})
		cfg := service.Default()
		cfg.Poll, cfg.Replicated = false, true
		svc, err := service.New(cfg, cat, cat, cat, nil, clock.System{}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if err := svc.Look(t.Context()); err != nil { // raises the feature level, as Run does
			t.Fatal(err)
		}
		addr := listen(t, Services(ServerConfig{Tracker: svc, Leader: func() string { return "" }, Held: svc.Held, Clock: clock.System{}, Log: zerolog.Nop()})...)
		return client(t, func(c *Config) { c.FirstTry = 10 * time.Second }, addr)
	})
}
