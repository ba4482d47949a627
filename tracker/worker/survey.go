package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/storage"
	"holdfast/tracker"
)

// condition is what is known of one index of a blob.
type condition uint8

const (
	good    condition = iota
	leaving           // good, on a node that is drained
	away              // on a node that is down or does not answer: it may be good
	bad               // its bytes do not hold; good frames of it may serve still
	lost              // the node is gone, or says that it is not there
	hole              // the map has no placement
)

// survey is a blob's state, index by index.
type survey struct {
	blob  Blob
	view  View
	state []condition
	// unheard is set where a shard was reported whose node does not answer.
	unheard bool
}

// count returns the number of indexes in any of some conditions.
func (s *survey) count(of ...condition) (n int) {
	for _, c := range s.state {
		for _, o := range of {
			if c == o {
				n++
			}
		}
	}
	return n
}

// spare is how many of the shards that answer may be lost still; under 0 the
// blob cannot be read now.
func (s *survey) spare() int { return s.count(good, leaving) - int(s.blob.Scheme.Data) }

// below tells whether the blob is under its target.
func (s *survey) below() bool { return s.count(hole, lost, bad) > 0 }

// worst returns the index to repair first, -1 if there is none: what is lost
// before what is bad, holes, and what only has to move. Data before parity.
func (s *survey) worst() int {
	at := -1
	rank := [...]int{lost: 4, bad: 3, hole: 2, leaving: 1}
	for i, c := range s.state {
		if int(c) < len(rank) && rank[c] > 0 && (at < 0 || rank[c] > rank[s.state[at]]) {
			at = i
		}
	}
	return at
}

// sources lists what a rebuild of an index may read: the same shard where it
// only moves, then good ones, then bad ones, whose good frames may fill in.
func (s *survey) sources(index int) (out []storage.Source) {
	if s.state[index] == leaving {
		out = append(out, storage.Source{Index: uint8(index), Placement: s.blob.Shards[index]})
	}
	for _, want := range [2]bool{true, false} {
		for i, c := range s.state {
			if i != index && (c == good || c == leaving) == want && (want || c == bad) {
				out = append(out, storage.Source{Index: uint8(i), Placement: s.blob.Shards[i]})
			}
		}
	}
	if s.state[index] == bad {
		out = append(out, storage.Source{Index: uint8(index), Placement: s.blob.Shards[index]})
	}
	return out
}

// standing is the condition of what is placed on each node, by the map alone.
// Node ids are given in order, so that a slice serves.
type standing []condition

func standingOf(m *tracker.Map) standing {
	most := storage.NodeID(0)
	for i := range m.Nodes {
		most = max(most, m.Nodes[i].ID)
	}
	st := make(standing, most+1)
	for i := range st {
		st[i] = lost
	}
	for i := range m.Nodes {
		switch n := &m.Nodes[i]; n.State {
		case tracker.NodeGone:
		case tracker.NodeDown:
			st[n.ID] = away
		case tracker.NodeDraining:
			st[n.ID] = leaving
		default:
			st[n.ID] = good
		}
	}
	st[0] = hole
	return st
}

// of is the condition of a placement: on a node that is unknown it is lost.
func (st standing) of(p storage.Placement) condition {
	if int(p.Node) < len(st) {
		return st[p.Node]
	}
	return lost
}

// look surveys a blob: by its row and the map, and by asking the nodes of
// shards that were reported (of all, if verify is set). A blob that is
// unknown or dying gives nil.
func (w *repair) look(ctx context.Context, id storage.BlobID, m *tracker.Map, reports []report, verify bool) (*survey, error) {
	rows, view, err := w.store.Lookup(ctx, []storage.BlobID{id})
	if err != nil {
		return nil, err
	}
	b, ok := rows[id]
	if !ok || b.Dying {
		return nil, nil
	}
	s := &survey{blob: b, view: view, state: make([]condition, len(b.Shards))}
	st := standingOf(m)
	for i, p := range b.Shards {
		s.state[i] = st.of(p)
		sid := storage.ShardID{Blob: id, Index: uint8(i), Gen: p.Gen}
		told, distrust := false, false
		for _, r := range reports {
			if r.shard == sid && r.node == p.Node {
				told = true
				distrust = distrust || !r.missing
			}
		}
		if (told || verify) && (s.state[i] == good || s.state[i] == leaving) {
			if c := w.ask(ctx, p.Node, sid); c != good {
				s.state[i] = c
			} else if distrust {
				s.state[i] = bad
			}
		}
		s.unheard = s.unheard || told && s.state[i] == away
	}
	return s, nil
}

// ask asks a node for a shard that the catalog places on it. One that is
// quarantined although it is referenced is revived.
func (w *repair) ask(ctx context.Context, node storage.NodeID, id storage.ShardID) condition {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	api, err := w.nodes.Shards(node)
	if err != nil {
		return away
	}
	info, err := api.Stat(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotHere):
		return lost
	case errors.Is(err, storage.ErrCorrupt):
		return bad
	case err != nil:
		return away
	case info.Quarantined != 0:
		if err := api.Revive(ctx, []storage.ShardID{id}); err != nil {
			return away
		}
	}
	return good
}

// fits tells whether a shard is a whole one of a blob's index.
func fits(b *Blob, info *storage.ShardInfo) bool {
	return int(info.ID.Index) < len(b.Shards) && info.ID.Blob == b.ID &&
		info.Seal.Frames == b.Scheme.Frames(b.Length) && info.Seal.Length == b.Scheme.ShardSize(b.Length)
}

// adopt asks for a shard that fills a hole: the writer left it, and the node
// may have sealed it since. It reports whether the hole is filled. Once the
// blob's ticket has expired no shard of it can be adopted.
func (w *repair) adopt(ctx context.Context, s *survey, index int, m *tracker.Map, reports []report) (bool, error) {
	if s.blob.Time+w.c.TicketLife().Milliseconds() < s.view.Now {
		return false, nil
	}
	ids := map[Shard]bool{}
	for _, r := range reports {
		if int(r.shard.Index) == index && r.shard.Blob == s.blob.ID {
			ids[Shard{r.node, r.shard}] = true
		}
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.Group == s.blob.ID.Group() && answers(n.State) && !holds(s.blob.Shards, n.ID) {
			ids[Shard{n.ID, storage.ShardID{Blob: s.blob.ID, Index: uint8(index), Gen: 1}}] = true
		}
	}
	for at := range ids {
		if holds(s.blob.Shards, at.Node) {
			continue
		}
		if ok, err := w.adoptFrom(ctx, s, at); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (w *repair) adoptFrom(ctx context.Context, s *survey, at Shard) (bool, error) {
	api, err := w.nodes.Shards(at.Node)
	if err != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	info, err := api.Stat(ctx, at.ID)
	if err != nil || info.Quarantined != 0 || info.Expiry <= s.view.Fence || !fits(&s.blob, &info) {
		return false, nil
	}
	err = w.store.Adopt(ctx, &Switch{Blob: s.blob.ID, Index: at.ID.Index, New: storage.Placement{Node: at.Node, Gen: at.ID.Gen}, Expiry: info.Expiry})
	switch {
	case err == nil:
		w.adopted.Add(1)
		return true, nil
	case errors.Is(err, tracker.ErrConflict), errors.Is(err, tracker.ErrFenced):
		return false, nil
	}
	return false, fmt.Errorf("adopt %s on node %d: %w", at.ID, at.Node, err)
}

// answers tells whether a node of a state is worth asking.
func answers(s tracker.NodeState) bool {
	return s == tracker.NodeActive || s == tracker.NodeSuspect || s == tracker.NodeDraining || s == tracker.NodeJoining
}

func holds(shards []storage.Placement, n storage.NodeID) bool {
	return slices.ContainsFunc(shards, func(p storage.Placement) bool { return p.Node == n })
}
