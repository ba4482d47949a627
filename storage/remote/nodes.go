package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/rpc"
	"holdfast/storage"
)

// Config says how nodes are reached.
type Config struct {
	// DialData and DialControl open authenticated connections to a storage
	// process, for shards and for calls.
	DialData, DialControl func(ctx context.Context, addr string) (net.Conn, error)
	// Incarnation is that of the catalog for which shards are deleted and
	// disowned, "" while it is not known: a node that knows another refuses
	// (SAFETY A3). Nil for who drops nothing.
	Incarnation func() string
	// Learn brings the addresses up to date (Update) where a node is asked
	// for that is not known: a grant may name one that is younger than the
	// cluster map here. It is called by one at a time, and bounds its time.
	// Nil where nothing newer can be had.
	Learn func()
}

// learnEvery bounds how often Learn is called: a node that nobody knows may
// be asked for again and again.
const learnEvery = 200 * time.Millisecond

// Nodes finds nodes by the addresses it was last told. It implements
// storage.Nodes and is safe for concurrent use.
type Nodes struct {
	cfg   Config
	http  *http.Client
	known rpc.Sentinels
	mu    struct {
		sync.RWMutex
		addrs map[storage.NodeID]string
		peers map[string]*rpc.Client // by address
	}
	learn struct {
		sync.Mutex
		at time.Time // of the end of the last Learn
	}
}

// NewNodes returns a set that knows no node yet.
func NewNodes(cfg Config) *Nodes {
	n := &Nodes{cfg: cfg, known: known()}
	n.http = &http.Client{Transport: &http.Transport{
		DialContext:  func(ctx context.Context, _, addr string) (net.Conn, error) { return cfg.DialData(ctx, addr) },
		MaxIdleConns: 4096, MaxIdleConnsPerHost: 128, IdleConnTimeout: time.Minute,
		ResponseHeaderTimeout: 0, ExpectContinueTimeout: stall,
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10, DisableCompression: true,
	}}
	n.mu.addrs = map[storage.NodeID]string{}
	n.mu.peers = map[string]*rpc.Client{}
	return n
}

// Update sets the nodes' addresses (host:port); those that are not named are
// not known any more.
func (n *Nodes) Update(addrs map[storage.NodeID]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.addrs = addrs
	used := map[string]bool{}
	for _, a := range addrs {
		used[a] = true
	}
	for a, p := range n.mu.peers {
		if !used[a] {
			_ = p.Close()
			delete(n.mu.peers, a)
		}
	}
}

// Close ends all connections.
func (n *Nodes) Close() error {
	n.Update(nil)
	n.http.CloseIdleConnections()
	return nil
}

// Shards implements storage.Nodes. Whether the node answers shows when it is asked.
func (n *Nodes) Shards(id storage.NodeID) (storage.Shards, error) {
	addr, p := n.look(id)
	if addr == "" && n.cfg.Learn != nil {
		addr, p = n.lookAgain(id)
	}
	if addr == "" {
		return nil, fmt.Errorf("node %d has no address: %w", id, storage.ErrOffline)
	}
	if p == nil {
		var err error
		if p, err = n.connect(addr); err != nil {
			return nil, err
		}
	}
	return &shards{n: n, id: id, addr: addr, rpc: p}, nil
}

func (n *Nodes) look(id storage.NodeID) (addr string, p *rpc.Client) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	addr = n.mu.addrs[id]
	return addr, n.mu.peers[addr]
}

// lookAgain looks for a node that was not known, with newer addresses.
func (n *Nodes) lookAgain(id storage.NodeID) (addr string, p *rpc.Client) {
	n.learn.Lock()
	defer n.learn.Unlock()
	if addr, p = n.look(id); addr == "" && time.Since(n.learn.at) > learnEvery {
		n.cfg.Learn()
		n.learn.at = time.Now()
		addr, p = n.look(id)
	}
	return addr, p
}

func (n *Nodes) connect(addr string) (*rpc.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.mu.peers[addr]; p != nil {
		return p, nil
	}
	p, err := rpc.NewClient(addr, n.cfg.DialControl, n.known)
	if err == nil {
		n.mu.peers[addr] = p
	}
	return p, err
}

// shards is one node. It implements storage.Shards.
type shards struct {
	n    *Nodes
	id   storage.NodeID
	addr string
	rpc  *rpc.Client
}

var _ storage.Shards = (*shards)(nil)

// Node implements storage.Shards.
func (s *shards) Node() storage.NodeID { return s.id }

// offline says of an error of the network that the node is not to be reached.
func (s *shards) offline(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpc.ErrUnreachable) && !errors.Is(err, context.Canceled):
		return fmt.Errorf("node %d at %s: %w: %w", s.id, s.addr, storage.ErrOffline, err)
	}
	return fmt.Errorf("node %d: %w", s.id, err)
}

// ask makes a call, bounded by d where ctx has no deadline.
func ask[Req, Resp any](ctx context.Context, s *shards, method string, d time.Duration, req *Req) (Resp, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	out, err := rpc.Call[Req, Resp](ctx, s.rpc, service, method, req)
	if out == nil {
		out = new(Resp)
		if err == nil {
			err = rpc.ErrProtocol
		}
	}
	return *out, s.offline(err)
}

// Bounds of calls whose caller gave none. A rebuild moves a whole blob.
const (
	quick       = 10 * time.Second
	lengthy     = 2 * time.Minute
	rebuildTime = time.Hour
)

// Stat implements storage.Shards.
func (s *shards) Stat(ctx context.Context, id storage.ShardID) (storage.ShardInfo, error) {
	return ask[idRequest, storage.ShardInfo](ctx, s, "Stat", quick, &idRequest{call{s.id}, id})
}

// Delete implements storage.Shards.
func (s *shards) Delete(ctx context.Context, ids []storage.ShardID) error {
	_, err := ask[idsRequest, none](ctx, s, "Delete", lengthy, &idsRequest{call: call{s.id}, IDs: ids, Incarnation: s.n.incarnation()})
	return err
}

func (n *Nodes) incarnation() string {
	if n.cfg.Incarnation == nil {
		return ""
	}
	return n.cfg.Incarnation()
}

// Disown implements storage.Shards.
func (s *shards) Disown(ctx context.Context, ids []storage.ShardID, now time.Time) error {
	_, err := ask[idsRequest, none](ctx, s, "Disown", lengthy, &idsRequest{call{s.id}, ids, now.UnixMilli(), s.n.incarnation()})
	return err
}

// Revive implements storage.Shards.
func (s *shards) Revive(ctx context.Context, ids []storage.ShardID) error {
	_, err := ask[idsRequest, none](ctx, s, "Revive", lengthy, &idsRequest{call: call{s.id}, IDs: ids})
	return err
}

// Digest implements storage.Shards.
func (s *shards) Digest(ctx context.Context, r storage.IDRange) (storage.Digest, error) {
	return ask[rangeRequest, storage.Digest](ctx, s, "Digest", lengthy, &rangeRequest{call: call{s.id}, Range: r})
}

// List implements storage.Shards.
func (s *shards) List(ctx context.Context, r storage.IDRange, after storage.ShardID, limit int) ([]storage.ShardInfo, error) {
	a, err := ask[rangeRequest, listAnswer](ctx, s, "List", lengthy, &rangeRequest{call{s.id}, r, after, limit})
	return a.Shards, err
}

// Rebuild implements storage.Shards.
func (s *shards) Rebuild(ctx context.Context, r *storage.Rebuild) (storage.Seal, error) {
	return ask[rebuildRequest, storage.Seal](ctx, s, "Rebuild", rebuildTime, &rebuildRequest{call{s.id}, *r})
}

// Adopt implements storage.Shards.
func (s *shards) Adopt(ctx context.Context, incarnation string) error {
	_, err := ask[adoptRequest, none](ctx, s, "Adopt", quick, &adoptRequest{call{s.id}, incarnation})
	return err
}

// Status implements storage.Shards.
func (s *shards) Status(ctx context.Context) (storage.Status, error) {
	return ask[call, storage.Status](ctx, s, "Status", quick, &call{s.id})
}

// network says of an error of HTTP what the contract calls it.
func (s *shards) network(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("node %d: %w", s.id, cause)
	}
	if fault.KindOf(err) != fault.Internal {
		return fmt.Errorf("node %d: %w", s.id, err)
	}
	return fmt.Errorf("node %d at %s: %w: %w", s.id, s.addr, storage.ErrOffline, err)
}
