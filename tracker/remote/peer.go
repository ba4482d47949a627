package remote

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/rpc"
	"holdfast/tracker"
	"holdfast/tracker/consensus"
)

const replicaService = "Replica"

// peerSentinels is what an answer of a replica may carry.
func peerSentinels() rpc.Sentinels { return rpc.Known(tracker.Sentinels(), consensus.Sentinels()) }

// PeerService serves a replica to the others of its group.
func PeerService(p consensus.Peer, log zerolog.Logger) *rpc.Service {
	s := rpc.NewService(replicaService, log)
	rpc.Handle(s, "Ping", p.Ping)
	rpc.Handle(s, "State", p.State)
	rpc.Handle(s, "Checkpoint", p.Checkpoint)
	rpc.Handle(s, "ReadFile", p.ReadFile)
	rpc.Handle(s, "SumFile", p.SumFile)
	rpc.Handle(s, "Hold", p.Hold)
	rpc.Handle(s, "Release", p.Release)
	rpc.Handle(s, "Join", p.Join)
	rpc.Handle(s, "Remove", p.Remove)
	return s
}

// Peers makes the control calls between replicas. It keeps a connection to
// each address; it is safe for concurrent use.
type Peers struct {
	dial  rpc.Dial
	known rpc.Sentinels
	mu    struct {
		sync.Mutex
		peers map[string]*rpc.Client
	}
}

// NewPeers returns a set without connections.
func NewPeers(dial rpc.Dial) *Peers {
	p := &Peers{dial: dial, known: peerSentinels()}
	p.mu.peers = map[string]*rpc.Client{}
	return p
}

// Peer returns the replica at addr.
func (p *Peers) Peer(addr string) consensus.Peer { return peer{p, addr} }

// Client returns the connection to addr.
func (p *Peers) Client(addr string) (*rpc.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.mu.peers[addr]; c != nil {
		return c, nil
	}
	c, err := rpc.NewClient(addr, p.dial, p.known)
	if err == nil {
		p.mu.peers[addr] = c
	}
	return c, err
}

// Close ends all connections.
func (p *Peers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.mu.peers {
		_ = c.Close()
	}
	clear(p.mu.peers)
}

// peer is one replica elsewhere. It implements consensus.Peer.
type peer struct {
	p    *Peers
	addr string
}

var _ consensus.Peer = peer{}

// slowCall bounds calls that flush, copy or wait for a commit.
const slowCall = time.Minute

func askPeer[Req, Resp any](ctx context.Context, p peer, method string, req *Req) (*Resp, error) {
	c, err := p.p.Client(p.addr)
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, slowCall)
		defer cancel()
	}
	return rpc.Call[Req, Resp](ctx, c, replicaService, method, req)
}

// Ping implements consensus.Peer.
func (p peer) Ping(ctx context.Context, r *consensus.PingRequest) (*consensus.PingAnswer, error) {
	return askPeer[consensus.PingRequest, consensus.PingAnswer](ctx, p, "Ping", r)
}

// State implements consensus.Peer.
func (p peer) State(ctx context.Context, r *consensus.StateRequest) (*consensus.ReplicaState, error) {
	return askPeer[consensus.StateRequest, consensus.ReplicaState](ctx, p, "State", r)
}

// Checkpoint implements consensus.Peer.
func (p peer) Checkpoint(ctx context.Context, r *consensus.CheckpointRequest) (*consensus.Manifest, error) {
	return askPeer[consensus.CheckpointRequest, consensus.Manifest](ctx, p, "Checkpoint", r)
}

// ReadFile implements consensus.Peer.
func (p peer) ReadFile(ctx context.Context, r *consensus.ReadFileRequest) (*consensus.FileRange, error) {
	return askPeer[consensus.ReadFileRequest, consensus.FileRange](ctx, p, "ReadFile", r)
}

// SumFile implements consensus.Peer.
func (p peer) SumFile(ctx context.Context, r *consensus.SumFileRequest) (*consensus.FileSum, error) {
	return askPeer[consensus.SumFileRequest, consensus.FileSum](ctx, p, "SumFile", r)
}

// Hold implements consensus.Peer.
func (p peer) Hold(ctx context.Context, r *consensus.HoldRequest) (*consensus.Done, error) {
	return askPeer[consensus.HoldRequest, consensus.Done](ctx, p, "Hold", r)
}

// Release implements consensus.Peer.
func (p peer) Release(ctx context.Context, r *consensus.ReleaseRequest) (*consensus.Done, error) {
	return askPeer[consensus.ReleaseRequest, consensus.Done](ctx, p, "Release", r)
}

// Join implements consensus.Peer.
func (p peer) Join(ctx context.Context, r *consensus.JoinRequest) (*consensus.JoinAnswer, error) {
	return askPeer[consensus.JoinRequest, consensus.JoinAnswer](ctx, p, "Join", r)
}

// Remove implements consensus.Peer.
func (p peer) Remove(ctx context.Context, r *consensus.RemoveRequest) (*consensus.Done, error) {
	return askPeer[consensus.RemoveRequest, consensus.Done](ctx, p, "Remove", r)
}
