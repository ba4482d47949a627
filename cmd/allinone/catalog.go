package allinone

import (
	"context"
	"fmt"
	"os"

	"holdfast/internal/fault"
	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	"holdfast/tracker/service"
	"holdfast/tracker/worker"
)

// catalogDir is where a voter lives in a node's directory.
const catalogDir = "catalog"

// openCatalog opens the voters whose directories are there, and the service
// over them.
func (s *Server) openCatalog(ctx context.Context, bootstrap bool) error {
	voters, lost, err := s.voters(bootstrap)
	if err != nil {
		return err
	}
	for _, v := range lost {
		s.cfg.Log.Error().Str("voter", v.ID).Uint32("node", uint32(v.Node)).Msg("copy of the catalog is missing; replace its directory: holdfast admin disk replace")
	}
	s.log, err = consensus.OpenLocal(ctx, consensus.LocalConfig{
		Voters: voters, ClusterID: s.mu.layout.Cluster, Bootstrap: bootstrap, BallastBytes: s.cfg.Tune.Ballast, MinFree: minFree,
		SnapshotBytes: s.cfg.Tune.SnapshotBytes, KeepBytes: s.cfg.Tune.KeepBytes,
		Machine: func(int) consensus.Machine { return catalog.NewMachine() }, Logger: s.cfg.Log,
		OnStop: func(id string, err error, quorum bool) {
			s.cfg.Log.Error().Str("voter", id).Bool("others go on", quorum).Err(err).Msg("copy of the catalog stopped; look at its disk")
		},
	})
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	cat := service.NewCatalog(s.log, s.cfg.Clock)
	cfg := service.Default()
	cfg.Certain = true
	if life := s.cfg.Tune.TicketLife; life > 0 {
		cfg.TicketLife = life
	}
	cfg.InlineBudget = s.inlineBudget(voters)
	s.svc, err = service.New(cfg, cat, cat, cat, s.nodes, s.cfg.Clock, s.cfg.Log)
	if err != nil {
		return err
	}
	s.svc.Watch(s.followEpochs)
	return s.openWorkers(cat)
}

// The catalog keeps small objects up to a tenth of its smallest disk, and at
// most so many bytes (SAFETY B6).
const maxInlineBudget = 16 << 30

func (s *Server) inlineBudget(voters []consensus.Voter) int64 {
	if b := s.cfg.Tune.InlineBudget; b != 0 {
		return b
	}
	budget := int64(maxInlineBudget)
	for _, v := range voters {
		if u, err := v.FS.GetDiskUsage(v.FS.PathDir(v.Dir)); err == nil {
			budget = min(budget, int64(u.TotalBytes/10))
		}
	}
	return budget
}

// voters returns those that can be opened, and those whose directories are
// missing. None at all is a refusal: a directory with an identity and no
// reachable catalog must never get a new one.
func (s *Server) voters(bootstrap bool) (open []consensus.Voter, lost []VoterPlace, err error) {
	l := s.mu.layout
	for _, v := range l.Voters {
		m := l.byNode(v.Node)
		if m == nil || s.nodes.get(v.Node) == nil || !bootstrap && !hasCatalog(s.cfg.FS, m.Dir) {
			lost = append(lost, v)
			continue
		}
		open = append(open, consensus.Voter{ID: v.ID, FS: s.cfg.FS, Dir: s.cfg.FS.PathJoin(m.Dir, catalogDir)})
	}
	if len(open) > 0 {
		return open, lost, nil
	}
	where := ""
	for _, v := range lost {
		if m := l.byNode(v.Node); m != nil {
			where += " " + s.cfg.FS.PathJoin(m.Dir, catalogDir)
		}
	}
	return nil, nil, fmt.Errorf("%w: no copy of the catalog is reachable; looked for%s: mount what is missing, or put a copy back from a backup", ErrRefused, where)
}

// hasCatalog reports whether a voter was ever made in dir.
func hasCatalog(fs vfs.FS, dir string) bool {
	ok, err := empty(fs, fs.PathJoin(dir, catalogDir))
	return err == nil && !ok
}

// nameCatalog gives a new catalog the cluster's id and its incarnation.
func (s *Server) nameCatalog(ctx context.Context, cluster, incarnation string) error {
	cat := service.NewCatalog(s.log, s.cfg.Clock)
	_, err := cat.Do(ctx, tracker.Mutation{}, catalog.SetIdentity{Cluster: cluster, Incarnation: incarnation}, true)
	return err
}

// meet makes the catalog and the nodes known to each other.
func (s *Server) meet(ctx context.Context) error {
	var m *tracker.Status
	err := error(tracker.ErrUnavailable)
	if c := s.log.Status(); c.Quorum || c.ReadOnly {
		m, err = s.svc.Status(ctx)
	}
	if fault.KindOf(err) == fault.Unavailable {
		s.cfg.Log.Error().Err(err).Msg("too few copies of the catalog are left to answer: mount what is missing and restart; if the others are lost for good: holdfast admin catalog alone --lost-for-good, then holdfast fsck")
		s.incarnation = s.mu.layout.Incarnation
		return nil
	}
	if err != nil {
		return err
	}
	if m.Map.Cluster != s.mu.layout.Cluster {
		return fmt.Errorf("%w: the catalog is of cluster %s and the directories of %s", ErrRefused, m.Map.Cluster, s.mu.layout.Cluster)
	}
	s.followEpochs(m.Map)
	if _, leads := s.log.LeaderEpoch(); !leads {
		s.cfg.Log.Error().Msg("catalog has no majority: it serves reads only; if the other copy is lost for good: holdfast admin catalog alone --lost-for-good")
		s.incarnation = m.Incarnation
		return nil
	}
	if err := s.settleIncarnation(ctx, m); err != nil {
		return err
	}
	if err := s.dropStrangers(); err != nil {
		return err
	}
	for _, id := range s.log.Status().Empty {
		s.seedAgain(ctx, id)
	}
	return s.svc.Look(ctx)
}

// seedAgain finishes the seeding of a copy of the catalog that was cut off.
func (s *Server) seedAgain(ctx context.Context, id string) {
	v := s.mu.layout.voterByID(id)
	if v == nil {
		return
	}
	m := s.mu.layout.byNode(v.Node)
	if m == nil || s.nodes.get(v.Node) == nil {
		return
	}
	if err := s.log.ReplaceVoter(ctx, id, voterAt(id, s.cfg.FS, s.cfg.FS.PathJoin(m.Dir, catalogDir))); err != nil {
		s.cfg.Log.Error().Err(err).Str("voter", id).Msg("copy of the catalog could not be seeded; restart to try again")
	}
}

// followEpochs tells each node its epoch, so that tickets of an older one are
// refused.
func (s *Server) followEpochs(m *tracker.Map) {
	for _, n := range s.nodes.all() {
		if row := m.Node(n.Node()); row != nil {
			n.SetEpoch(row.Epoch)
		}
	}
}

func (s *Server) voterStatus() (leader string, voters []tracker.Voter) {
	st := s.log.Status()
	return st.Leader, st.Voters
}

// openWorkers makes the background workers; Run starts them.
func (s *Server) openWorkers(cat *service.Catalog) error {
	cfg := worker.Default()
	if g := s.cfg.Tune.Grace; g > 0 {
		cfg.Garbage.Grace = g
	}
	cfg.Garbage.OldestRead = func() int64 { return s.front.OldestRead() }
	s.store = worker.NewStore(cat, worker.DefaultRetention())
	var err error
	s.workers, err = worker.New(cfg, s.svc, s.store, s.nodes, s.cfg.Clock, s.cfg.Log)
	if err != nil {
		return err
	}
	s.svc.SetOperations(service.Operations{Progress: s.workers.Progress, Voters: s.voterStatus, Repair: s.workers.Repair, Fsck: s.workers.Fsck})
	return nil
}

// device names the file system that holds dir: directories on one device are
// one failure domain.
func device(fs vfs.FS, dir string) string {
	st, err := os.Stat(dir)
	if err != nil {
		return dir
	}
	return deviceOf(st, dir)
}
