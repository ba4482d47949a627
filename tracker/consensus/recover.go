package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
	"holdfast/tracker/kv"
)

// RecoverAlone makes the most advanced voter that is left the only one of the
// group, for the case that the others are lost for good. A person decides
// that: the lost voters are left out for ever, also if they turn up again.
//
// Of two voters, the one that is left has all that was ever acknowledged. Of
// three it may lack what the two others acknowledged without it, so force
// must say that this is accepted. The caller then makes a new incarnation of
// the cluster. An error leaves the group without service; open it again.
func (l *Local) RecoverAlone(ctx context.Context, force bool) error {
	ctx, cancel, err := l.administer(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := l.recoverAlone(ctx, force); err != nil {
		return fmt.Errorf("consensus: recover alone: %w", err)
	}
	return nil
}

func (l *Local) recoverAlone(ctx context.Context, force bool) error {
	if l.hasQuorum() {
		return errors.New("the group has a majority")
	}
	q := l.quorum.Load()
	if len(q.servers) > 2 && !force {
		return errors.New("the voter that is left may lack acknowledged commits of the others; force accepts that")
	}
	best := l.readOnly.Load()
	for _, v := range q.known {
		if best == nil && v.runs() || best != nil && v.runs() && best.behind(v) {
			best = v
		}
	}
	if best == nil {
		return errors.New("no voter is left")
	}
	l.readOnly.Store(nil)
	l.lead.Store(nil)
	reason := errors.New("voter was left out when the group was recovered")
	for _, v := range l.voters() {
		v.retire(reason)
		l.stop(v)
	}
	if err := l.dismiss(ctx, best, reason); err != nil {
		return err
	}
	l.parts.keep = 0
	w := newVoter(best.Voter, best.machine, l.parts, l.voterFailed)
	conf, err := w.reopenAlone(l.parts, func() string { return w.server })
	if err == nil {
		err = w.startLocal(l.parts)
	}
	close(w.opened)
	if err != nil {
		return errors.Join(err, l.dismiss(ctx, w, err))
	}
	l.mu.Lock()
	l.mu.voters = []*voter{w}
	l.mu.Unlock()
	l.setQuorum(conf)
	l.hopeless.Store(false)
	l.run(w)
	l.kick()
	_, err = l.leader(ctx)
	return err
}

// reopenAlone opens w, applies its whole log, and makes it the only voter,
// reached at addr, under an empty log. Raft is not started.
func (w *voter) reopenAlone(p *parts, addr func() string) (conf raft.Configuration, err error) {
	if err := w.openLog(p, false); err != nil {
		return conf, err
	}
	if err := w.assemble(p); err != nil {
		return conf, err
	}
	term, index := w.lastEntry()
	if err := w.replay(index); err != nil {
		return conf, err
	}
	// The promise first, then the metadata that relies on it.
	if err := writeFlushed(w.fsm.state.Load().Store, index, term); err != nil {
		return conf, err
	}
	conf.Servers = []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(w.server), Address: raft.ServerAddress(addr())}}
	id := *w.id
	id.Recovery = nextRecovery(id.Recovery)
	encoded := raft.EncodeConfiguration(conf)
	if err := w.store.Recover(&id, &raftlog.Snapshot{Index: index, Term: term, ConfIndex: index, Conf: encoded}); err != nil {
		return conf, err
	}
	w.id, w.recovery = &id, id.Recovery
	w.fsm.mu.Lock()
	w.fsm.mu.pos = position{index: index, term: term, confIndex: index, conf: encoded}
	w.fsm.mu.Unlock()
	w.fsm.applied.Store(index)
	return conf, nil
}

// RecoverReplica makes the voter in cfg's directory, which is not open, the
// only one of its group, for the case that too many others are lost for good
// to make a majority. A person decides that: it may lack what the others
// acknowledged without it, and they are left out for ever, also if they turn up
// again (ErrLeftOut); emptied, they join again. OpenReplica starts it
// afterwards, and the caller makes a new incarnation of the cluster. It returns
// the last log index that the voter has. Of cfg it needs Voter, ClusterID,
// Advertise and Machine.
func RecoverReplica(cfg ReplicaConfig) (applied uint64, err error) {
	cfg.setDefaults()
	if err := cfg.Voter.validate(); err != nil {
		return 0, err
	}
	if cfg.ClusterID == "" || cfg.Machine == nil || cfg.Advertise == "" {
		return 0, errors.New("consensus: ClusterID, Machine and Advertise must be set")
	}
	p := &parts{cfg: cfg.settings(), cache: kv.NewCache(cfg.CacheBytes, 1), keep: cfg.KeepBytes}
	defer p.cache.Unref()
	w := newVoter(cfg.Voter, cfg.Machine, p, func(*voter, error) {})
	_, err = w.reopenAlone(p, func() string { return cfg.Advertise })
	if err == nil {
		applied = w.fsm.applied.Load()
	}
	w.retire(errStopped)
	if err := errors.Join(err, w.release(time.Second)); err != nil {
		return 0, fmt.Errorf("consensus: recover replica %s: %w", cfg.ID, err)
	}
	return applied, nil
}

// Copy is what a directory holds of a catalog, while no process has it open.
type Copy struct {
	Cluster, ID string
	Recovery    uint64 // number of the group's last recovery, 0 for none
	Term, Index uint64 // of the last log entry: of two copies, the one with the higher term, then index, has more
	Members     []ServerInfo
}

// ErrNoCopy says that a directory holds no copy of a catalog.
var ErrNoCopy = errEmpty

// InspectReplica reads the voter in cfg's directory, which is not open, and
// lets look see its state with all that is known to be committed; look may be
// nil. Where cfg.ID or ClusterID is "" the directory's own are taken. Of cfg it
// needs FS, Dir and Machine.
func InspectReplica(cfg ReplicaConfig, look func(kv.Reader) error) (_ *Copy, err error) {
	cfg.setDefaults()
	if cfg.Machine == nil {
		return nil, errors.New("consensus: Machine must be set")
	}
	id, err := identityOf(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.ID == "" {
		cfg.ID = id.Voter
	}
	if cfg.ClusterID == "" {
		cfg.ClusterID = id.Cluster
	}
	p := &parts{cfg: cfg.settings(), cache: kv.NewCache(cfg.CacheBytes, 1), keep: cfg.KeepBytes}
	defer p.cache.Unref()
	w := newVoter(cfg.Voter, cfg.Machine, p, func(*voter, error) {})
	c := &Copy{Cluster: id.Cluster, ID: id.Voter, Recovery: id.Recovery}
	err = w.openLog(p, false)
	if err == nil {
		err = w.assemble(p)
	}
	if err == nil {
		c.Term, c.Index = w.lastEntry()
		var conf raft.Configuration
		if conf, err = w.latestConf(); err == nil {
			c.Members = serversOf(conf)
		}
	}
	if err == nil && look != nil {
		err = look(w.fsm.state.Load().Store)
	}
	w.retire(errStopped)
	if err := errors.Join(err, w.release(time.Second)); err != nil {
		return nil, fmt.Errorf("consensus: inspect %s: %w", cfg.Dir, err)
	}
	return c, nil
}

// identityOf reads whose the directory is.
func identityOf(cfg *ReplicaConfig) (*raftlog.Identity, error) {
	path := cfg.FS.PathJoin(cfg.Dir, "log")
	if _, err := cfg.FS.Stat(path); err != nil {
		return nil, fmt.Errorf("consensus: %s: %w", cfg.Dir, errEmpty)
	}
	s, err := raftlog.Open(cfg.FS, path, raftlog.Options{Options: kv.Options{CacheBytes: 1 << 20, MustExist: true, Logger: cfg.Logger}})
	if err != nil {
		return nil, fmt.Errorf("consensus: inspect %s: %w", cfg.Dir, err)
	}
	id, err := s.Identity()
	if err == nil && id == nil {
		err = errEmpty
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, fmt.Errorf("consensus: inspect %s: %w", cfg.Dir, err)
	}
	return id, nil
}
