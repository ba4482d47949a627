package kv

import (
	"encoding/binary"
	"fmt"
	"testing"

	"holdfast/internal/engine/enginetest"
	"holdfast/internal/vfs"
)

// faulty is a store as enginetest works on it.
type faulty struct{ *Store }

func openFaulty(opts Options) func(vfs.FS) (enginetest.Store, error) {
	opts.MemTableBytes = 64 << 10
	return func(fs vfs.FS) (enginetest.Store, error) {
		s, err := Open(fs, "db", opts)
		if err != nil {
			return nil, err
		}
		return faulty{s}, nil
	}
}

func (f faulty) key(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i*2654435761)) }

func (f faulty) Put(i int) error {
	tx := f.Begin()
	if err := tx.Set(f.key(i), make([]byte, 7000)); err != nil {
		tx.Close()
		return err
	}
	return tx.Commit(true)
}

func (f faulty) Has(i int) (bool, error) {
	v, ok, err := f.Get(f.key(i), nil)
	if ok && len(v) != 7000 {
		err = fmt.Errorf("value of %d bytes", len(v))
	}
	return ok, err
}

func TestSurviveErrors(t *testing.T) {
	t.Parallel()
	t.Run("wal", func(t *testing.T) {
		t.Parallel()
		enginetest.Survive(t, enginetest.Subject{Open: openFaulty(Options{WAL: true}), Writers: 3, Items: 64})
	})
	t.Run("no wal", func(t *testing.T) {
		t.Parallel()
		enginetest.Survive(t, enginetest.Subject{Open: openFaulty(Options{}), Writers: 1, Items: 16})
	})
}
