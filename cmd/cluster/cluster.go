// Package cluster is the composition root of the roles that run alone:
// Tracker, Storage and Gateway. Each is opened with New..., serves while Run
// runs, and is closed with Close. They are the same parts as in package
// allinone; what crosses a process goes through the remote packages, behind
// mutual TLS on one port of each role (internal/peer).
//
// # Goroutines
//
// Each role's Run starts one for each of its loops and servers and waits for
// them.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/internal/peer"
	"holdfast/internal/vfs"
	"holdfast/tracker/remote"
)

// Access is what lets a process into a cluster.
type Access struct {
	Secret peer.Secret
	// ID is the cluster's id, "" where it is the one of the secret: the secret
	// was never changed.
	ID string
	// Credentials are those of the role; see peer.Derived and peer.Given.
	Credentials *peer.Credentials
}

// Cluster is the cluster's id. It comes from the secret with which the cluster
// began, so that no role has to be told it until the secret is changed, and two
// clusters never take each other's directories.
func (a *Access) Cluster() string {
	if a.ID != "" {
		return a.ID
	}
	return uuid.UUID(a.Secret.Derive("cluster id", 16)).String()
}

// dial returns what dials a role for a protocol.
func (a *Access) dial(r peer.Role, p peer.Protocol) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) { return a.Credentials.Dial(ctx, addr, r, p) }
}

// Common is what every role is told.
type Common struct {
	Access   Access
	Trackers []string // host:port each
	Log      zerolog.Logger
	FS       vfs.FS      // nil is the machine's
	Clock    clock.Clock // nil is the machine's
}

func (c *Common) setDefaults() {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
}

// trackers returns a client of the cluster's trackers.
func (c *Common) trackers(change func(*remote.Config)) (*remote.Client, error) {
	cfg := remote.Default()
	cfg.Addrs, cfg.Clock, cfg.Dial = c.Trackers, c.Clock, c.Access.dial(peer.Tracker, peer.Control)
	change(&cfg)
	return remote.New(cfg)
}

// loops runs the parts of a role. The first that fails ends the others.
type loops struct {
	wg     sync.WaitGroup
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func newLoops(ctx context.Context) *loops {
	l := &loops{}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	return l
}

// start runs f; its error ends the role, unless the role is ending.
func (l *loops) start(name string, f func(context.Context) error) {
	l.wg.Go(func() {
		if err := f(l.ctx); err != nil && l.ctx.Err() == nil {
			l.cancel(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// serve runs a server that stop ends.
func (l *loops) serve(name string, f func() error, stop func()) {
	l.start(name, func(ctx context.Context) error {
		done := context.AfterFunc(ctx, stop)
		defer done()
		return f()
	})
}

// wait returns when all have ended: nil where the caller's context did it.
func (l *loops) wait(ctx context.Context) error {
	<-l.ctx.Done()
	l.wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	if err := context.Cause(l.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// drainTime bounds how long a role finishes what is in flight.
const drainTime = 20 * time.Second
