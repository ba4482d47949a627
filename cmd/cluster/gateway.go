package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/cmd/observe"
	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/gateway/s3"
	"holdfast/internal/peer"
	storageremote "holdfast/storage/remote"
	"holdfast/tracker"
	trackerremote "holdfast/tracker/remote"
)

// GatewayConfig says what gateway to run.
type GatewayConfig struct {
	Common
	Keys      auth.Keys
	Gateway   gateway.Config
	AccessLog io.Writer // a line for each request; nil for none; safe for concurrent use
}

// Gateway is a process that speaks S3. It holds no state that matters.
type Gateway struct {
	cfg      GatewayConfig
	trackers *trackerremote.Client
	nodes    *storageremote.Nodes
	front    *s3.Server
}

// maxMapAge is how old a map may be while the gateway calls itself ready.
const maxMapAge = 15 * time.Second

// NewGateway makes a gateway; it asks nobody yet.
func NewGateway(cfg GatewayConfig) (*Gateway, error) {
	cfg.setDefaults()
	g := &Gateway{cfg: cfg}
	var err error
	if g.trackers, err = cfg.trackers(func(c *trackerremote.Config) { c.OldestRead = g.oldestRead }); err != nil {
		return nil, err
	}
	g.nodes = storageremote.NewNodes(storageremote.Config{
		DialData: cfg.Access.dial(peer.Storage, peer.Data), DialControl: cfg.Access.dial(peer.Storage, peer.Control),
		Learn: g.learn,
	})
	reg := observe.Registry()
	reg.MustRegister(observe.Collector(observe.Source{Map: g.trackers.Known}))
	deps := gateway.Deps{Catalog: g.trackers, Scheduler: g.trackers, Nodes: g.nodes, Keys: cfg.Keys, Ready: g.ready, Clock: cfg.Clock}
	opts := []s3.Option{s3.WithClock(cfg.Clock)}
	if cfg.AccessLog != nil {
		opts = append(opts, s3.WithAccessLog(cfg.AccessLog))
	}
	strict := ""
	if cfg.Gateway.StrictRegion {
		strict = cfg.Gateway.Region
	}
	verify := sigv4.New(sigv4.Config{Keys: cfg.Keys, Region: strict, Clock: cfg.Clock})
	opts = append(opts, s3.WithMount(admin.Prefix, admin.New(&operator{g}, verify, cfg.Log)))
	if g.front, err = s3.NewServer(cfg.Gateway, deps, cfg.Log, reg, opts...); err != nil {
		return nil, errors.Join(err, g.trackers.Close(), g.nodes.Close())
	}
	return g, nil
}

// oldestRead is for how long the oldest read that is still served has been.
func (g *Gateway) oldestRead() time.Duration {
	if g.front == nil {
		return 0
	}
	began := g.front.OldestRead()
	if began == 0 {
		return 0
	}
	return max(g.cfg.Clock.Now().Sub(time.UnixMilli(began)), time.Millisecond)
}

// ready reports whether a tracker that leads answered lately.
func (g *Gateway) ready() error {
	if age := g.trackers.MapAge(); age > maxMapAge {
		return fmt.Errorf("no tracker has answered for %v: %w", age.Round(time.Second), tracker.ErrUnavailable)
	}
	return nil
}

// HTTPServer returns a server for the listener, with its limits set.
func (g *Gateway) HTTPServer() *http.Server { return g.front.HTTPServer() }

// Run keeps the cluster map until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	l := newLoops(ctx)
	l.start("map", g.trackers.Run)
	l.start("nodes", g.followMap)
	return l.wait(ctx)
}

// followMap tells the nodes' addresses of the map that Run keeps.
func (g *Gateway) followMap(ctx context.Context) error {
	var known *tracker.Map
	for {
		if m, err := g.trackers.Map(ctx); err == nil && m != known {
			g.nodes.Update(addresses(m))
			known = m
		}
		if err := pause(ctx, g.cfg.Clock, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// learnTime bounds how long a request waits for newer addresses of nodes.
const learnTime = 2 * time.Second

// learn asks for a newer cluster map, since a grant named an unknown node.
func (g *Gateway) learn() {
	ctx, cancel := context.WithTimeout(context.Background(), learnTime)
	defer cancel()
	m, err := g.trackers.Refresh(ctx)
	if err != nil {
		g.cfg.Log.Warn().Err(err).Msg("a grant names an unknown node, and no tracker tells of it")
		return
	}
	g.nodes.Update(addresses(m))
}

// Close ends what the gateway holds open. Run must have returned.
func (g *Gateway) Close() error {
	return errors.Join(g.front.Close(), g.trackers.Close(), g.nodes.Close())
}
