package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

// errRetry says that nothing was proposed here: another leader may take it.
var errRetry = errors.New("consensus: not proposed")

// inFlight is how many entries the batcher has in Raft at once: one is being
// written while the next gathers commands and the last is applied.
const inFlight = 2

// batcher gathers commands into log entries. A command that finds a free slot
// goes at once; the others wait for a slot together. Nobody waits for company.
type batcher struct {
	v    *voter
	pool bool // entries' buffers can be used again: nobody else reads them

	proposals, entries atomic.Uint64
	free               sync.Pool // of proposals

	mu struct {
		sync.Mutex
		queue  []*proposal
		flight int
		spare  [][]byte
	}
}

// proposal is a command on its way; no bytes is a read mark.
type proposal struct {
	cmd  []byte
	done chan outcome // takes one
	sent bool         // guarded by the batcher's lock
}

type outcome struct {
	val any
	err error
}

func newBatcher(v *voter, pool bool) *batcher {
	b := &batcher{v: v, pool: pool}
	b.free.New = func() any { return &proposal{done: make(chan outcome, 1)} }
	return b
}

// propose commits cmd and returns the machine's result: errRetry if nothing
// was proposed, tracker.ErrUncertain if that is not known.
func (b *batcher) propose(ctx context.Context, cmd []byte) (any, error) {
	down := b.v.downCh()
	if b.v.suspended.Load() || b.v.isDead() { // and down may be a channel of after
		return nil, errRetry
	}
	p := b.free.Get().(*proposal)
	p.cmd, p.sent = cmd, false
	b.proposals.Add(1)
	b.mu.Lock()
	b.mu.queue = append(b.mu.queue, p)
	var batch []*proposal
	if b.mu.flight < inFlight {
		batch = b.next()
	}
	b.mu.Unlock()
	if batch != nil {
		b.send(batch)
	}
	select {
	case o := <-p.done:
		p.cmd = nil
		b.free.Put(p)
		return o.val, o.err
	case <-ctx.Done():
		return nil, b.abandon(p, ctx.Err(), ctx.Err())
	case <-down:
		return nil, b.abandon(p, errRetry, errStopped)
	}
}

// abandon gives up waiting for p. Its error is early if p was not sent; else
// the outcome is uncertain because of late.
func (b *batcher) abandon(p *proposal, early, late error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.sent {
		return fmt.Errorf("%w: %w", tracker.ErrUncertain, late)
	}
	for i, q := range b.mu.queue {
		if q == p {
			b.mu.queue = append(b.mu.queue[:i], b.mu.queue[i+1:]...)
			break
		}
	}
	return early
}

// next takes the commands of the next entry and a slot. The lock is held.
func (b *batcher) next() []*proposal {
	n, size := 0, 0
	for n < len(b.mu.queue) && n < batchCommands {
		size += len(b.mu.queue[n].cmd) + 4
		if n > 0 && size > batchBytes {
			break
		}
		b.mu.queue[n].sent = true
		n++
	}
	if n == 0 {
		return nil
	}
	var batch []*proposal
	if n == len(b.mu.queue) {
		batch, b.mu.queue = b.mu.queue, make([]*proposal, 0, min(2*n, batchCommands))
	} else {
		batch = append(batch, b.mu.queue[:n]...)
		rest := copy(b.mu.queue, b.mu.queue[n:])
		clear(b.mu.queue[rest:])
		b.mu.queue = b.mu.queue[:rest]
	}
	b.mu.flight++
	return batch
}

// send proposes a batch to Raft and returns; a goroutine of its own answers
// it and sends what has gathered meanwhile.
func (b *batcher) send(batch []*proposal) {
	f, data := b.apply(batch)
	go func() {
		for batch != nil {
			b.answer(batch, data, f)
			b.mu.Lock()
			b.mu.flight--
			batch = b.next()
			b.mu.Unlock()
			if batch != nil {
				f, data = b.apply(batch)
			}
		}
	}()
}

func (b *batcher) apply(batch []*proposal) (raft.ApplyFuture, []byte) {
	size := 1
	for _, p := range batch {
		size += len(p.cmd) + 4
	}
	data := append(b.buffer(size), entryVersion)
	for _, p := range batch {
		data = appendCommand(data, p.cmd)
	}
	b.entries.Add(1)
	return b.v.raft.ApplyLog(raft.Log{Data: data}, 0), data
}

func (b *batcher) buffer(size int) []byte {
	if b.pool && size <= batchBytes+8 {
		b.mu.Lock()
		defer b.mu.Unlock()
		if n := len(b.mu.spare); n > 0 {
			buf := b.mu.spare[n-1]
			b.mu.spare = b.mu.spare[:n-1]
			if cap(buf) >= size {
				return buf[:0]
			}
		}
		if size > 4<<10 {
			return make([]byte, 0, batchBytes+8)
		}
	}
	return make([]byte, 0, size)
}

// answer waits for an entry's outcome and hands it to the proposers.
func (b *batcher) answer(batch []*proposal, data []byte, f raft.ApplyFuture) {
	err := f.Error()
	var results []any
	if err == nil {
		switch r := f.Response().(type) {
		case []any:
			results = r
		case error:
			err = r
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		err = errRetry
	default:
		err = fmt.Errorf("%w: %w", tracker.ErrUncertain, err)
	}
	for _, p := range batch {
		o := outcome{err: err}
		if err == nil && len(p.cmd) > 0 {
			if len(results) == 0 {
				o.err = tracker.ErrUncertain
			} else {
				o.val, results = results[0], results[1:]
			}
		}
		p.done <- o
	}
	if err == nil && b.pool && cap(data) == batchBytes+8 {
		b.mu.Lock()
		b.mu.spare = append(b.mu.spare, data)
		b.mu.Unlock()
	}
}
