package consensus

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
)

var (
	errPromised = errors.New("consensus: promised not to take part in an election now")
	errTransfer = errors.New("consensus: leadership was not handed over in this term")
)

// transport is Raft's network transport between processes. It names the server
// that is meant in every address (see network) and holds the voter's promise.
//
// # Transfer of leadership
//
// Raft marks the votes of such an election so that voters give them although
// they have a leader, and its message that starts one (TimeoutNow) bears no
// term: one that was late could start an election against a leader that has
// held a lease since. So the term in which leadership is handed over travels
// with the message, a candidate marks only its requests for the term right
// after that one, and the leader has no lease in that term ever again. A
// marked request that is late is for a term that has passed.
//
// # Votes for a voter that is not yet known
//
// A change of the membership is committed by a majority, so a voter may not have
// it. Raft as published gives its vote by log and term alone, but this Raft also
// refuses whoever has no vote in its own latest configuration: if the leader
// dies just after a promotion, the voter that is not known and has the longer log
// and the one that has the shorter one would wait for each other for ever. So the
// one who asks is given the name of one who is known; it serves that check alone.
type transport struct {
	*raft.NetworkTransport
	pledge  *pledge
	self    string        // server
	term    func() uint64 // Raft's
	conf    func() raft.Configuration
	begins  func() uint64            // the log's first entry, 0 if it is empty or unreadable
	snap    func() *raftlog.Snapshot // the newest; nil if there is none
	handing atomic.Uint64            // term in which this leader hands over

	consume chan raft.RPC
	done    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// newTransport returns the transport of v, whose Raft is asked once the network
// lets anybody in.
func newTransport(n *network, p *pledge, cfg *settings, v *voter) *transport {
	// A follower may write for SlowWrite before it answers.
	timeout := max(cfg.SlowWrite, 2*cfg.HeartbeatTimeout) + cfg.HeartbeatTimeout
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: n, MaxPool: 4, MaxRPCsInFlight: 2, Timeout: timeout, Logger: raftLogger(cfg.Logger),
		}),
		pledge: p, self: v.server, term: func() uint64 { return v.raft.CurrentTerm() },
		conf:   func() raft.Configuration { return v.raft.GetConfiguration().Configuration() },
		begins: v.begins, snap: v.snapshot,
		consume: make(chan raft.RPC), done: make(chan struct{}),
	}
	t.wg.Go(t.receive)
	return t
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.consume }

// receive hands on what comes in, except for what concerns elections.
func (t *transport) receive() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			switch req := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				if r := t.cover(req); r != req {
					rpc.Command = r
				}
				t.hand(rpc)
			case *raft.RequestVoteRequest:
				t.wg.Go(func() { t.vote(rpc, req) })
			case *raft.RequestPreVoteRequest:
				r := *req
				r.ID = t.known(req.ID)
				rpc.Command = &r
				t.hand(rpc)
			case *raft.TimeoutNowRequest:
				t.campaign(rpc, req)
			default:
				t.hand(rpc)
			}
		case <-t.done:
			return
		}
	}
}

// cover returns req without what the snapshot covers, if its entries follow on
// one that this log does not have any more.
//
// What the snapshot covers is committed, so the leader has the same. Raft as
// published looks for the entry before in the log alone. A follower that was
// killed between storing the first entries behind a seeded state and answering
// would refuse them for ever: the leader goes on from the state's last entry,
// and back from there. Commits count only as far as req goes, since what is in
// the log behind that may not be the leader's.
func (t *transport) cover(req *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	if req.PrevLogEntry == 0 {
		return req
	}
	first := t.begins()
	if first == 0 || req.PrevLogEntry >= first {
		return req
	}
	snap := t.snap()
	if snap == nil || snap.Index+1 < first || req.PrevLogEntry > snap.Index || req.PrevLogEntry == snap.Index && req.PrevLogTerm != snap.Term {
		return req
	}
	r := *req
	r.PrevLogEntry, r.PrevLogTerm = 0, 0
	for len(r.Entries) > 0 && r.Entries[0].Index <= snap.Index {
		r.Entries = r.Entries[1:]
	}
	known := snap.Index
	if n := len(r.Entries); n > 0 {
		known = r.Entries[n-1].Index
	}
	r.LeaderCommitIndex = min(r.LeaderCommitIndex, known)
	return &r
}

func (v *voter) begins() uint64 {
	first, err := v.store.FirstIndex()
	if err != nil {
		return 0
	}
	return first
}

func (v *voter) snapshot() *raftlog.Snapshot {
	snap, err := v.store.Snapshot()
	if err != nil {
		return nil
	}
	return snap
}

func (t *transport) hand(rpc raft.RPC) {
	select {
	case t.consume <- rpc:
	case <-t.done:
		rpc.Respond(nil, raft.ErrTransportShutdown)
	}
}

// vote has Raft judge a request for a vote, unless that is against the promise.
func (t *transport) vote(rpc raft.RPC, req *raft.RequestVoteRequest) {
	t.pledge.voting.Lock()
	defer t.pledge.voting.Unlock()
	if !req.LeadershipTransfer && t.pledge.forbids(req.Term, string(req.ID)) {
		rpc.Respond(&raft.RequestVoteResponse{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: t.term()}, nil)
		return
	}
	r := *req
	r.ID = t.known(req.ID)
	answer := make(chan raft.RPCResponse, 1)
	t.hand(raft.RPC{Command: &r, Reader: rpc.Reader, RespChan: answer})
	select {
	case a := <-answer:
		rpc.RespChan <- a
	case <-t.done:
		rpc.Respond(nil, raft.ErrTransportShutdown)
	}
}

// known returns id, or a voter's name if id has no vote as far as is known.
func (t *transport) known(id []byte) []byte {
	voters := serverIDs(t.conf())
	if len(voters) == 0 || slices.Contains(voters, string(id)) {
		return id
	}
	return []byte(voters[0])
}

// campaign has Raft campaign as its leader asks.
func (t *transport) campaign(rpc raft.RPC, req *raft.TimeoutNowRequest) {
	_, text, _ := strings.Cut(string(req.ID), "@")
	term, err := strconv.ParseUint(text, 10, 64)
	if err != nil || term == 0 || term != t.term() {
		rpc.Respond(nil, errTransfer)
		return
	}
	t.pledge.allow(term)
	t.hand(rpc)
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	r := *req
	r.ID = strconv.AppendUint(append(append([]byte(nil), req.ID...), '@'), t.handing.Load(), 10)
	return t.NetworkTransport.TimeoutNow(id, target(id, to), &r, resp)
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	r := *req
	r.LeadershipTransfer = r.LeadershipTransfer && t.pledge.transferred(r.Term)
	if !r.LeadershipTransfer && t.pledge.forbids(r.Term, t.self) {
		return errPromised
	}
	return t.NetworkTransport.RequestVote(id, target(id, to), &r, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if t.pledge.forbids(req.Term, t.self) {
		return errPromised
	}
	return t.NetworkTransport.RequestPreVote(id, target(id, to), req, resp)
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target(id, to))
	if err != nil {
		return nil, err
	}
	return newPipeline(p), nil
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, target(id, to), req, resp)
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse,
	data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, target(id, to), req, resp, data)
}

// Close implements raft.WithClose. It closes the network and waits until
// nothing comes in.
func (t *transport) Close() error {
	var err error
	t.once.Do(func() {
		close(t.done)
		err = t.NetworkTransport.Close()
		t.CloseStreams()
		t.wg.Wait()
	})
	return err
}
