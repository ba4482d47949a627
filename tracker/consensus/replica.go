package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/internal/clock"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// Replica is one voter of a group whose other voters are in other processes:
// its own log and state, Raft over a network, and the other replicas' Peers.
// It implements Log and serves Peer.
//
// What is settled:
//
//   - Calls of Log answer tracker.ErrNotLeader at once on a replica that does
//     not lead; Leader says who does. They answer tracker.ErrUnavailable on
//     one that holds no voter yet, or has stopped.
//   - Reads are served under a lease (see lease), and ask the log where there
//     can be none: with Strict, while the membership changes, and in a term
//     whose leader tried to hand over.
//   - A group begins with the one replica that is told so (Bootstrap); the
//     others copy its state from any that has it and join. An emptied
//     directory comes back the same way, as another server of Raft, because
//     it does not know what the old one promised and voted.
//   - A replica whose disk hangs steps aside, and stops for good after a while,
//     or when it fails; the process should end then (OnStop).
//
// Goroutines: Raft's and its transport's; one that takes connections and one
// for each greeting; one that follows its leadership, one that takes
// snapshots, one that renews the lease while reads arrive, the watchdog, and
// one that fills an empty directory and keeps the membership true.
type Replica struct {
	cfg    ReplicaConfig
	parts  *parts
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	net    *network
	pledge *pledge
	lease  *lease
	pinger pinger
	others others
	lent   lent
	holds  holds
	stats  stats

	voter atomic.Pointer[voter] // whose Raft runs, or ran; nil while the directory is empty
	trans *transport            // its own; set before voter
	// unfinished says that the directory holds a copy that is not whole, mayVote
	// that the voter has noted that it may vote.
	unfinished, mayVote atomic.Bool
	// yields says that it was told to begin a group and leaves that to another.
	yields atomic.Bool
	// besideBusy is set while trackers that are no members are asked, besideAt
	// is when they were asked last; see lookBeside.
	besideBusy atomic.Bool
	besideAt   time.Time // of watch's goroutine
	// admin holds a token while a member is added or removed, changing while a
	// change of the membership is in Raft and its outcome is not known.
	admin, changing chan struct{}
	seed            atomic.Pointer[SeedProgress]

	mu struct {
		sync.Mutex
		changed chan struct{} // closed when it leads or holds a voter
		closed  bool
		trouble error // why the directory is not filled, or not yet a member
	}
}

var (
	_ Log  = (*Replica)(nil)
	_ Peer = (*Replica)(nil)
)

// OpenReplica opens the voter in the directory and starts it. An empty
// directory is filled in the background (see Ready and Status), unless this
// replica may begin a group and knows no other: then it has begun when this
// returns. It fails if the directory belongs to someone else or its voter
// cannot be opened, and if it is empty with nobody to ask. ctx bounds only the
// opening. The Listener is closed by Close, and after an error.
func OpenReplica(ctx context.Context, cfg ReplicaConfig) (*Replica, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		if cfg.Listener != nil {
			err = errors.Join(err, cfg.Listener.Close())
		}
		return nil, err
	}
	r := &Replica{cfg: cfg, admin: make(chan struct{}, 1), changing: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.mu.changed = make(chan struct{})
	r.parts = &parts{cfg: cfg.settings(), cache: kv.NewCache(cfg.CacheBytes, 1), keep: cfg.KeepBytes, ring: 8 << 20}
	r.pledge = &pledge{now: cfg.Clock.Now}
	r.lease = newLease(cfg.Clock.Now)
	r.pinger.kick = make(chan struct{}, 1)
	r.others.known = make(map[string]*other)
	r.lent.held = make(map[string]*holding)
	r.net = newNetwork(&r.cfg, r.leftOut)
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("consensus: open replica %s: %w", cfg.ID, err), r.Close())
	}
	r.wg.Go(r.watch)
	r.wg.Go(r.renew)
	r.wg.Go(r.belong)
	return r, nil
}

func (r *Replica) open(ctx context.Context) error {
	v := newVoter(r.cfg.Voter, r.cfg.Machine, r.parts, r.voterFailed)
	err := v.openLog(r.parts, false)
	switch {
	case err == nil:
		err = v.assemble(r.parts)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = r.start(v)
		}
	case errors.Is(err, errEmpty):
		if err := r.discard(v, errEmpty); err != nil {
			return err
		}
		_, missing := r.cfg.FS.Stat(v.path(seedDir))
		r.unfinished.Store(missing == nil)
		switch {
		case r.hasOthers():
			return nil
		case r.cfg.Bootstrap:
			return r.bootstrap()
		}
		return fmt.Errorf("%w and no other tracker is named to copy from: name them with --trackers, or begin a new catalog with --bootstrap", err)
	}
	if err != nil {
		return r.discard(v, err)
	}
	close(v.opened)
	return nil
}

// discard closes what is open of a voter that was not started, for a reason,
// and returns that unless the directory is just empty.
func (r *Replica) discard(v *voter, reason error) error {
	v.retire(reason)
	close(v.dead)
	close(v.opened)
	if err := v.release(time.Second); err != nil || !errors.Is(reason, errEmpty) {
		return errors.Join(reason, err)
	}
	return nil
}

func (r *Replica) hasOthers() bool {
	for _, m := range r.cfg.Members {
		if m.ID != r.cfg.ID {
			return true
		}
	}
	return false
}

// bootstrap begins a group of this replica alone. The directory is empty, or a
// bootstrap was cut short there.
func (r *Replica) bootstrap() error {
	v := newVoter(r.cfg.Voter, r.cfg.Machine, r.parts, r.voterFailed)
	err := v.openLog(r.parts, true)
	if err == nil && v.id != nil {
		err = errors.New("directory holds a voter")
	}
	if err == nil {
		err = r.checkBlank(v)
	}
	if err == nil {
		s := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(newServer(v.ID)), Address: raft.ServerAddress(r.cfg.Advertise)}
		err = v.begin(r.parts, raft.Configuration{Servers: []raft.Server{s}})
	}
	if err == nil {
		err = v.assemble(r.parts)
	}
	if err == nil {
		r.cfg.Logger.Info().Str("voter", v.ID).Str("dir", v.Dir).Msg("new catalog is begun")
		err = r.start(v)
	}
	if err != nil {
		return fmt.Errorf("begin a catalog: %w", r.discard(v, err))
	}
	close(v.opened)
	return nil
}

// checkBlank refuses a directory in which the copy of a catalog was begun: there
// was one, so a new one must not take its place. The state of a bootstrap that was
// cut short holds nothing.
func (r *Replica) checkBlank(v *voter) error {
	index := uint64(0)
	if _, err := v.FS.Stat(v.path("state")); err == nil {
		s, pos, err := v.openState(r.parts, "state")
		if err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		index = pos.index
	}
	if index != 0 || r.unfinished.Load() {
		return fmt.Errorf("%s holds an unfinished copy of a catalog that no other replica has any more; empty it to begin a new one", v.Dir)
	}
	return nil
}

// start runs an assembled voter. What it promised before is not known, so it
// takes part in no election for a HeartbeatTimeout, unless it is the only voter.
func (r *Replica) start(v *voter) error {
	conf, err := v.latestConf()
	if err != nil {
		return err
	}
	alone := len(serverIDs(conf)) == 1 && hasVote(conf, v.server)
	if !alone {
		r.pledge.make(0, "", r.cfg.Clock.Now().Add(r.cfg.HeartbeatTimeout))
	}
	v.fsm.confs = r.confApplied
	r.mayVote.Store(v.id.Vote)
	r.trans = newTransport(r.net, r.pledge, &r.parts.cfg, v)
	if err := v.start(r.parts, r.trans); err != nil {
		return errors.Join(err, r.trans.Close())
	}
	r.others.set(v.fsm.position())
	r.voter.Store(v)
	r.net.serve(v.server, v.recovery)
	r.wg.Go(func() { r.follow(v) })
	r.wg.Go(func() { v.snapLoop(&r.stats) })
	// Nobody waits for this one: it asks a disk, which may hang.
	go func() {
		v.measure(&r.parts.cfg)
		v.keepBallast(&r.parts.cfg)
	}()
	if alone {
		// Nobody else can lead, so it need not wait to hear of one.
		r.trans.hand(raft.RPC{
			Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}},
			RespChan: make(chan raft.RPCResponse, 1),
		})
	}
	r.wake()
	return nil
}

// wake wakes whoever waits for this replica to lead or to hold a voter.
func (r *Replica) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.mu.changed)
	r.mu.changed = make(chan struct{})
}

// Ready returns once this replica holds a voter that the group counts: at once
// after an ordinary start, after seeding for an empty directory.
func (r *Replica) Ready(ctx context.Context) error {
	for {
		r.mu.Lock()
		changed, closed, trouble := r.mu.changed, r.mu.closed, r.mu.trouble
		r.mu.Unlock()
		v := r.voter.Load()
		switch {
		case closed:
			return fmt.Errorf("%w: closed", tracker.ErrUnavailable)
		case v != nil && v.cause() != nil:
			return fmt.Errorf("%w: %w", tracker.ErrUnavailable, v.cause())
		case v != nil && r.others.isVoter(v.server):
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), trouble)
		}
	}
}

// running returns the voter: tracker.ErrUnavailable where there is none.
func (r *Replica) running() (*voter, error) {
	v := r.voter.Load()
	if v == nil {
		return nil, fmt.Errorf("%w: this replica holds no catalog yet", tracker.ErrUnavailable)
	}
	if v.isDead() || v.cause() != nil {
		return nil, fmt.Errorf("%w: this replica has stopped", tracker.ErrUnavailable)
	}
	return v, nil
}

// confApplied takes note of a configuration that was committed.
func (r *Replica) confApplied(pos position) {
	r.others.set(pos)
	r.wake()
}

// voterFailed stops the replica for good.
func (r *Replica) voterFailed(v *voter, err error) {
	<-v.opened
	if r.voter.Load() != v {
		return // it was never started, and who tried to has the error
	}
	v.log.Error().Err(err).Str("dir", v.Dir).Msg("copy of the catalog has stopped")
	r.stats.stopped.Add(1)
	r.stop(v)
	r.wake()
	r.cfg.OnStop(err)
}

// leftOut ends a replica that met a group which was recovered without it.
func (r *Replica) leftOut(uint64) {
	if v := r.voter.Load(); v != nil {
		v.fail(ErrLeftOut)
	}
}

// stop takes the voter out: it answers nothing more, and its stores are closed
// once nobody uses them.
func (r *Replica) stop(v *voter) {
	r.mu.Lock()
	if v.isDead() {
		r.mu.Unlock()
		return
	}
	close(v.dead)
	r.mu.Unlock()
	r.lease.end()
	v.interrupt()
	r.net.setShut(true)
	ended := v.raft.Shutdown()
	go func() {
		// Raft ends at once, unless its disk hangs. What is left of it after
		// that finds its log closed.
		waited := make(chan struct{})
		go func() {
			_ = ended.Error()
			close(waited)
		}()
		select {
		case <-waited:
		case <-time.After(time.Second):
		}
		v.guard.off.Store(true)
		_ = r.trans.Close()
		if err := v.release(10 * time.Second); err != nil {
			v.log.Warn().Err(err).Msg("stores of a stopped copy were not closed")
		}
	}()
}

// Close hands leadership over, flushes for at most half a second, and stops.
// What was acknowledged is durable without it.
func (r *Replica) Close() error {
	r.mu.Lock()
	if r.mu.closed {
		r.mu.Unlock()
		return nil
	}
	r.mu.closed = true
	r.mu.Unlock()
	v := r.voter.Load()
	if v != nil && !v.isDead() {
		r.handOver(v)
		saveAll([]*voter{v})
	}
	r.cancel()
	r.wake()
	var err error
	if v != nil {
		r.stop(v)
	}
	err = r.net.Close()
	ended := make(chan struct{})
	go func() {
		r.wg.Wait()
		if v != nil {
			<-v.closed
		}
		close(ended)
	}()
	select {
	case <-ended:
		r.parts.cache.Unref()
	case <-time.After(10 * time.Second):
		// What waits for a disk is left behind.
		err = errors.Join(err, fmt.Errorf("consensus: replica %s does not close", r.cfg.ID))
	}
	r.lent.clear()
	return err
}

// sleep waits by the clock; false if the replica is closed meanwhile.
func (r *Replica) sleep(d time.Duration) bool { return sleep(r.ctx, r.cfg.Clock, d) }

func sleep(ctx context.Context, c clock.Clock, d time.Duration) bool {
	select {
	case <-c.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
