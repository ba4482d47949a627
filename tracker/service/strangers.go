package service

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"holdfast/storage"
	"holdfast/tracker"
)

// A catalog that was begun on an emptied disk, and one that came back older
// than it was, lack nodes that hold data. Nothing of these is deleted: they are
// not served, and a node drops nothing for an incarnation that it does not
// know. But a new catalog in the place of the old would also tell clients that
// nothing is there, and take new data. So a catalog that lacks at least as many
// nodes with data as it has nodes is held: it answers no client, over restarts
// and changes of leaders too, until a person brings the old one back, or gives
// those nodes up by fsck --adopt. Fewer are told loudly and no more: one
// process with the trackers of another cluster must not stop this one.

// strange notes a heartbeat of a node that the catalog does not know, and holds
// the catalog where there are too many of them. s.mu is held.
func (s *Service) strange(ctx context.Context, b *tracker.Beat, hb *storage.Status) error {
	st := s.state.Load()
	if s.mu.strangers[hb.Node] == nil {
		s.logger.Error().Uint32("node", uint32(hb.Node)).Str("addr", b.Addr).Int64("shards", hb.Shards).Str("knows", hb.Incarnation).Str("catalog", st.rows.Incarnation).
			Msg("a storage node of this cluster is not known to the catalog: that is new in the place of one that was lost, or older than the node; the node is not served and nothing of it is deleted")
	}
	s.mu.strangers[hb.Node] = &tracker.Stranger{Node: hb.Node, Addr: b.Addr, Incarnation: hb.Incarnation, Shards: hb.Shards, Bytes: hb.Used}
	if st.rows.Held || !s.mustHold(st.m) {
		return nil
	}
	if err := s.rows.SetHeld(ctx, true); err != nil {
		return fmt.Errorf("hold the catalog: %w", err)
	}
	s.logger.Error().Msg("the catalog answers no client from now on: bring back the directory of a tracker that has the old one, or give the data of these nodes up with holdfast admin fsck --adopt")
	_, err := s.reload(ctx)
	return err
}

// mustHold tells whether the strangers with data are as many as the nodes.
func (s *Service) mustHold(m *tracker.Map) bool {
	strangers, nodes := 0, 0
	for _, x := range s.mu.strangers {
		if x.Shards > 0 {
			strangers++
		}
	}
	for i := range m.Nodes {
		if m.Nodes[i].State != tracker.NodeGone {
			nodes++
		}
	}
	return strangers > 0 && strangers >= nodes
}

// notAStrangers refuses to give the next id to a node where a stranger has it:
// two directories of one id would take each other's place. s.mu is held.
func (s *Service) notAStrangers(m *tracker.Map) error {
	next := given(m) + 1
	if x := s.mu.strangers[next]; x != nil {
		return fmt.Errorf("node %d at %s asks for this catalog, which does not know it and would give its id away: stop its process if it is another cluster's and restart the tracker that leads, else decide with holdfast admin fsck --adopt: %w", next, x.Addr, tracker.ErrConflict)
	}
	return nil
}

// given is the last id that a node was given.
func given(m *tracker.Map) (last storage.NodeID) {
	for i := range m.Nodes {
		last = max(last, m.Nodes[i].ID)
	}
	return last
}

// strangers returns them in order of their ids. s.mu is held.
func (s *Service) strangers() (out []tracker.Stranger) {
	for _, id := range slices.Sorted(maps.Keys(s.mu.strangers)) {
		out = append(out, *s.mu.strangers[id])
	}
	return out
}

// Held is tracker.ErrHeld while the catalog answers no client, and
// tracker.ErrNotLeader where this process does not lead. It touches memory
// only, but for the first call of a leader.
func (s *Service) Held(ctx context.Context) error {
	st, err := s.current(ctx)
	if err != nil {
		return err
	}
	return st.held()
}

func (st *state) held() error {
	if st.rows.Held {
		return tracker.ErrHeld
	}
	return nil
}

// maxGivenUp bounds how many ids are passed over at once.
const maxGivenUp = 10_000

// giveUpStrangers makes the strangers gone for the catalog, for ever, and has
// it answer again. Their ids, and those below, are given to no other node: two
// directories of one id would take each other's place. s.mu is held.
func (s *Service) giveUpStrangers(ctx context.Context) error {
	st, err := s.reload(ctx)
	if err != nil {
		return err
	}
	last, given := storage.NodeID(0), given(st.m)
	for id := range s.mu.strangers {
		last = max(last, id)
	}
	if last > given && last-given > maxGivenUp {
		return fmt.Errorf("node %d asks for this catalog, whose last is %d: stop its process, since it is of another cluster, and restart the tracker that leads: %w", last, given, tracker.ErrConflict)
	}
	for given < last {
		n := tracker.Node{State: tracker.NodeGone}
		if x := s.mu.strangers[given+1]; x != nil {
			n.Addr = x.Addr
		}
		if n, err = s.rows.AddNode(ctx, n); err != nil {
			return fmt.Errorf("give up node %d: %w", given+1, err)
		}
		given = n.ID
	}
	if st.rows.Held {
		if err := s.rows.SetHeld(ctx, false); err != nil {
			return fmt.Errorf("let the catalog answer again: %w", err)
		}
		s.logger.Warn().Int("nodes", len(s.mu.strangers)).Msg("storage nodes that the catalog does not know are given up; it answers clients again")
	}
	clear(s.mu.strangers)
	_, err = s.reload(ctx)
	return err
}

// Incarnation is the catalog's, as last read; "" while none is known.
func (s *Service) Incarnation() string {
	if st := s.state.Load(); st != nil {
		return st.rows.Incarnation
	}
	return ""
}

// Reread reads the cluster's rows after they were written by somebody else.
func (s *Service) Reread(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.reload(ctx)
	return err
}
