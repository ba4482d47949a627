package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/hashicorp/raft"

	"holdfast/tracker/kv"
)

var (
	stableTerm     = []byte("CurrentTerm")
	stableVoteTerm = []byte("LastVoteTerm")
	stableVoteCand = []byte("LastVoteCand")
)

func stableKey(key []byte) []byte { return append([]byte{'s'}, key...) }

// Set implements raft.StableStore; the value is durable on nil.
func (s *Store) Set(key, val []byte) error {
	s.mu.Lock()
	vote := s.mu.vote
	s.mu.vote = nil
	s.mu.Unlock()
	b := s.db.NewBatch(128)
	if vote != nil {
		if err := b.Set(stableKey(stableVoteTerm), vote); err != nil {
			return err
		}
	}
	if err := b.Set(stableKey(key), val); err != nil {
		return err
	}
	return s.sync(b)
}

// Get implements raft.StableStore; nil if there is no value.
func (s *Store) Get(key []byte) ([]byte, error) {
	v, _, err := s.db.Get(stableKey(key), nil)
	return v, err
}

// SetUint64 implements raft.StableStore; the value is durable on nil, except
// for the term of a vote. Raft stores that just before the candidate and
// answers only after both, so they are written together: apart, a crash
// between them would leave the new term beside an older candidate, who would
// then be given the vote unseen.
func (s *Store) SetUint64(key []byte, val uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, val)
	if bytes.Equal(key, stableVoteTerm) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.vote = b
		return nil
	}
	if old, err := s.Get(key); err != nil || bytes.Equal(old, b) {
		return err
	}
	return s.Set(key, b)
}

// GetUint64 implements raft.StableStore; 0 if there is no value.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.LittleEndian.Uint64(v), nil
}

// Snapshot returns the newest snapshot's metadata, nil if there is none.
func (s *Store) Snapshot() (*Snapshot, error) {
	b, ok, err := s.db.Get(keySnapshot, nil)
	if err != nil || !ok {
		return nil, err
	}
	return decodeSnapshot(b)
}

// SetSnapshot makes a snapshot's metadata durable. The caller has flushed the
// state store before.
func (s *Store) SetSnapshot(n *Snapshot) error {
	b := s.db.NewBatch(256)
	if err := b.Set(keySnapshot, n.encode()); err != nil {
		return err
	}
	return s.sync(b)
}

// Identity returns the log's identity, nil if the log was never begun.
func (s *Store) Identity() (*Identity, error) {
	b, ok, err := s.db.Get(keyIdentity, nil)
	if err != nil || !ok {
		return nil, err
	}
	return decodeIdentity(b)
}

// SetIdentity changes the identity durably.
func (s *Store) SetIdentity(id *Identity) error {
	b := s.db.NewBatch(256)
	if err := b.Set(keyIdentity, id.encode()); err != nil {
		return err
	}
	return s.sync(b)
}

// Bootstrap begins the log of a new group with its first configuration: all
// of it is durable on nil, or nothing. Every voter of the group begins with
// the same entry.
func (s *Store) Bootstrap(id *Identity, conf []byte) error {
	entry := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: conf}
	return s.begin(id, func() error {
		return s.store([]*raft.Log{entry}, func(b *kv.Batch) error {
			if err := b.Set(stableKey(stableTerm), binary.LittleEndian.AppendUint64(nil, 1)); err != nil {
				return err
			}
			return b.Set(keyIdentity, id.encode())
		})
	})
}

// Seed begins the log of a voter whose state store was copied from another:
// an empty log after the snapshot.
func (s *Store) Seed(id *Identity, n *Snapshot) error {
	return s.begin(id, func() error { return s.Install(id, n) })
}

func (s *Store) begin(id *Identity, write func() error) error {
	old, err := s.Identity()
	if err != nil {
		return err
	}
	if last, _ := s.LastIndex(); old != nil || last != 0 || id.Server == "" {
		return errors.New("raftlog: the log was begun before")
	}
	return write()
}

// Install moves the voter to another state store and snapshot in one durable
// step.
func (s *Store) Install(id *Identity, n *Snapshot) error {
	b := s.db.NewBatch(512)
	if err := errors.Join(b.Set(keyIdentity, id.encode()), b.Set(keySnapshot, n.encode())); err != nil {
		return err
	}
	return s.sync(b)
}

// Recover makes n, whose configuration was chosen by a person, the start of
// an empty log in one durable step.
func (s *Store) Recover(id *Identity, n *Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.db.NewBatch(512)
	err := errors.Join(b.Set(keyIdentity, id.encode()), b.Set(keySnapshot, n.encode()), b.DeleteRange(entriesLow, entriesHigh))
	if err != nil {
		return err
	}
	if err := s.sync(b); err != nil {
		return err
	}
	s.mu.first, s.mu.last, s.mu.before = 0, 0, s.mu.total
	s.mu.ring.clear()
	return nil
}
