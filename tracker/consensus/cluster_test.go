package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/tracker"
)

// bubble runs a test under a clock that stands still while anything is done, so
// that a busy machine is late for nothing. Raft does not answer some futures once
// it is shut down, and who waits for one then is left behind.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil && !strings.Contains(fmt.Sprint(p), "blocked goroutines remain") {
			panic(p)
		}
	}()
	synctest.Test(t, f)
}

// testNet is a network in memory whose ways can be cut: what is sent into a
// cut waits until it is mended, as on a network that loses and sends again.
type testNet struct {
	latency  time.Duration // at most, of each message; random
	mu       sync.Mutex
	hosts    map[string]*testListener
	replicas map[string]*Replica
	cuts     map[[2]string]chan struct{} // from, to; closed when mended
	// onCall, if set, is told of each control call before it is made.
	onCall func(ctx context.Context, from, to, method string)
}

func newTestNet() *testNet {
	return &testNet{hosts: map[string]*testListener{}, replicas: map[string]*Replica{}, cuts: map[[2]string]chan struct{}{}}
}

// cut cuts the way from a to b and back; mend mends it.
func (n *testNet) cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, way := range [][2]string{{a, b}, {b, a}} {
		if n.cuts[way] == nil {
			n.cuts[way] = make(chan struct{})
		}
	}
}

func (n *testNet) mend(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, way := range [][2]string{{a, b}, {b, a}} {
		if ch := n.cuts[way]; ch != nil {
			close(ch)
			delete(n.cuts, way)
		}
	}
}

func (n *testNet) gap(from, to string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ch := n.cuts[[2]string{from, to}]; ch != nil {
		return ch
	}
	return nil
}

// linger waits for as long as a message is under way.
func (n *testNet) linger() {
	if n.latency > 0 {
		time.Sleep(rand.N(n.latency))
	}
}

// pass waits until the way is whole.
func (n *testNet) pass(ctx context.Context, from, to string) error {
	n.linger()
	for gap := n.gap(from, to); gap != nil; gap = n.gap(from, to) {
		select {
		case <-gap:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

type testListener struct {
	n    *testNet
	addr string
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
}

func (n *testNet) listen(addr string) *testListener {
	l := &testListener{n: n, addr: addr, ch: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[addr] = l
	return l
}

func (l *testListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *testListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *testListener) Addr() net.Addr { return raftAddr(l.addr) }

// dialer returns how the host from dials others.
func (n *testNet) dialer(from string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		if err := errors.Join(n.pass(ctx, from, to), n.pass(ctx, to, from)); err != nil {
			return nil, err
		}
		n.mu.Lock()
		l := n.hosts[to]
		n.mu.Unlock()
		if l == nil {
			return nil, errors.New("no such host")
		}
		a, b := net.Pipe()
		select {
		case l.ch <- &testConn{Conn: b, n: n, from: to, to: from, closed: make(chan struct{})}:
			return &testConn{Conn: a, n: n, from: from, to: to, closed: make(chan struct{})}, nil
		case <-l.done:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type testConn struct {
	net.Conn
	n        *testNet
	from, to string
	closed   chan struct{}
	once     sync.Once
	mu       sync.Mutex
	until    time.Time
}

func (c *testConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *testConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *testConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.until = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *testConn) Write(b []byte) (int, error) {
	c.n.linger()
	for gap := c.n.gap(c.from, c.to); gap != nil; gap = c.n.gap(c.from, c.to) {
		c.mu.Lock()
		until := c.until
		c.mu.Unlock()
		var late <-chan time.Time
		if !until.IsZero() {
			late = time.After(time.Until(until))
		}
		select {
		case <-gap:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

// peer returns how the host from calls the replica at to.
func (n *testNet) peer(from string) func(to string) Peer {
	return func(to string) Peer { return &testPeer{n, from, to} }
}

type testPeer struct {
	n        *testNet
	from, to string
}

func through[Q, A any](p *testPeer, ctx context.Context, q *Q, call func(*Replica) func(context.Context, *Q) (*A, error)) (*A, error) {
	p.n.mu.Lock()
	on := p.n.onCall
	p.n.mu.Unlock()
	if on != nil {
		on(ctx, p.from, p.to, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", q), "*consensus."), "Request"))
	}
	if err := p.n.pass(ctx, p.from, p.to); err != nil {
		return nil, err
	}
	p.n.mu.Lock()
	r := p.n.replicas[p.to]
	p.n.mu.Unlock()
	if r == nil {
		return nil, fmt.Errorf("%w: nobody listens", tracker.ErrUnavailable)
	}
	a, err := call(r)(ctx, q)
	if err := p.n.pass(ctx, p.to, p.from); err != nil {
		return nil, err
	}
	return a, err
}

func (p *testPeer) Ping(ctx context.Context, q *PingRequest) (*PingAnswer, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *PingRequest) (*PingAnswer, error) { return r.Ping })
}
func (p *testPeer) State(ctx context.Context, q *StateRequest) (*ReplicaState, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *StateRequest) (*ReplicaState, error) { return r.State })
}
func (p *testPeer) Checkpoint(ctx context.Context, q *CheckpointRequest) (*Manifest, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *CheckpointRequest) (*Manifest, error) { return r.Checkpoint })
}
func (p *testPeer) ReadFile(ctx context.Context, q *ReadFileRequest) (*FileRange, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *ReadFileRequest) (*FileRange, error) { return r.ReadFile })
}
func (p *testPeer) SumFile(ctx context.Context, q *SumFileRequest) (*FileSum, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *SumFileRequest) (*FileSum, error) { return r.SumFile })
}
func (p *testPeer) Hold(ctx context.Context, q *HoldRequest) (*Done, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *HoldRequest) (*Done, error) { return r.Hold })
}
func (p *testPeer) Release(ctx context.Context, q *ReleaseRequest) (*Done, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *ReleaseRequest) (*Done, error) { return r.Release })
}
func (p *testPeer) Join(ctx context.Context, q *JoinRequest) (*JoinAnswer, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *JoinRequest) (*JoinAnswer, error) { return r.Join })
}
func (p *testPeer) Remove(ctx context.Context, q *RemoveRequest) (*Done, error) {
	return through(p, ctx, q, func(r *Replica) func(context.Context, *RemoveRequest) (*Done, error) { return r.Remove })
}

// cluster is replicas on one network.
type cluster struct {
	t    testing.TB
	net  *testNet
	cfgs []ReplicaConfig

	mu      sync.Mutex
	reps    []*Replica // nil: does not run
	stopped map[string]error
}

func addrOf(i int) string { return fmt.Sprintf("host%d:7000", i) }

// newCluster prepares n replicas; the first begins the group.
func newCluster(t testing.TB, n int, fs func(i int) vfs.FS) *cluster {
	c := &cluster{t: t, net: newTestNet(), reps: make([]*Replica, n), stopped: map[string]error{}}
	var members []Member
	for i := range n {
		members = append(members, Member{fmt.Sprintf("t%d", i), addrOf(i)})
	}
	for i := range n {
		addr := addrOf(i)
		c.cfgs = append(c.cfgs, ReplicaConfig{
			Voter:     Voter{ID: members[i].ID, FS: fs(i), Dir: fmt.Sprintf("/disk%d/catalog", i)},
			ClusterID: "test", Advertise: addr, Dial: c.net.dialer(addr), Peer: c.net.peer(addr),
			Members: members, Bootstrap: i == 0, Machine: counter{}, Logger: testLogger(t).With().Str("host", addr).Logger(),
			HeartbeatTimeout: 400 * time.Millisecond, commitTimeout: 5 * time.Millisecond, BallastBytes: -1,
			OnStop: func(err error) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.stopped[members[i].ID] = err
			},
		})
	}
	t.Cleanup(func() {
		for i := range c.reps {
			c.stop(i)
		}
	})
	return c
}

func (c *cluster) start(i int) *Replica {
	c.t.Helper()
	cfg := c.cfgs[i]
	if cfg.Listener == nil {
		cfg.Listener = c.net.listen(cfg.Advertise)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := OpenReplica(ctx, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.reps[i] = r
	c.mu.Unlock()
	c.net.mu.Lock()
	c.net.replicas[cfg.Advertise] = r
	c.net.mu.Unlock()
	return r
}

func (c *cluster) startAll() *cluster {
	c.t.Helper()
	for i := range c.cfgs {
		c.start(i)
	}
	c.ready()
	return c
}

// ready waits until all that run are voters.
func (c *cluster) ready() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i, r := range c.running() {
		if r == nil {
			continue
		}
		if err := r.Ready(ctx); err != nil {
			c.t.Fatalf("replica %d: %v", i, err)
		}
	}
}

func (c *cluster) running() []*Replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Replica(nil), c.reps...)
}

// stop closes a replica; kill stops it without a word to the others.
func (c *cluster) stop(i int) { c.end(i, false) }
func (c *cluster) kill(i int) { c.end(i, true) }

func (c *cluster) end(i int, kill bool) {
	c.mu.Lock()
	r := c.reps[i]
	c.reps[i] = nil
	c.mu.Unlock()
	if r == nil {
		return
	}
	c.net.mu.Lock()
	delete(c.net.replicas, r.cfg.Advertise)
	c.net.mu.Unlock()
	if kill {
		if v := r.voter.Load(); v != nil {
			v.retire(errors.New("killed by the test"))
			r.stop(v)
		}
	}
	if err := r.Close(); err != nil {
		c.t.Errorf("replica %d: %v", i, err)
	}
}

// isolate cuts a replica off from the others; rejoin mends that.
func (c *cluster) isolate(i int) {
	for j := range c.cfgs {
		if j != i {
			c.net.cut(c.cfgs[i].Advertise, c.cfgs[j].Advertise)
		}
	}
}

func (c *cluster) rejoin(i int) {
	for j := range c.cfgs {
		if j != i {
			c.net.mend(c.cfgs[i].Advertise, c.cfgs[j].Advertise)
		}
	}
}

// leader waits for a replica that leads, other than those given.
func (c *cluster) leader(not ...*Replica) (i int, r *Replica) {
	c.t.Helper()
	eventually(c.t, "a replica leads", func() bool {
		for j, x := range c.running() {
			if x == nil {
				continue
			}
			if _, ok := x.LeaderEpoch(); !ok {
				continue
			}
			i, r = j, x
			for _, n := range not {
				if n == x {
					r = nil
				}
			}
			if r != nil {
				return true
			}
		}
		return false
	})
	return i, r
}

// propose proposes at whoever leads until it is done.
func (c *cluster) propose(cmd string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, r := c.leader()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := r.Propose(ctx, []byte(cmd), false)
		cancel()
		switch {
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return err
		case errors.Is(err, tracker.ErrNotLeader), errors.Is(err, tracker.ErrUncertain), errors.Is(err, tracker.ErrUnavailable):
		default:
			return err
		}
	}
}

func (c *cluster) fill(prefix string, n int) {
	c.t.Helper()
	for i := range n {
		if err := c.propose(fmt.Sprintf("%s.%d", prefix, i)); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) lookup(key string) string {
	c.t.Helper()
	var val string
	eventually(c.t, "a read is served", func() bool {
		_, r := c.leader()
		v, err := readKey(r, key)
		val = v
		return err == nil
	})
	return val
}

// readKey reads the value of a command's key at a replica.
func readKey(l Log, key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rd, release, err := l.Read(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	v, ok, err := rd.Get(append([]byte{'k'}, key...), nil)
	if err != nil || !ok {
		return "", err
	}
	return string(v[8:]), nil
}

func (c *cluster) checkFilled(prefix string, n int) {
	c.t.Helper()
	for i := range n {
		key := fmt.Sprintf("%s.%d", prefix, i)
		if got := c.lookup(key); got != key {
			c.t.Fatalf("%s is %q", key, got)
		}
	}
}

// checkEqual waits until all running replicas have applied the same and
// compares their rows.
func (c *cluster) checkEqual() {
	c.t.Helper()
	if err := c.propose("check"); err != nil {
		c.t.Fatal(err)
	}
	_, lead := c.leader()
	checkSame(c.t, lead, c.running())
}

// stateOf returns the name of a voter's state store.
func stateOf(v *voter) string {
	v.fsm.mu.Lock()
	defer v.fsm.mu.Unlock()
	return v.id.State
}
