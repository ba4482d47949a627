package allinone

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
)

// Open makes or opens the server on its directories. It returns once the
// catalog can answer. ErrRefused where the directories must not be used like
// this; the text says what to do.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	s, err := openServer(ctx, cfg)
	return s, explainDenied(cfg.Dirs, err)
}

func openServer(ctx context.Context, cfg Config) (*Server, error) {
	sv, err := look(cfg.FS, cfg.Dirs)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, nodes: newNodeSet()}
	if sv.first() {
		scheme, refusal := s.mayBegin()
		if refusal != nil {
			return nil, refusal // nothing was made
		}
		err = s.first(ctx, sv, scheme)
	} else {
		err = s.again(ctx, sv)
	}
	if err == nil {
		err = s.serveS3()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.warnAboutDevices()
	if c := s.copies(); c < min(len(s.dirs), maxVoters) {
		cfg.Log.Warn().Int("copies", c).Msg("fewer copies of the catalog than the data has: for benchmarks only")
	}
	return s, nil
}

// again opens a server that was made before.
func (s *Server) again(ctx context.Context, sv *survey) error {
	if err := checkScheme(s.cfg.Scheme, sv.layout); err != nil {
		return err
	}
	l, err := s.place(sv)
	if err != nil {
		return err
	}
	s.hold(l)
	for _, m := range l.Nodes {
		if m.Gone || sv.layouts[m.Dir] == nil {
			continue
		}
		s.dirs = append(s.dirs, m.Dir)
		if err := s.finishFormat(m); err != nil {
			return err
		}
		// The true epoch is the catalog's; the service's map tells it.
		if err := s.openNode(ctx, m, 0); err != nil {
			return err
		}
	}
	if err := s.openCatalog(ctx, false); err != nil {
		return err
	}
	if err := s.meet(ctx); err != nil {
		return err
	}
	if err := s.grow(ctx, sv); err != nil {
		return err
	}
	return s.formatted()
}

// place settles which member is in which directory: by the identity in it,
// since a disk may have been mounted elsewhere.
func (s *Server) place(sv *survey) (*Layout, error) {
	l := sv.layout.next()
	found := map[storage.NodeID]string{}
	for _, dir := range s.cfg.Dirs {
		if sv.layouts[dir] == nil {
			continue
		}
		id, err := node.ReadIdentity(s.cfg.FS, dir)
		if errors.Is(err, node.ErrNoIdentity) {
			if m := l.member(dir); m == nil || !m.Fresh || !unformatted(s.cfg.FS, dir) {
				delete(sv.layouts, dir) // it lost what it held, or is not mounted
			}
			continue // else the format was cut off; again finishes it
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		m := l.byNode(id.Node)
		switch {
		case m == nil || id.Cluster != l.Cluster:
			return nil, fmt.Errorf("%w: %s holds node %d of server %s, which this server does not know; leave the directory out", ErrRefused, dir, id.Node, id.Cluster)
		case m.Gone:
			return nil, fmt.Errorf("%w: %s holds node %d, which was replaced or forgotten; empty the directory to use it again, or leave it out", ErrRefused, dir, id.Node)
		case found[id.Node] != "":
			return nil, fmt.Errorf("%w: %s and %s both hold node %d, so one is a copy of the other, and may lack what was written since; the node was last used in %s: leave the copy out, or empty it to add it as a new node",
				ErrRefused, found[id.Node], dir, id.Node, sv.layout.byNode(id.Node).Dir)
		}
		found[id.Node], m.Dir = dir, dir
	}
	given := map[string]bool{}
	for _, d := range s.cfg.Dirs {
		given[d] = true
	}
	for _, m := range sv.missingNodes(given) {
		if now := l.byNode(m.Node); now.Dir != m.Dir {
			continue // it moved to another of the given directories
		}
		s.cfg.Log.Error().Str("dir", m.Dir).Uint32("node", uint32(m.Node)).
			Msg("directory is missing or empty: if it is not mounted, mount it and restart; if it is lost, run: holdfast admin disk replace " + m.Dir)
	}
	return l, nil
}

// unformatted reports whether dir holds a layout file and nothing of a node.
func unformatted(fs vfs.FS, dir string) bool {
	for _, n := range []string{"volumes", "blobs", "index"} {
		if _, err := fs.Stat(fs.PathJoin(dir, n)); err == nil {
			return false
		}
	}
	return true
}

// finishFormat gives a member whose format was cut off its identity.
func (s *Server) finishFormat(m Member) error {
	_, err := node.ReadIdentity(s.cfg.FS, m.Dir)
	if errors.Is(err, node.ErrNoIdentity) && m.Fresh && unformatted(s.cfg.FS, m.Dir) {
		return s.identify(m)
	}
	return nil
}

// grow makes new nodes of empty directories that the server never had, unless
// a known one is missing: then the empty one may be its mount point or its
// replacement, and a person says which.
func (s *Server) grow(ctx context.Context, sv *survey) error {
	var fresh []string
	missing := false
	for _, m := range s.mu.layout.Nodes {
		missing = missing || !m.Gone && s.nodes.get(m.Node) == nil
	}
	for _, d := range sv.empty {
		switch _, err := s.cfg.FS.Stat(d); {
		case s.mu.layout.member(d) != nil:
		case s.mu.layout.forgotten(d):
			s.cfg.Log.Warn().Str("dir", d).Msg("directory was forgotten and is left alone; to use it again: holdfast admin disk replace " + d)
		case err != nil:
			s.cfg.Log.Error().Str("dir", d).Err(err).Msg("directory is not there; mount or make it to add it")
		default:
			fresh = append(fresh, d)
		}
	}
	if len(fresh) > 0 && missing {
		s.cfg.Log.Error().Strs("dirs", fresh).Msg("empty directories are left alone while a known one is missing; replace or forget that one first: holdfast admin disk replace")
		return nil
	}
	if _, leads := s.log.LeaderEpoch(); !leads {
		return nil
	}
	for _, d := range fresh {
		if _, err := s.addNode(ctx, d); err != nil {
			return err
		}
		s.cfg.Log.Info().Str("dir", d).Msg("directory added as a new node")
	}
	if err := s.spreadCatalog(ctx); err != nil {
		s.cfg.Log.Error().Err(err).Msg("the catalog has fewer copies than the directories allow; restart to try again")
	}
	return nil
}

// addNode registers, formats and opens a new node in an empty directory.
func (s *Server) addNode(ctx context.Context, dir string) (Member, error) {
	m, err := s.svc.Map(ctx)
	if err != nil {
		return Member{}, err
	}
	if len(m.Groups) == 0 {
		return Member{}, errors.New("catalog has no storage group")
	}
	n, err := s.svc.RegisterNode(ctx, s.describe(m.Groups[0].ID, dir))
	if err != nil {
		return Member{}, err
	}
	mem := Member{Node: n.ID, Dir: dir, Fresh: true}
	next := s.mu.layout.next()
	next.Nodes = append(next.Nodes, mem)
	if !slices.Contains(s.dirs, dir) {
		s.dirs = append(s.dirs, dir)
	}
	// The layout goes first: a directory that it names and that has no
	// identity yet is finished by the next start.
	if err := s.setLayout(next); err != nil {
		return mem, err
	}
	if err := s.identify(mem); err != nil {
		return mem, err
	}
	if err := s.openNode(ctx, mem, n.Epoch); err != nil {
		return mem, err
	}
	return mem, s.formatted()
}

// formatted notes that every member's directory was formatted.
func (s *Server) formatted() error {
	next := s.mu.layout.next()
	for i := range next.Nodes {
		next.Nodes[i].Fresh = false
	}
	return s.setLayout(next)
}

// identify writes the identity of a member into its directory.
func (s *Server) identify(m Member) error {
	l := s.mu.layout
	return node.WriteIdentity(s.cfg.FS, m.Dir, node.Identity{Cluster: l.Cluster, Node: m.Node, Incarnation: s.incarnation, Created: s.cfg.Clock.Now()})
}

func (s *Server) openNode(ctx context.Context, m Member, epoch uint32) error {
	n, err := node.Open(ctx, node.Config{FS: s.cfg.FS, Dir: m.Dir, Cluster: s.mu.layout.Cluster, Node: m.Node,
		Incarnation: s.incarnation, Epoch: epoch, Logger: s.cfg.Log, Clock: s.cfg.Clock, Reserve: s.cfg.Tune.Reserve,
		Nodes: s.nodes, Limits: s.cfg.Tune.Node, Damage: s.damaged})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s.nodes.put(n)
	s.runNode(n)
	return nil
}

// setLayout keeps a layout in every directory in use, and in memory.
func (s *Server) setLayout(l *Layout) error {
	if err := s.writeLayout(l); err != nil {
		return err
	}
	s.hold(l)
	return nil
}

// hold keeps a layout, which does not change any more, in memory.
func (s *Server) hold(l *Layout) {
	s.mu.layout = l
	s.shown.Store(l)
}

// writeLayout writes a layout to every directory that is still its node's. A
// directory that lost its identity, because it was emptied or its disk is not
// mounted any more, gets none: it must stay what a person finds it to be. One
// that cannot be written is logged; the others carry the truth.
func (s *Server) writeLayout(l *Layout) error {
	var errs []error
	written := 0
	for _, d := range s.dirs {
		if m := l.member(d); l.Ready && (m == nil || !m.Fresh && !s.holds(d, m.Node)) {
			continue
		}
		if err := l.write(s.cfg.FS, d); err != nil {
			errs = append(errs, err)
			continue
		}
		written++
	}
	err := errors.Join(errs...)
	if written > 0 && l.Ready {
		if err != nil {
			s.cfg.Log.Error().Err(err).Msg("layout file cannot be written; look at the directory's disk")
		}
		return nil
	}
	return err
}

// holds reports whether dir has the identity of a node.
func (s *Server) holds(dir string, id storage.NodeID) bool {
	got, err := node.ReadIdentity(s.cfg.FS, dir)
	return err == nil && got.Node == id
}

// warnAboutScheme says what a scheme costs when a disk dies.
func (s *Server) warnAboutScheme(sc erasure.Scheme) {
	if n := len(s.cfg.Dirs); sc.Width() > 1 && sc.Quorum() == sc.Width() && n == sc.Width() {
		s.cfg.Log.Warn().Stringer("scheme", sc).Int("directories", n).
			Msg("with one directory lost this server reads, but takes no writes until it is replaced; one directory more than the scheme is wide avoids that")
	}
}

// warnAboutDevices says that directories on one disk die together.
func (s *Server) warnAboutDevices() {
	seen := map[string]string{}
	for _, d := range s.dirs {
		dev := device(s.cfg.FS, d)
		if other, ok := seen[dev]; ok {
			s.cfg.Log.Warn().Str("dir", d).Str("other", other).Msg("two directories are on one device and will be lost together")
			return
		}
		seen[dev] = d
	}
}
