package allinone

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"holdfast/gateway"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/tracker"
)

// A catalog can come back older than the shards: somebody restored a copy of
// its directory, or a virtual disk was rolled back. It then knows nothing of
// younger blobs, and would have every node delete them. Two things prevent
// that. The layout file of each directory remembers how far the catalog was
// (Layout.Applied), so an older one is noticed and made a new incarnation;
// and a node drops nothing for an incarnation that it does not know, until a
// person has looked at `holdfast fsck` and confirmed with --adopt.

// watermarkEvery is how often the layout files learn how far the catalog is,
// if it moved.
const watermarkEvery = 30 * time.Second

// watermark keeps Layout.Applied near the truth until ctx ends.
func (s *Server) watermark(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.cfg.Clock.After(watermarkEvery):
		}
		if err := s.markApplied(); err != nil {
			s.cfg.Log.Error().Err(err).Msg("layout file cannot be written; look at the directory's disk")
		}
	}
}

// markApplied writes how far the catalog is, if it moved.
func (s *Server) markApplied() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	applied := s.applied()
	if s.mu.layout == nil || !s.mu.layout.Ready || applied <= s.mu.layout.Applied {
		return nil
	}
	next := s.mu.layout.next()
	next.Applied = applied
	return s.setLayout(next)
}

// applied is the log index up to which this process's catalog has come.
func (s *Server) applied() (index uint64) {
	for _, v := range s.log.Status().Voters {
		index = max(index, v.Applied)
	}
	return index
}

// settleIncarnation compares what the catalog says of itself with what the
// directories remember, and tells the nodes which incarnation they face.
func (s *Server) settleIncarnation(ctx context.Context, st *tracker.Status) error {
	l := s.mu.layout
	inc := st.Incarnation
	if applied := s.applied(); applied < l.Applied && inc == l.Incarnation {
		inc = uuid.NewString()
		if err := s.nameCatalog(ctx, l.Cluster, inc); err != nil {
			return err
		}
		s.cfg.Log.Error().Uint64("applied", applied).Uint64("remembered", l.Applied).
			Msg("catalog is older than the directories remember: it was restored from a copy, or its disk was rolled back")
	}
	s.incarnation = inc
	frozen := false
	for _, n := range s.nodes.all() {
		n.Follow(inc)
		frozen = frozen || n.Frozen()
	}
	if frozen {
		s.cfg.Log.Error().Msg("the catalog is another incarnation than the nodes know: they serve, and delete nothing, until holdfast fsck has compared both sides and holdfast fsck --adopt confirms")
	}
	return nil
}

// fsckBatch is how many blobs are compared at once.
const fsckBatch = 4096

// maxUnreadable bounds the list of blobs that cannot be read.
const maxUnreadable = 1000

// Fsck implements gateway.Operator.
func (s *Server) Fsck(ctx context.Context, adopt bool) (*gateway.Fsck, error) {
	out := &gateway.Fsck{Incarnation: s.incarnation}
	for _, n := range s.nodes.all() {
		out.Frozen = out.Frozen || n.Frozen()
	}
	m, err := s.svc.Map(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range m.Groups {
		for from, done := storage.MakeBlobID(0, g.ID, 0, 0), false; !done; {
			if from, done, err = s.fsckRange(ctx, g.ID, from, out); err != nil {
				return nil, err
			}
		}
	}
	if !adopt {
		return out, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes.all() {
		if err := errors.Join(n.SetIncarnation(s.incarnation), n.ConfirmDisown(ctx)); err != nil {
			return nil, fmt.Errorf("node %d: %w", n.Node(), err)
		}
	}
	next := s.mu.layout.next()
	next.Incarnation, next.Applied = s.incarnation, s.applied()
	out.Frozen = false
	return out, s.setLayout(next)
}

// fsckRange compares one batch of blobs, and what the nodes hold between
// their ids, and says where the next begins.
func (s *Server) fsckRange(ctx context.Context, group uint16, from storage.BlobID, out *gateway.Fsck) (next storage.BlobID, done bool, err error) {
	end := storage.MakeBlobID(0, group+1, 0, 0)
	blobs, _, err := s.store.Blobs(ctx, storage.IDRange{From: from, To: end}, fsckBatch)
	if err != nil {
		return end, true, err
	}
	to := end
	if len(blobs) == fsckBatch {
		to = blobs[len(blobs)-1].ID
		blobs = blobs[:len(blobs)-1]
	}
	have := map[storage.NodeID]map[storage.ShardID]int64{}
	for _, n := range s.nodes.all() {
		if have[n.Node()], err = shardsOf(ctx, n, storage.IDRange{From: from, To: to}); err != nil {
			return to, true, err
		}
	}
	var lost []storage.Damage
	for i := range blobs {
		b := &blobs[i]
		good := 0
		for index, p := range b.Shards {
			id := storage.ShardID{Blob: b.ID, Index: uint8(index), Gen: p.Gen}
			_, ok := have[p.Node][id]
			delete(have[p.Node], id)
			switch {
			case ok:
				good++
			case b.Dying: // deleted, and on its way out
			case p.Node == 0:
				out.Holes++
			default:
				out.Missing++
				lost = append(lost, storage.Damage{Shard: id, Node: p.Node, Reason: "fsck found it missing"})
			}
		}
		if b.Dying {
			continue
		}
		out.Blobs++
		if good < int(b.Scheme.Data) && len(out.Unreadable) < maxUnreadable {
			out.Unreadable = append(out.Unreadable, b.ID.String())
		}
	}
	if err := s.svc.ReportDamage(ctx, lost); err != nil {
		return to, true, err
	}
	for _, rest := range have {
		for _, size := range rest {
			out.Unknown++
			out.UnknownBytes += size
		}
	}
	return to, to == end, nil
}

// shardsOf lists a node's shards of a range with their lengths.
func shardsOf(ctx context.Context, n *node.Node, r storage.IDRange) (map[storage.ShardID]int64, error) {
	out := map[storage.ShardID]int64{}
	var after storage.ShardID
	for {
		page, err := n.List(ctx, r, after, fsckBatch)
		if err != nil {
			return nil, err
		}
		for i := range page {
			out[page[i].ID] = page[i].Seal.Length
			after = page[i].ID
		}
		if len(page) < fsckBatch {
			return out, nil
		}
	}
}
