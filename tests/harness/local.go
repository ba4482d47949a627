package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/cmd/allinone"
	"holdfast/gateway"
	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/tracker"
)

// LocalOptions says what server to run inside the test process, where its
// clock and limits can be set.
type LocalOptions struct {
	Options
	Tune        allinone.Tune
	Clock       clock.Clock // nil is the machine's
	InlineLimit int         // bytes; 0 is the default, under 0 none
}

// Local is a server inside the test process. It has the clients of a Server;
// Stop, Launch and Restart are its own.
type Local struct {
	*Server
	All *allinone.Server

	lo   LocalOptions
	stop func() error
}

// StartLocal starts a server inside the test process; the test's end stops it.
func StartLocal(t testing.TB, o LocalOptions) *Local {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	l := &Local{Server: &Server{t: t, o: o.Options, Addr: freeAddr(t), log: &logBuffer{}}, lo: o}
	for i := range max(o.Dirs, 1) {
		l.Dirs = append(l.Dirs, filepath.Join(o.Root, fmt.Sprintf("d%d", i+1)))
	}
	t.Cleanup(func() {
		l.Stop()
		if t.Failed() {
			t.Logf("server log:\n%s", l.log.tail(16<<10))
		}
	})
	l.Launch()
	return l
}

// Launch opens the server and serves.
func (l *Local) Launch() {
	l.t.Helper()
	if err := l.TryLaunch(); err != nil {
		l.t.Fatal(err)
	}
}

// TryLaunch is Launch that returns the refusal.
func (l *Local) TryLaunch() error {
	l.forgetConnections()
	keys, err := auth.NewStatic(User, Password)
	if err != nil {
		return err
	}
	gw := gateway.DefaultConfig()
	if l.lo.InlineLimit != 0 {
		gw.InlineLimit = max(l.lo.InlineLimit, 0)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := allinone.Open(ctx, allinone.Config{FS: vfs.OS(), Dirs: l.Dirs, Scheme: l.lo.Scheme, Keys: keys, Gateway: gw,
		Log: zerolog.New(l.log), Clock: l.lo.Clock, Tune: l.lo.Tune})
	if err != nil {
		cancel()
		return err
	}
	ln, err := net.Listen("tcp", l.Addr)
	if err != nil {
		cancel()
		return errors.Join(err, srv.Close())
	}
	h := srv.HTTPServer()
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	go func() { ran <- srv.Run(ctx) }()
	l.All = srv
	l.stop = func() error {
		drain, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		err := h.Shutdown(drain)
		if err != nil {
			err = h.Close()
		}
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		cancel()
		if e := <-ran; !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
		return errors.Join(err, srv.Close())
	}
	return nil
}

// Stop ends the server gracefully. A stopped one stays so.
func (l *Local) Stop() {
	if l.stop == nil {
		return
	}
	if err := l.stop(); err != nil {
		l.t.Errorf("stopping the server: %v", err)
	}
	l.stop = nil
}

// Restart stops the server and starts it again.
func (l *Local) Restart() {
	l.t.Helper()
	l.Stop()
	l.Launch()
}

// Status asks the server how it is.
func (l *Local) Status() *tracker.Status {
	l.t.Helper()
	st, err := l.All.Status(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return st
}

// Pass lets time go by on the server's clock, and its workers work a little.
// The clock jumps while nothing is written, since a write under way would seem
// to take that long.
func (l *Local) Pass(clk *Clock, d time.Duration) {
	l.t.Helper()
	last, since := -1.0, time.Now()
	Until(l.t, 30*time.Second, "the catalog's log is quiet", func() bool {
		if now := Sum(l.Metrics(), "holdfast_catalog_log_syncs_total"); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond
	})
	clk.Jump(d)
	if err := l.All.AcceptClock(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}
