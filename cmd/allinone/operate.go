package allinone

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"holdfast/erasure"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/tracker"
)

// Sentinels of the administration.
var (
	errNotLost   = fault.New(fault.Precondition, "allinone.not-lost", "directory is in use and well; only a lost one can be replaced or forgotten")
	errUnknown   = fault.New(fault.NotFound, "allinone.unknown-directory", "directory is not one of this server's; see holdfast admin status")
	errTooFew    = fault.New(fault.Precondition, "allinone.too-few", "the rest cannot hold what was lost; replace the directory, or add one first")
	errNotEmpty  = fault.New(fault.Precondition, "allinone.not-empty", "directory is not empty; mount the new, empty disk there first")
	errFailed    = fault.New(fault.Precondition, "allinone.failed", "if the disk is well again, the node is used again within minutes, or at once after a restart; else mount an empty one in its place and repeat")
	errCopy      = fault.New(fault.Precondition, "allinone.copy", "it is not the directory that the server has open but a copy of it, which may lack what was written since; empty it and repeat, and it is refilled from the others")
	errDirectory = fault.New(fault.Precondition, "allinone.directory", "directory cannot be used")
	errNoQuorum  = fault.New(fault.Unavailable, "allinone.no-majority", "the catalog has no majority of its copies, so nothing can be changed: mount what is missing and restart; if the other copies are lost for good: holdfast admin catalog alone --lost-for-good")
)

// AcceptClock implements gateway.Operator.
func (s *Server) AcceptClock(ctx context.Context) error {
	if err := s.mayChange(); err != nil {
		return err
	}
	return s.svc.AcceptClock(ctx)
}

// ReplaceDisk implements gateway.Operator: the lost node is gone, a new one
// takes its directory, and a lost copy of the catalog is seeded again.
func (s *Server) ReplaceDisk(ctx context.Context, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		return err
	}
	if m := s.mu.layout.member(dir); m != nil && s.nodes.get(m.Node) != nil && s.holds(dir, m.Node) {
		if err := s.mounted(dir); err != nil {
			return err
		}
		// The node is well: it is the copy of the catalog that was lost.
		switch v := s.mu.layout.voterOf(m.Node); {
		case v != nil && s.voterLost(v.ID):
			return s.reseed(ctx, v.ID, m.Node, dir)
		case v == nil && len(s.mu.layout.Voters) < s.copies():
			return s.reseed(ctx, "", m.Node, dir)
		}
	}
	var old storage.NodeID
	var err error
	if !s.mu.layout.forgotten(dir) {
		if old, err = s.lost(ctx, dir); err != nil {
			return err
		}
	}
	bare, err := empty(s.cfg.FS, dir)
	if err != nil {
		return explainDenied([]string{dir}, fmt.Errorf("%w: %w", errDirectory, err))
	}
	if !bare {
		return s.occupied(dir)
	}
	if err := errors.Join(s.cfg.FS.MkdirAll(dir, 0o700), tryWrite(s.cfg.FS, dir)); err != nil {
		return explainDenied([]string{dir}, fmt.Errorf("%w: %w", errDirectory, err))
	}
	if old != 0 {
		if err := s.giveUp(ctx, old); err != nil {
			return err
		}
	}
	m, err := s.addNode(ctx, dir)
	if err != nil {
		return err
	}
	s.cfg.Log.Info().Str("dir", dir).Uint32("old", uint32(old)).Uint32("new", uint32(m.Node)).Msg("directory replaced; it is being refilled")
	return s.spreadCatalog(ctx)
}

// ForgetDisk implements gateway.Operator.
func (s *Server) ForgetDisk(ctx context.Context, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		return err
	}
	old, err := s.lost(ctx, dir)
	if err != nil {
		return err
	}
	if sc, err := erasure.ParseScheme(s.mu.layout.Scheme); err == nil && len(s.nodes.all()) < sc.Width() {
		return fmt.Errorf("%d directories are left and %s needs %d: %w", len(s.nodes.all()), sc, sc.Width(), errTooFew)
	}
	if err := s.giveUp(ctx, old); err != nil {
		return err
	}
	return s.spreadCatalog(ctx)
}

// occupied says what is in a directory that should be empty.
func (s *Server) occupied(dir string) error {
	id, err := node.ReadIdentity(s.cfg.FS, dir)
	l := s.mu.layout
	switch m := l.byNode(id.Node); {
	case err != nil:
		return fmt.Errorf("%s: %w", dir, errNotEmpty)
	case id.Cluster != l.Cluster || m == nil:
		return fmt.Errorf("%s holds node %d of server %s: %w", dir, id.Node, id.Cluster, errNotEmpty)
	case !m.Gone && s.nodes.get(id.Node) != nil:
		return fmt.Errorf("%s is a copy of %s (node %d), which is in use: empty it and repeat: %w", dir, m.Dir, id.Node, errCopy)
	case m.Gone:
		return fmt.Errorf("%s holds node %d, which was replaced or forgotten: empty it and repeat: %w", dir, id.Node, errNotEmpty)
	}
	return fmt.Errorf("%s holds node %d again: restart the server to use it as it is, or empty it and repeat: %w", dir, id.Node, errNotEmpty)
}

// mounted refuses a directory that has a node's identity and is not the one
// that the node has open, as when its disk was copied to a new one that is
// mounted in its place: the lock of the copy is free.
func (s *Server) mounted(dir string) error {
	lock, err := s.cfg.FS.Lock(s.cfg.FS.PathJoin(dir, "holdfast.lock"))
	if err != nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%s: %w", dir, errCopy), lock.Close())
}

// mayChange refuses what needs the catalog where that cannot answer, before
// anything is removed: a copy that stopped may be the one to go on from.
func (s *Server) mayChange() error {
	if _, leads := s.log.LeaderEpoch(); leads || s.log.Status().Quorum {
		return nil
	}
	return errNoQuorum
}

// lost returns the node of a directory that is lost: not open, or stopped by
// its disk's errors and its directory empty by now.
func (s *Server) lost(ctx context.Context, dir string) (storage.NodeID, error) {
	m := s.mu.layout.member(dir)
	if m == nil {
		return 0, fmt.Errorf("%s: %w", dir, errUnknown)
	}
	n := s.nodes.get(m.Node)
	if n == nil {
		return m.Node, nil
	}
	if bare, err := empty(s.cfg.FS, dir); err == nil && bare {
		if err := s.nodes.remove(m.Node).Close(); err != nil {
			s.cfg.Log.Warn().Err(err).Str("dir", dir).Msg("lost node did not close as it should")
		}
		return m.Node, nil
	}
	if err := s.mounted(dir); err != nil {
		return 0, err
	}
	if hb, err := n.Status(ctx); err == nil && hb.ReadOnly && hb.Free > 0 {
		return 0, fmt.Errorf("%s: %s: %w", dir, hb.Err, errFailed)
	}
	return 0, fmt.Errorf("%s: %w", dir, errNotLost)
}

// giveUp makes a node gone, in the catalog first.
func (s *Server) giveUp(ctx context.Context, id storage.NodeID) error {
	if err := s.svc.SetNodeState(ctx, id, tracker.NodeGone); err != nil {
		return err
	}
	next := s.mu.layout.next()
	next.byNode(id).Gone = true
	return s.setLayout(next)
}

func (s *Server) voterLost(id string) bool {
	for _, v := range s.log.Status().Voters {
		if v.ID == id {
			return v.Err != ""
		}
	}
	return true
}

// spreadCatalog gives the catalog as many copies as the directories allow:
// those on nodes that are gone are seeded again elsewhere, and missing ones
// are added.
func (s *Server) spreadCatalog(ctx context.Context) error {
	return s.spread(ctx, s.copies(), s.withoutVoter())
}

// spread makes copies of the catalog in homes until there are so many as
// wanted and none is on a node that is gone. Where one cannot be made, the
// next home is tried.
func (s *Server) spread(ctx context.Context, want int, homes []Member) error {
	if err := s.dropStrangers(); err != nil {
		return err
	}
	var errs []error
	for _, home := range homes {
		old := s.homeless()
		if old == "" && len(s.mu.layout.Voters) >= want || ctx.Err() != nil {
			break
		}
		if err := s.reseed(ctx, old, home.Node, home.Dir); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", home.Dir, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if s.homeless() != "" {
		s.cfg.Log.Warn().Int("copies", len(s.mu.layout.Voters)).Int("directories", len(s.nodes.all())).
			Msg("no directory is free for a lost copy of the catalog; add one")
	}
	return nil
}

// homeless is a copy of the catalog whose node is gone, "" if there is none.
func (s *Server) homeless() string {
	for _, v := range s.mu.layout.Voters {
		if m := s.mu.layout.byNode(v.Node); m == nil || m.Gone {
			return v.ID
		}
	}
	return ""
}

// dropStrangers takes copies out of the layout that are not the group's: a
// reseed that was cut off leaves the old one or the new one there.
func (s *Server) dropStrangers() error {
	members := s.log.Members()
	next := s.mu.layout.next()
	next.Voters = slices.DeleteFunc(next.Voters, func(v VoterPlace) bool { return !slices.Contains(members, v.ID) })
	if len(next.Voters) == len(s.mu.layout.Voters) {
		return nil
	}
	return s.setLayout(next)
}

// withoutVoter returns the live members whose directories have no copy of the
// catalog.
func (s *Server) withoutVoter() (homes []Member) {
	for _, m := range s.mu.layout.Nodes {
		if !m.Gone && s.nodes.get(m.Node) != nil && s.mu.layout.voterOf(m.Node) == nil {
			homes = append(homes, m)
		}
	}
	return homes
}

// reseed makes a new copy of the catalog in dir, in the place of the voter
// old, or beside the others if that is "".
func (s *Server) reseed(ctx context.Context, old string, on storage.NodeID, dir string) error {
	fresh := VoterPlace{ID: "voter-" + uuid.NewString()[:8], Node: on}
	path := s.cfg.FS.PathJoin(dir, catalogDir)
	if err := s.log.Vacate(ctx, path); err != nil {
		return err
	}
	if err := s.cfg.FS.RemoveAll(path); err != nil {
		return err
	}
	// The layout names the new copy before it has a vote: a restart in between
	// must not go without it.
	next := s.mu.layout.next()
	next.Voters = append(next.Voters, fresh)
	if err := s.setLayout(next); err != nil {
		return err
	}
	gone := old
	err := s.log.ReplaceVoter(ctx, old, voterAt(fresh.ID, s.cfg.FS, path))
	if err != nil {
		gone = fresh.ID
		err = fmt.Errorf("seeding a copy of the catalog: %w", err)
	}
	next = s.mu.layout.next()
	next.Voters = slices.DeleteFunc(next.Voters, func(v VoterPlace) bool { return v.ID == gone })
	return errors.Join(err, s.setLayout(next))
}

// GoOnAlone implements gateway.Operator.
func (s *Server) GoOnAlone(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Of two copies the survivor has all that was acknowledged; of three it may
	// lack what the others acknowledged without it.
	whole := s.log.Status().ReadOnly
	if err := s.log.RecoverAlone(ctx, !whole); err != nil {
		return err
	}
	// A forced recovery is a new incarnation. The nodes follow a whole
	// survivor at once, else only after fsck --adopt.
	s.incarnation = uuid.NewString()
	if err := s.nameCatalog(ctx, s.mu.layout.Cluster, s.incarnation); err != nil {
		return err
	}
	for _, n := range s.nodes.all() {
		if whole {
			if err := n.SetIncarnation(s.incarnation); err != nil {
				return err
			}
		}
		n.Follow(s.incarnation)
	}
	free := s.withoutVoter()
	next := s.mu.layout.next()
	next.Voters, next.Applied = nil, s.applied()
	if whole {
		next.Incarnation = s.incarnation
	}
	leftOut := 0 // copies that a well node lost: its directory is for a person to replace
	members := s.log.Members()
	for _, v := range s.mu.layout.Voters {
		if slices.Contains(members, v.ID) {
			next.Voters = append(next.Voters, v)
		} else if s.nodes.get(v.Node) != nil {
			leftOut++
		}
	}
	if err := s.setLayout(next); err != nil {
		return err
	}
	s.cfg.Log.Warn().Msg("catalog goes on with one copy")
	// One copy is no safety: directories that never had one get theirs now,
	// and the others once they are replaced.
	if err := s.spread(ctx, s.copies()-leftOut, free); err != nil {
		s.cfg.Log.Error().Err(err).Msg("the catalog has fewer copies than the directories allow; restart to try again")
	}
	return nil
}
