package allinone

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// groupName is the one storage group of a server.
const groupName = "default"

// maxVoters is the most copies of the catalog in one process.
const maxVoters = 3

// mayBegin refuses a first start, before anything is made, where it cannot end
// well. It returns the scheme of the new server.
func (s *Server) mayBegin() (erasure.Scheme, error) {
	scheme, err := chooseScheme(s.cfg.Scheme, len(s.cfg.Dirs))
	if err != nil {
		return scheme, err
	}
	for _, d := range s.cfg.Dirs {
		if _, err := s.cfg.FS.Stat(d); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := tryWrite(s.cfg.FS, d); err != nil {
			return scheme, fmt.Errorf("%w: %s cannot be written to: %w", ErrRefused, d, err)
		}
	}
	return scheme, checkRoom(s.cfg.FS, s.cfg.Dirs[:min(len(s.cfg.Dirs), s.copies())])
}

// first makes a new server on empty directories. Until the layout is ready
// nothing is acknowledged, so a first start that was cut off begins again.
func (s *Server) first(ctx context.Context, sv *survey, scheme erasure.Scheme) error {
	if err := makeDirs(s.cfg.FS, s.cfg.Dirs); err != nil {
		return err
	}
	for dir := range sv.layouts {
		if err := wipe(s.cfg.FS, dir); err != nil {
			return err
		}
	}
	l := &Layout{Format: layoutFormat, Revision: 1, Cluster: uuid.NewString(), Incarnation: uuid.NewString(), Scheme: scheme.String()}
	copies := s.copies()
	for i, dir := range s.cfg.Dirs {
		l.Nodes = append(l.Nodes, Member{Node: storage.NodeID(i + 1), Dir: dir})
		if i < copies {
			l.Voters = append(l.Voters, VoterPlace{ID: fmt.Sprintf("voter-%d", i+1), Node: storage.NodeID(i + 1)})
		}
	}
	s.hold(l)
	s.dirs, s.incarnation = s.cfg.Dirs, l.Incarnation
	if err := s.writeLayout(l); err != nil {
		return err
	}
	for _, m := range l.Nodes {
		if err := s.identify(m); err != nil {
			return err
		}
		if err := s.openNode(ctx, m, 1); err != nil {
			return err
		}
	}
	if err := s.openCatalog(ctx, true); err != nil {
		return err
	}
	if err := s.register(ctx, scheme); err != nil {
		return err
	}
	ready := l.next()
	ready.Ready = true
	s.warnAboutScheme(scheme)
	return s.setLayout(ready)
}

// register enters the group and the nodes into a new catalog.
func (s *Server) register(ctx context.Context, scheme erasure.Scheme) error {
	l := s.mu.layout
	if err := s.nameCatalog(ctx, l.Cluster, l.Incarnation); err != nil {
		return err
	}
	g, err := s.svc.RegisterGroup(ctx, tracker.Group{Name: groupName, Class: "STANDARD", Scheme: scheme})
	if err != nil {
		return err
	}
	for _, m := range l.Nodes {
		n, err := s.svc.RegisterNode(ctx, s.describe(g.ID, m.Dir))
		if err != nil {
			return err
		}
		if n.ID != m.Node {
			return fmt.Errorf("catalog gave node %d the id %d", m.Node, n.ID)
		}
	}
	return nil
}

// describe is a node of this process as the catalog knows it.
func (s *Server) describe(group uint16, dir string) tracker.Node {
	return tracker.Node{Group: group, State: tracker.NodeActive, Addr: dir, Domain: tracker.Domain{Host: device(s.cfg.FS, dir)}}
}

// copies is how many copies of the catalog there are to be, where there are
// directories for them: those that come later count too.
func (s *Server) copies() int {
	if c := s.cfg.CatalogCopies; c > 0 {
		return min(c, maxVoters)
	}
	return maxVoters
}
