package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/internal/vfs"
)

// errStopped answers what a stopped voter can no longer apply. The entry is
// committed, so the outcome is not known here.
var errStopped = errors.New("consensus: voter has stopped")

// fsm applies committed entries to the state store: one batch for each call,
// with the position in it. It implements raft.BatchingFSM. The first error
// ends it for good, because a later entry must not be judged on a state that
// lacks an earlier one.
type fsm struct {
	machine Machine
	fail    func(error) // tells the voter, once
	restore func() error
	confs   func(position) // not nil: told of each configuration that is applied
	since   atomic.Int64   // UnixNano of the running apply, 0 if there is none
	now     func() time.Time

	state   atomic.Pointer[handle]
	applied atomic.Uint64

	mu struct {
		sync.Mutex
		off  bool
		pos  position
		cmds [][]byte
		row  []byte
	}
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. Commands are answered with the
// machine's results, or errStopped.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.off {
		f.since.Store(f.now().UnixNano())
		err := f.apply(logs, out)
		// It is not committed, and the machine makes the same of it again.
		for try := 0; vfs.NoDescriptors(err) && try < 8; try++ {
			time.Sleep(50 * time.Millisecond)
			err = f.apply(logs, out)
		}
		f.since.Store(0)
		if err == nil {
			return out
		}
		f.mu.off = true
		f.fail(err)
	}
	for i := range out {
		out[i] = errStopped
	}
	return out
}

func (f *fsm) apply(logs []*raft.Log, out []any) error {
	tx := f.state.Load().Begin()
	pos := f.mu.pos
	for i, l := range logs {
		if l.Index <= pos.index {
			continue
		}
		switch l.Type {
		case raft.LogCommand:
			cmds, err := splitEntry(l.Data, f.mu.cmds[:0])
			if err != nil {
				return fmt.Errorf("entry %d: %w", l.Index, err)
			}
			f.mu.cmds = cmds
			if len(cmds) == 0 {
				break
			}
			results, err := f.machine.Apply(tx, l.Index, cmds)
			if err == nil && len(results) != len(cmds) {
				err = fmt.Errorf("%d results for %d commands", len(results), len(cmds))
			}
			if err != nil {
				tx.Close()
				return fmt.Errorf("entry %d: %w", l.Index, err)
			}
			out[i] = results
		case raft.LogConfiguration:
			pos.conf, pos.confIndex = l.Data, l.Index
		default:
			// Raft hands on no others, so replay must not count them either:
			// how far the state is would differ by how it got there.
			continue
		}
		pos.index, pos.term = l.Index, l.Term
	}
	if pos.index == f.mu.pos.index {
		tx.Close()
		return nil
	}
	f.mu.row = pos.append(f.mu.row[:0])
	if err := tx.Set(keyApplied, f.mu.row); err != nil {
		return err
	}
	if err := tx.Commit(false); err != nil {
		return err
	}
	renewed := pos.confIndex != f.mu.pos.confIndex
	f.mu.pos = pos
	f.applied.Store(pos.index)
	if renewed && f.confs != nil {
		f.confs(pos)
	}
	return nil
}

// stop ends applying once a running call has returned, without an error.
func (f *fsm) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.off = true
}

// position returns how far the state is; the caller does not change conf.
func (f *fsm) position() position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.pos
}

// Snapshot implements raft.FSM. A snapshot is the promise that the state is
// durable, so nothing is copied.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.state.Load().Err() != nil {
		return nil, errStopped
	}
	return promise{f}, nil
}

// Restore implements raft.FSM: it moves to the state that the snapshot store
// has just received. It is never called for a snapshot of this voter's own.
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.off {
		return errStopped
	}
	err := f.restore()
	if err != nil {
		f.mu.off = true
		f.fail(err)
	}
	return err
}

// promise is a snapshot of what was applied when it was made.
type promise struct{ f *fsm }

// Persist implements raft.FSMSnapshot: it flushes beside Apply. Only then
// does Raft close the sink, which writes the metadata.
func (p promise) Persist(s raft.SnapshotSink) error {
	k, ok := s.(*sink)
	if !ok {
		return fmt.Errorf("consensus: sink of another kind: %T", s)
	}
	h := p.f.state.Load()
	if !h.acquire() {
		return errStopped
	}
	defer h.release()
	if err := writeFlushed(h.Store, k.snap.Index, k.snap.Term); err != nil {
		return err
	}
	k.flushed = true
	return nil
}

// Release implements raft.FSMSnapshot.
func (promise) Release() {}
