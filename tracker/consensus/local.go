package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
	"holdfast/tracker/consensus/raftlog"
	"holdfast/tracker/kv"
)

// Local is a group whose voters all live in this process, over Raft's
// in-memory transport. It implements Log.
//
// A voter that fails is stopped and the others go on; nothing here ends the
// process. With two voters and one lost it serves reads until RecoverAlone or
// a restart with both.
//
// Goroutines: Raft's; for each voter one that follows its leadership and one
// that takes snapshots; for the group one that elects and the watchdog.
type Local struct {
	cfg    LocalConfig
	parts  *parts
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	lead     atomic.Pointer[voter] // serves; nil while there is none
	readOnly atomic.Pointer[voter] // the last of two, once the other is lost
	quorum   atomic.Pointer[quorum]
	hopeless atomic.Bool   // there is no majority, and quorumLost has done what it can
	nudge    chan struct{} // wakes the elector
	control  *raft.InmemTransport
	stats    stats

	admin sync.Mutex // held by changes of membership, one at a time
	mu    struct {
		sync.Mutex
		voters  []*voter // given ones and those added, in order
		next    int      // number of the next machine
		changed chan struct{}
		closed  bool
	}
}

var _ Log = (*Local)(nil)

// OpenLocal opens the voters, bootstraps them if asked, and returns once the
// group serves or is known not to (see Status). It fails if no voter can be
// opened, or a directory belongs to someone else. ctx bounds only the opening.
func OpenLocal(ctx context.Context, cfg LocalConfig) (*Local, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Local{cfg: cfg, nudge: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.mu.changed = make(chan struct{})
	l.parts = &parts{cfg: &l.cfg, cache: kv.NewCache(cfg.CacheBytes, len(cfg.Voters))}
	if len(cfg.Voters) > 1 {
		l.parts.keep, l.parts.ring = cfg.KeepBytes, 8<<20
	}
	_, l.control = raft.NewInmemTransportWithTimeout("control", time.Second)
	for _, v := range cfg.Voters {
		l.mu.voters = append(l.mu.voters, newVoter(v, cfg.Machine(l.mu.next), l.parts, l.voterFailed))
		l.mu.next++
	}
	err := l.open(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("consensus: open: %w", err), l.Close())
	}
	return l, nil
}

func (l *Local) open(ctx context.Context) error {
	voters := l.voters()
	defer func() {
		for _, v := range voters {
			close(v.opened)
		}
	}()
	l.each(voters, func(v *voter) error { return v.openLog(l.parts, l.cfg.Bootstrap) })
	if l.cfg.Bootstrap {
		if err := l.bootstrap(voters); err != nil {
			return err
		}
	}
	if err := l.sort(voters); err != nil {
		return err
	}
	l.each(voters, func(v *voter) error { return v.assemble(l.parts) })
	conf, err := l.leadingConf(voters)
	if err != nil {
		return err
	}
	l.each(voters, func(v *voter) error { return v.start(l.parts) })
	l.setQuorum(conf)
	for _, v := range voters {
		if v.cause() == nil {
			l.run(v)
		}
	}
	if !l.hasQuorum() {
		l.quorumLost()
	}
	l.wg.Go(l.elector)
	l.wg.Go(l.watch)
	l.kick()
	_, err = l.leader(ctx)
	if errors.Is(err, tracker.ErrUnavailable) {
		l.cfg.Logger.Error().Err(err).Msg("catalog has no majority of its copies")
		return nil
	}
	return err
}

// each runs a step of opening on the voters that have not failed, at once.
func (l *Local) each(voters []*voter, step func(*voter) error) {
	var wg sync.WaitGroup
	for _, v := range voters {
		if v.cause() == nil {
			wg.Go(func() {
				if err := step(v); err != nil {
					v.fail(err)
				}
			})
		}
	}
	wg.Wait()
}

// bootstrap begins the voters that have not begun, with one configuration. If
// some have, that must be a bootstrap cut short: nobody ever voted.
func (l *Local) bootstrap(voters []*voter) error {
	var conf raft.Configuration
	for _, v := range voters {
		if err := v.cause(); err != nil {
			return fmt.Errorf("voter %s: %w", v.ID, err)
		}
		if v.id == nil {
			continue
		}
		term, err := v.store.GetUint64([]byte("CurrentTerm"))
		last, _ := v.store.LastIndex()
		var first raft.Log
		if err = errors.Join(err, v.store.GetLog(1, &first)); err != nil || term != 1 || last != 1 {
			return errors.Join(fmt.Errorf("voter %s (%s) holds a catalog", v.ID, v.Dir), err)
		}
		conf = raft.DecodeConfiguration(first.Data)
	}
	if len(conf.Servers) == 0 {
		for _, v := range voters {
			s := newServer(v.ID)
			conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(s), Address: raft.ServerAddress(s)})
		}
	}
	if len(conf.Servers) != len(voters) {
		return errors.New("an unfinished bootstrap had other voters")
	}
	for _, v := range voters {
		if err := l.begin(v, conf); err != nil {
			return fmt.Errorf("bootstrap of voter %s: %w", v.ID, err)
		}
	}
	return nil
}

func (l *Local) begin(v *voter, conf raft.Configuration) error {
	if v.id != nil {
		return nil
	}
	for _, s := range conf.Servers {
		if voterOf(s.ID) != v.ID {
			continue
		}
		// The state must be there durably before the identity says so.
		state, _, err := v.openState(l.parts, "state", true)
		if err != nil {
			return err
		}
		if err := errors.Join(state.Close(), syncDir(v.FS, v.Dir)); err != nil {
			return err
		}
		v.id = &raftlog.Identity{Cluster: l.cfg.ClusterID, Voter: v.ID, Server: string(s.ID), State: "state", Vote: true}
		return v.store.Bootstrap(v.id, raft.EncodeConfiguration(conf))
	}
	return errors.New("an unfinished bootstrap had other voters")
}

// sort fails the voters that are not of the newest group, and opening if there
// is none at all or one is of another cluster.
func (l *Local) sort(voters []*voter) error {
	var recovery uint64
	var causes []error
	for _, v := range voters {
		if err := v.cause(); err != nil {
			causes = append(causes, fmt.Errorf("voter %s (%s): %w", v.ID, v.Dir, err))
		} else {
			recovery = max(recovery, v.id.Recovery)
		}
	}
	if len(causes) == len(voters) {
		return errors.Join(causes...)
	}
	for _, v := range voters {
		if v.cause() == nil && v.id.Recovery < recovery {
			v.fail(errors.New("voter was left out when the group was recovered"))
		}
	}
	return nil
}

// leadingConf returns the latest configuration of the most advanced voter and
// fails those that it does not name.
func (l *Local) leadingConf(voters []*voter) (raft.Configuration, error) {
	var best *voter
	for _, v := range voters {
		if v.cause() == nil && (best == nil || best.behind(v)) {
			best = v
		}
	}
	if best == nil {
		var errs []error
		for _, v := range voters {
			errs = append(errs, fmt.Errorf("voter %s (%s): %w", v.ID, v.Dir, v.cause()))
		}
		return raft.Configuration{}, errors.Join(errs...)
	}
	conf, err := best.latestConf()
	if err != nil {
		return conf, fmt.Errorf("voter %s: %w", best.ID, err)
	}
	for _, v := range voters {
		if v.cause() != nil || hasVote(conf, v.server) {
			continue
		}
		if v.id.Vote {
			v.fail(errors.New("voter was removed from the group"))
		} else {
			v.fail(fmt.Errorf("%w: its seeding was cut short", errEmpty))
		}
	}
	return conf, nil
}

// latestConf returns the newest configuration in state and log.
func (v *voter) latestConf() (raft.Configuration, error) {
	pos := v.fsm.position()
	conf := pos.conf
	first, _ := v.store.FirstIndex()
	last, _ := v.store.LastIndex()
	var l raft.Log
	for i := max(first, pos.confIndex+1); i != 0 && i <= last; i++ {
		if err := v.store.GetLog(i, &l); err != nil {
			return raft.Configuration{}, err
		}
		if l.Type == raft.LogConfiguration {
			conf = l.Data
		}
	}
	if len(conf) == 0 {
		return raft.Configuration{}, errors.New("voter knows no configuration")
	}
	return raft.DecodeConfiguration(conf), nil
}

// lastEntry returns term and index of the newest entry.
func (v *voter) lastEntry() (term, index uint64) {
	v.guard.use(func() {
		var l raft.Log
		last, _ := v.store.LastIndex()
		if last != 0 && v.store.GetLog(last, &l) == nil {
			term, index = l.Term, l.Index
		} else if n, err := v.store.Snapshot(); err == nil && n != nil {
			term, index = n.Term, n.Index
		}
	})
	return term, index
}

// behind reports whether Raft would rather have w lead.
func (v *voter) behind(w *voter) bool {
	t, i := v.lastEntry()
	u, j := w.lastEntry()
	return u > t || u == t && j > i
}

// run starts a voter's goroutines and connects it.
func (l *Local) run(v *voter) {
	l.connect(v)
	l.wg.Go(func() { l.follow(v) })
	l.wg.Go(func() { l.snapLoop(v) })
	// Nobody waits for this one: it asks a disk, which may hang.
	go func() {
		l.measure(v)
		l.keepBallast(v)
	}()
}

func (l *Local) voters() []*voter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*voter(nil), l.mu.voters...)
}

// connect lets v and the running others reach each other.
func (l *Local) connect(v *voter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.mu.voters {
		if w != v && w.trans != nil && !w.isDead() && !w.suspended.Load() {
			w.trans.Connect(v.trans.LocalAddr(), v.trans)
			v.trans.Connect(w.trans.LocalAddr(), w.trans)
		}
	}
	l.control.Connect(v.trans.LocalAddr(), v.trans)
}

// disconnect cuts v off, so that the others elect and stop waiting for it.
func (l *Local) disconnect(v *voter) {
	if v.trans == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v.trans.DisconnectAll()
	for _, w := range l.mu.voters {
		if w != v && w.trans != nil {
			w.trans.Disconnect(v.trans.LocalAddr())
		}
	}
	l.control.Disconnect(v.trans.LocalAddr())
}

// voterFailed stops a voter for good.
func (l *Local) voterFailed(v *voter, err error) {
	<-v.opened
	v.log.Error().Err(err).Str("dir", v.Dir).Msg("copy of the catalog has stopped")
	l.stats.stopped.Add(1)
	l.stop(v)
	l.cfg.OnStop(v.ID, err, l.hasQuorum())
}

// stop takes a voter out: it answers nothing more, and its stores are closed
// once nobody uses them.
func (l *Local) stop(v *voter) {
	l.mu.Lock()
	if v.isDead() {
		l.mu.Unlock()
		return
	}
	close(v.dead)
	l.mu.Unlock()
	l.lead.CompareAndSwap(v, nil)
	v.interrupt()
	l.disconnect(v)
	if !l.hasQuorum() {
		// What is in flight at the leader cannot be committed any more.
		for _, w := range l.voters() {
			l.lead.CompareAndSwap(w, nil)
			w.interrupt()
		}
	}
	if v.guard != nil {
		v.guard.off.Store(true)
	}
	if v.raft != nil {
		v.raft.Shutdown()
	}
	l.kick()
	go func() {
		if err := v.release(10 * time.Second); err != nil {
			v.log.Warn().Err(err).Msg("stores of a stopped copy were not closed")
		}
	}()
}

// changed wakes whoever waits for a leader.
func (l *Local) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.mu.changed)
	l.mu.changed = make(chan struct{})
}

// kick wakes the elector.
func (l *Local) kick() {
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// closeFlush bounds the flush of a graceful Close.
const closeFlush = 500 * time.Millisecond

// Close stops the group. What was acknowledged is durable without it; it
// flushes, for at most half a second, so that the next start replays little.
func (l *Local) Close() error {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return nil
	}
	l.mu.closed = true
	l.mu.Unlock()
	l.lead.Store(nil)
	l.readOnly.Store(nil)
	l.saveAll()
	l.cancel()
	l.changed()
	voters := l.voters()
	for _, v := range voters {
		l.stop(v)
	}
	l.wg.Wait()
	var errs []error
	deadline := time.After(10 * time.Second)
	for _, v := range voters {
		select {
		case <-v.closed:
		case <-deadline:
			errs = append(errs, fmt.Errorf("consensus: voter %s does not close", v.ID))
		}
	}
	l.parts.cache.Unref()
	return errors.Join(errs...)
}

// saveAll takes a last snapshot of each voter that has much to replay.
func (l *Local) saveAll() {
	var wg sync.WaitGroup
	for _, v := range l.voters() {
		if v.raft != nil && !v.isDead() && v.unsaved.Load() > 256<<10 {
			wg.Go(func() { _ = v.wait(v.raft.Snapshot()) })
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(closeFlush):
	}
}

// snapLoop takes a snapshot whenever enough log was written.
func (l *Local) snapLoop(v *voter) {
	for {
		select {
		case <-v.snapDue:
		case <-v.dead:
			return
		}
		saved := v.unsaved.Load()
		err := v.wait(v.raft.Snapshot())
		switch {
		case err == nil:
			v.unsaved.Add(-saved)
			l.stats.snapshots.Add(1)
		case v.isDead():
			return
		default:
			// The next append asks again.
			v.log.Debug().Err(err).Msg("no snapshot now")
		}
	}
}

// serverIDs returns the voters of a configuration.
func serverIDs(conf raft.Configuration) []string {
	var ids []string
	for _, s := range conf.Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}
