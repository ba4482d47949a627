package allinone

import (
	"context"
	"time"

	"github.com/google/uuid"

	"holdfast/gateway"
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

// Fsck implements gateway.Operator.
func (s *Server) Fsck(ctx context.Context, adopt bool) (*gateway.Fsck, error) {
	if c := s.log.Status(); !c.Quorum && (adopt || !c.ReadOnly) {
		return nil, errNoQuorum
	}
	out, err := s.workers.Fsck(ctx, adopt)
	if err != nil || !adopt {
		return out, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.mu.layout.next()
	next.Incarnation, next.Applied = s.incarnation, s.applied()
	return out, s.setLayout(next)
}
