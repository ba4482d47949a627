package raftlog

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"holdfast/internal/engine/enginetest"
	"holdfast/internal/vfs"
	"holdfast/tracker/kv"
)

// faulty is a log as enginetest works on it. Item i is entry i+1; a log whose
// entry was refused takes no later one, as Raft gives it none.
type faulty struct{ *Store }

func (f faulty) Put(i int) error {
	last, err := f.LastIndex()
	if err != nil {
		return err
	}
	if last != uint64(i) {
		return f.Err()
	}
	// The vote is durable of its own, and so is what is cut off behind.
	if err := errors.Join(f.SetUint64(stableVoteTerm, last), f.Set(stableVoteCand, []byte(fmt.Sprint(i)))); err != nil {
		return err
	}
	if err := f.StoreLogs([]*raft.Log{entry(last+1, 1, 7000), entry(last+2, 1, 10)}); err != nil {
		return err
	}
	return f.DeleteRange(last+2, last+2)
}

func (f faulty) Has(i int) (bool, error) {
	var l raft.Log
	err := f.GetLog(uint64(i)+1, &l)
	if errors.Is(err, raft.ErrLogNotFound) {
		return false, nil
	}
	if err == nil && len(l.Data) != 7000 && len(l.Data) != 10 {
		err = fmt.Errorf("entry of %d bytes", len(l.Data))
	}
	return err == nil, err
}

func (f faulty) Err() error { return f.DB().Err() }

func TestSurviveErrors(t *testing.T) {
	t.Parallel()
	opts := Options{Options: kv.Options{MemTableBytes: 64 << 10}}
	enginetest.Survive(t, enginetest.Subject{Writers: 1, Items: 40, Open: func(fs vfs.FS) (enginetest.Store, error) {
		s, err := Open(fs, "log", opts)
		if err != nil {
			return nil, err
		}
		return faulty{s}, nil
	}})
}
