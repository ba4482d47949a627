package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// pipeline is Raft's pipeline of appends, with another way to say that sending
// failed: as an answer that refuses, upon which Raft leaves the pipeline as well.
// Upon an error it would first log the peer, which it reads without the lock
// under which a change of an address is written (raft v1.8.0, pipelineSend).
type pipeline struct {
	raft.AppendPipeline
	out    chan raft.AppendFuture
	failed chan raft.AppendFuture
	done   chan struct{}
	once   sync.Once
}

func newPipeline(p raft.AppendPipeline) *pipeline {
	q := &pipeline{AppendPipeline: p, out: make(chan raft.AppendFuture), failed: make(chan raft.AppendFuture, 1), done: make(chan struct{})}
	go q.forward()
	return q
}

func (p *pipeline) forward() {
	for {
		var f raft.AppendFuture
		select {
		case f = <-p.AppendPipeline.Consumer():
		case f = <-p.failed:
		case <-p.done:
			return
		}
		select {
		case p.out <- f:
		case <-p.done:
			return
		}
	}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

// AppendEntries implements raft.AppendPipeline; it returns no error.
func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f, err := p.AppendPipeline.AppendEntries(req, resp)
	if err == nil {
		return f, nil
	}
	refused := &refusedAppend{err, time.Now(), req}
	select {
	case p.failed <- refused:
	default: // one is on its way
	}
	return refused, nil
}

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.done) })
	return p.AppendPipeline.Close()
}

// refusedAppend is an append that was not sent.
type refusedAppend struct {
	err   error
	start time.Time
	req   *raft.AppendEntriesRequest
}

func (f *refusedAppend) Error() error                          { return f.err }
func (f *refusedAppend) Start() time.Time                      { return f.start }
func (f *refusedAppend) Request() *raft.AppendEntriesRequest   { return f.req }
func (f *refusedAppend) Response() *raft.AppendEntriesResponse { return &raft.AppendEntriesResponse{} }
