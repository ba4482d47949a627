package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/cmd/cluster"
	"holdfast/gateway"
	"holdfast/internal/clock"
	"holdfast/internal/peer"
	"holdfast/tracker"
)

// RolesOptions says what cluster to run inside the test process. The functions
// may be nil; they are called at each start of a role.
type RolesOptions struct {
	Trackers, Gateways int // 3 and 1 by default; with Gateways -1 there is none
	Groups             []GroupSpec
	// Common gives a role a file system or a clock of its own.
	Common  func(name string, c *cluster.Common)
	Tracker func(name string, c *cluster.TrackerConfig)
	Storage func(name string, c *cluster.StorageConfig)
}

// Roles is a cluster whose roles all run in the test process, over real
// connections, where files, clocks and limits can be set: for faults that a
// process of its own could not be given.
type Roles struct {
	Trackers, Storage, Gateways []*Role

	t      testing.TB
	o      RolesOptions
	access map[peer.Role]cluster.Access
	keys   *auth.Static
	root   string
}

// Role is one role of Roles.
type Role struct {
	Name, Addr, Dir string

	r    *Roles
	open func(ctx context.Context) (running, error)
	log  *logBuffer
	clk  clock.Clock
	mu   struct {
		sync.Mutex
		role   running
		cancel context.CancelFunc
		done   chan struct{}
		err    error
	}
}

// running is an opened role.
type running interface {
	Run(ctx context.Context) error
	Close() error
}

// StartRoles starts a cluster and waits until its gateways are ready and all
// nodes are active; the test's end stops it.
func StartRoles(t testing.TB, o RolesOptions) *Roles {
	t.Helper()
	if o.Trackers == 0 {
		o.Trackers = 3
	}
	if o.Gateways == 0 {
		o.Gateways = 1
	}
	r := &Roles{t: t, o: o, root: t.TempDir(), access: map[peer.Role]cluster.Access{}}
	secret, err := peer.ParseSecret(ClusterSecret)
	if err == nil {
		r.keys, err = auth.NewStatic(User, Password)
	}
	for _, role := range []peer.Role{peer.Tracker, peer.Storage, peer.Gateway} {
		var creds *peer.Credentials
		if err == nil {
			creds, err = peer.Derived(secret, role)
		}
		r.access[role] = cluster.Access{Secret: secret, Credentials: creds}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	for i := range o.Trackers {
		p := r.role(fmt.Sprintf("tracker%d", i+1))
		p.open = func(ctx context.Context) (running, error) { return r.tracker(ctx, p, i == 0) }
		r.Trackers = append(r.Trackers, p)
	}
	for _, g := range o.Groups {
		for i := range g.Nodes {
			p := r.role(fmt.Sprintf("%s%d", g.Name, i+1))
			p.open = func(ctx context.Context) (running, error) { return r.storage(ctx, p, g) }
			r.Storage = append(r.Storage, p)
		}
	}
	for i := range o.Gateways {
		p := r.role(fmt.Sprintf("gateway%d", i+1))
		p.Dir = ""
		p.open = func(context.Context) (running, error) { return r.gateway(p) }
		r.Gateways = append(r.Gateways, p)
	}
	for _, p := range r.all() {
		p.Start()
	}
	r.WaitReady()
	return r
}

func (r *Roles) role(name string) *Role {
	return &Role{Name: name, Addr: freeAddr(r.t), Dir: filepath.Join(r.root, name), r: r, log: &logBuffer{}}
}

func (r *Roles) all() []*Role {
	return append(append(append([]*Role(nil), r.Trackers...), r.Storage...), r.Gateways...)
}

// Role returns the role of a name.
func (r *Roles) Role(name string) *Role {
	for _, p := range r.all() {
		if p.Name == name {
			return p
		}
	}
	r.t.Fatalf("no role %s", name)
	return nil
}

// TrackerAddrs are the trackers' addresses.
func (r *Roles) TrackerAddrs() (out []string) {
	for _, p := range r.Trackers {
		out = append(out, p.Addr)
	}
	return out
}

func (r *Roles) common(p *Role, role peer.Role) cluster.Common {
	c := cluster.Common{Access: r.access[role], Trackers: r.TrackerAddrs(), Log: zerolog.New(p.log).Level(zerolog.InfoLevel).With().Timestamp().Logger(), Clock: clock.System{}}
	if r.o.Common != nil {
		r.o.Common(p.Name, &c)
	}
	p.clk = c.Clock
	return c
}

func (r *Roles) tracker(ctx context.Context, p *Role, first bool) (running, error) {
	cfg := cluster.TrackerConfig{Common: r.common(p, peer.Tracker), ID: p.Name, Dir: p.Dir, Advertise: p.Addr, Bootstrap: first}
	if r.o.Tracker != nil {
		r.o.Tracker(p.Name, &cfg)
	}
	var err error
	if cfg.Listener, err = peer.Listen(p.Addr, cfg.Access.Credentials, peer.Control, peer.Raft); err != nil {
		return nil, err
	}
	t, err := cluster.NewTracker(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, cfg.Listener.Close())
	}
	return t, nil
}

func (r *Roles) storage(ctx context.Context, p *Role, g GroupSpec) (running, error) {
	cfg := cluster.StorageConfig{Common: r.common(p, peer.Storage), Dirs: []string{p.Dir}, Group: g.Name, Scheme: g.Scheme, Class: g.Class,
		Advertise: p.Addr, Domain: tracker.Domain{Host: p.Name}}
	if r.o.Storage != nil {
		r.o.Storage(p.Name, &cfg)
	}
	var err error
	if cfg.Listener, err = peer.Listen(p.Addr, cfg.Access.Credentials, peer.Control, peer.Data); err != nil {
		return nil, err
	}
	s, err := cluster.NewStorage(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, cfg.Listener.Close())
	}
	return s, nil
}

func (r *Roles) gateway(p *Role) (running, error) {
	ln, err := net.Listen("tcp", p.Addr)
	if err != nil {
		return nil, err
	}
	g, err := cluster.NewGateway(cluster.GatewayConfig{Common: r.common(p, peer.Gateway), Keys: r.keys, Gateway: gateway.DefaultConfig()})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &served{g, ln}, nil
}

// served is a gateway with its port.
type served struct {
	*cluster.Gateway
	ln net.Listener
}

// Run serves until ctx ends.
func (s *served) Run(ctx context.Context) error {
	h := s.HTTPServer()
	done := make(chan error, 1)
	go func() { done <- h.Serve(s.ln) }()
	err := s.Gateway.Run(ctx)
	drain, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if h.Shutdown(drain) != nil {
		_ = h.Close()
	}
	<-done
	return err
}

// Start opens the role and serves, in the background.
func (p *Role) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.mu.Lock()
	p.mu.cancel, p.mu.done, p.mu.err = cancel, done, nil
	p.mu.Unlock()
	go func() {
		defer close(done)
		role, err := p.open(ctx)
		if err == nil {
			p.mu.Lock()
			p.mu.role = role
			p.mu.Unlock()
			err = role.Run(ctx)
			p.mu.Lock()
			p.mu.role = nil
			p.mu.Unlock()
			err = errors.Join(err, role.Close())
		}
		p.mu.Lock()
		p.mu.err = err
		p.mu.Unlock()
	}()
}

// Stop ends the role and waits for it.
func (p *Role) Stop() {
	p.r.t.Helper()
	p.mu.Lock()
	cancel, done := p.mu.cancel, p.mu.done
	p.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		p.r.t.Errorf("%s did not stop within a minute", p.Name)
	}
}

// Ended reports whether the role has ended, by itself or not, and its error.
func (p *Role) Ended() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.mu.done:
		return true, p.mu.err
	default:
		return false, nil
	}
}

// Tracker is the tracker of the role, nil while it does not run.
func (p *Role) Tracker() *cluster.Tracker {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, _ := p.mu.role.(*cluster.Tracker)
	return t
}

// Storage is the storage process of the role, nil while it does not run.
func (p *Role) Storage() *cluster.Storage {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, _ := p.mu.role.(*cluster.Storage)
	return s
}

// Raw returns a client of a gateway that signs by the gateway's clock: S3
// refuses a signature that is 15 minutes off (RequestTimeTooSkewed), whatever
// the clocks of the other roles say.
func (p *Role) Raw() *Raw {
	raw := At(p.Addr)
	if p.clk != nil {
		raw.now = p.clk.Now
	}
	return raw
}

// Leader is the tracker that leads, by its own word.
func (r *Roles) Leader() (leader *Role) {
	r.t.Helper()
	Until(r.t, time.Minute, "a tracker leads", func() bool {
		for _, p := range r.Trackers {
			if t := p.Tracker(); t != nil {
				if _, leads := t.Service().LeaderEpoch(); leads {
					leader = p
					return true
				}
			}
		}
		return false
	})
	return leader
}

// Status asks the tracker that leads how the cluster is.
func (r *Roles) Status() (*tracker.Status, error) {
	for _, p := range r.Trackers {
		if t := p.Tracker(); t != nil {
			if _, leads := t.Service().LeaderEpoch(); leads {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				return t.Service().Status(ctx)
			}
		}
	}
	return nil, tracker.ErrNotLeader
}

// WaitReady waits until every gateway is ready and every node is active.
func (r *Roles) WaitReady() {
	r.t.Helper()
	for _, p := range r.all() {
		if ended, err := p.Ended(); ended && err != nil {
			r.t.Fatalf("%s ended: %v", p.Name, err)
		}
	}
	for _, g := range r.Gateways {
		Until(r.t, time.Minute, g.Name+" is ready", func() bool {
			resp, err := (&http.Client{Timeout: 2 * time.Second}).Get("http://" + g.Addr + "/-/ready")
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
	Until(r.t, time.Minute, "every node is active", func() bool {
		st, err := r.Status()
		if err != nil {
			return false
		}
		active := 0
		for _, n := range st.Map.Nodes {
			if n.State == tracker.NodeActive {
				active++
			}
		}
		return active >= len(r.Storage)
	})
}

func (r *Roles) end() {
	for _, p := range append(append(append([]*Role(nil), r.Gateways...), r.Storage...), r.Trackers...) {
		p.Stop()
	}
	if r.t.Failed() {
		for _, p := range r.all() {
			_, err := p.Ended()
			r.t.Logf("%s ended with %v; log:\n%s", p.Name, err, p.log.tail(4<<10))
		}
	}
}

// GatewayProcesses starts gateways in processes of their own, for a test that kills
// them.
func (r *Roles) GatewayProcesses(n int) *Cluster {
	r.t.Helper()
	c := &Cluster{t: r.t, Root: r.t.TempDir(), trackers: r.TrackerAddrs()}
	r.t.Cleanup(c.end)
	for i := range n {
		c.Add("gateway", fmt.Sprintf("gateway%d", i+1))
	}
	c.WaitReady()
	return c
}
