package index

import (
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"holdfast/internal/engine/enginetest"
	"holdfast/internal/vfs"
	"holdfast/storage"
)

// faulty is an index as enginetest works on it.
type faulty struct{ *Index }

func (f faulty) Put(i int) error {
	if err := f.Append([]*Put{{Entry: entry(i + 1)}}, Loc{1, int64(i) * 8192}); err != nil {
		return err
	}
	return f.SetMeta(fmt.Sprintf("%08x", uint32(i*2654435761)), make([]byte, 7000))
}

func (f faulty) Has(i int) (bool, error) {
	v, err := f.Meta(fmt.Sprintf("%08x", uint32(i*2654435761)))
	if err != nil || v == nil {
		return false, err
	}
	if _, ok, err := f.Get(entry(i + 1).ID); err != nil || !ok || len(v) != 7000 {
		return true, fmt.Errorf("entry %v, value of %d bytes: %w", ok, len(v), err)
	}
	return true, nil
}

func TestSurviveErrors(t *testing.T) {
	t.Parallel()
	enginetest.Survive(t, enginetest.Subject{Writers: 3, Items: 64, Open: func(fs vfs.FS) (enginetest.Store, error) {
		if err := fs.MkdirAll("/index", 0o700); err != nil {
			return nil, err
		}
		x, err := Open(Options{FS: fs, Dir: "/index", Logger: zerolog.Nop(), memTable: 64 << 10})
		if err != nil {
			return nil, err
		}
		// What the node asks of an index that has ended must be answered too.
		_, _ = x.Totals(), x.Position()
		return faulty{x}, x.Scan(storage.IDRange{}, storage.ShardID{}, func(*Entry) bool { return true })
	}})
}
