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
	"holdfast/tracker"
)

// Sentinels of the administration.
var (
	errNotLost  = fault.New(fault.Precondition, "allinone.not-lost", "directory is in use and well; only a lost one can be replaced or forgotten")
	errUnknown  = fault.New(fault.NotFound, "allinone.unknown-directory", "directory is not one of this server's; see holdfast admin status")
	errTooFew   = fault.New(fault.Precondition, "allinone.too-few", "the rest cannot hold what was lost; replace the directory, or add one first")
	errNotEmpty = fault.New(fault.Precondition, "allinone.not-empty", "directory is not empty; mount the new, empty disk there first")
)

// Status implements gateway.Operator.
func (s *Server) Status(ctx context.Context) (*tracker.Status, error) {
	st, err := s.svc.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range s.nodes.all() {
		st.Frozen = st.Frozen || n.Frozen()
	}
	return st, nil
}

// AcceptClock implements gateway.Operator.
func (s *Server) AcceptClock(ctx context.Context) error { return s.svc.AcceptClock(ctx) }

// ReplaceDisk implements gateway.Operator: the lost node is gone, a new one
// takes its directory, and a lost copy of the catalog is seeded again.
func (s *Server) ReplaceDisk(ctx context.Context, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.mu.layout.member(dir); m != nil && s.nodes.get(m.Node) != nil {
		if v := s.mu.layout.voterOf(m.Node); v != nil && s.voterLost(v.ID) {
			return s.reseed(ctx, v.ID, m.Node, dir)
		}
	}
	var old storage.NodeID
	var err error
	if !s.mu.layout.forgotten(dir) {
		if old, err = s.lost(dir); err != nil {
			return err
		}
	}
	bare, err := empty(s.cfg.FS, dir)
	if err != nil {
		return err
	}
	if !bare {
		return fmt.Errorf("%s: %w", dir, errNotEmpty)
	}
	if err := s.cfg.FS.MkdirAll(dir, 0o700); err != nil {
		return err
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
	old, err := s.lost(dir)
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

// lost returns the node of a directory that is lost: not open, or stopped by
// its disk's errors and its directory empty by now.
func (s *Server) lost(dir string) (storage.NodeID, error) {
	m := s.mu.layout.member(dir)
	if m == nil {
		return 0, fmt.Errorf("%s: %w", dir, errUnknown)
	}
	n := s.nodes.get(m.Node)
	if n == nil {
		return m.Node, nil
	}
	if bare, err := empty(s.cfg.FS, dir); err == nil && bare {
		return m.Node, errors.Join(s.nodes.remove(m.Node).Close())
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
	if err := s.dropStrangers(); err != nil {
		return err
	}
	for {
		home := s.withoutVoter()
		if home == nil {
			break
		}
		old := ""
		for _, v := range s.mu.layout.Voters {
			if m := s.mu.layout.byNode(v.Node); m == nil || m.Gone {
				old = v.ID
			}
		}
		if old == "" && len(s.mu.layout.Voters) >= s.copies() {
			return nil
		}
		if err := s.reseed(ctx, old, home.Node, home.Dir); err != nil {
			return err
		}
	}
	if live := len(s.nodes.all()); len(s.mu.layout.Voters) > live {
		s.cfg.Log.Warn().Int("copies", len(s.mu.layout.Voters)).Int("directories", live).Msg("no directory is free for a lost copy of the catalog; add one")
	}
	return nil
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

// withoutVoter returns a live member whose directory has no copy of the
// catalog, nil if there is none.
func (s *Server) withoutVoter() *Member {
	for i := range s.mu.layout.Nodes {
		if m := &s.mu.layout.Nodes[i]; !m.Gone && s.nodes.get(m.Node) != nil && s.mu.layout.voterOf(m.Node) == nil {
			return m
		}
	}
	return nil
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
	next := s.mu.layout.next()
	next.Voters, next.Applied = nil, s.applied()
	if whole {
		next.Incarnation = s.incarnation
	}
	for _, v := range s.log.Status().Voters {
		if old := s.mu.layout.voterByID(v.ID); old != nil && v.Err == "" {
			next.Voters = append(next.Voters, *old)
		}
	}
	s.cfg.Log.Warn().Msg("catalog goes on with one copy")
	return s.setLayout(next)
}
