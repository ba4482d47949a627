package consensus

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/tracker/kv"
)

// The state store's own rows stand beside the machine's, under the prefix 01.
//
//	01 'applied'  version 1, index, term, configuration index, configuration
//	01 'flushed'  version 1, index, term: all entries up to here are durable
//
// Numbers are little-endian and of 8 bytes. 'applied' is written in the batch
// that holds the effects of the entry, so the two cannot part.
const rowVersion = 1

var (
	keyApplied = append([]byte{1}, "applied"...)
	keyFlushed = append([]byte{1}, "flushed"...)
)

// position says how far a state store is.
type position struct {
	index, term uint64
	confIndex   uint64
	conf        []byte // encoded configuration of Raft
}

func (p *position) append(b []byte) []byte {
	b = append(b, rowVersion)
	for _, n := range [...]uint64{p.index, p.term, p.confIndex} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, p.conf...)
}

func decodePosition(b []byte) (p position, err error) {
	if len(b) < 25 || b[0] != rowVersion {
		return p, fmt.Errorf("consensus: row 'applied' is malformed")
	}
	p.index, p.term = binary.LittleEndian.Uint64(b[1:]), binary.LittleEndian.Uint64(b[9:])
	p.confIndex, p.conf = binary.LittleEndian.Uint64(b[17:]), append([]byte(nil), b[25:]...)
	return p, nil
}

// readPosition returns the position of a state store: that of its last
// command or configuration, or of its last flush if that is later.
func readPosition(r kv.Reader) (p position, err error) {
	b, ok, err := r.Get(keyApplied, nil)
	if err != nil {
		return p, err
	}
	if ok {
		if p, err = decodePosition(b); err != nil {
			return p, err
		}
	}
	index, term, err := readFlushed(r)
	if err != nil {
		return p, err
	}
	if index > p.index {
		p.index, p.term = index, term
	}
	return p, nil
}

func readFlushed(r kv.Reader) (index, term uint64, err error) {
	b, ok, err := r.Get(keyFlushed, nil)
	if err != nil || !ok {
		return 0, 0, err
	}
	if len(b) != 17 || b[0] != rowVersion {
		return 0, 0, fmt.Errorf("consensus: row 'flushed' is malformed")
	}
	return binary.LittleEndian.Uint64(b[1:]), binary.LittleEndian.Uint64(b[9:]), nil
}

// writeFlushed makes the store durable and says so in it: index is an entry
// whose effects, and all before, were committed to it.
func writeFlushed(s *kv.Store, index, term uint64) error {
	b := s.NewBatch(64)
	row := binary.LittleEndian.AppendUint64([]byte{rowVersion}, index)
	if err := b.Set(keyFlushed, binary.LittleEndian.AppendUint64(row, term)); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	return s.Flush()
}

// handle shares a store among readers, so that it is closed only once they
// have left.
type handle struct {
	*kv.Store
	release func() // releases one reader
	refs    atomic.Int64
	once    sync.Once
	idle    chan struct{}
}

const handleClosed = 1 << 62

func newHandle(s *kv.Store) *handle {
	h := &handle{Store: s, idle: make(chan struct{})}
	h.release = func() {
		if h.refs.Add(-1) == -handleClosed {
			h.once.Do(func() { close(h.idle) })
		}
	}
	return h
}

// acquire enters a reader, who must call h.release; false if the store is closing.
func (h *handle) acquire() bool {
	if h.refs.Add(1) > 0 {
		return true
	}
	h.release()
	return false
}

// close waits for readers, at most so long, and closes the store. A store
// whose readers stay is left open: its memory is worth less than their lives.
func (h *handle) close(patience time.Duration) error {
	if h.refs.Add(-handleClosed) == -handleClosed {
		h.once.Do(func() { close(h.idle) })
	}
	select {
	case <-h.idle:
		return h.Store.Close()
	case <-time.After(patience):
		return fmt.Errorf("consensus: store %s still has readers", h.Dir())
	}
}
