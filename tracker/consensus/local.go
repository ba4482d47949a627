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
// that takes snapshots, and for one that has stopped one that looks whether it
// can be opened anew; for the group one that elects and the watchdog.
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
	l.parts = &parts{cfg: cfg.settings(), cache: kv.NewCache(cfg.CacheBytes, len(cfg.Voters))}
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
	l.each(voters, func(v *voter) error { return v.startLocal(l.parts) })
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
	_, err = l.await(ctx, openPatience)
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

// run starts a voter's goroutines and connects it.
func (l *Local) run(v *voter) {
	l.connect(v)
	l.wg.Go(func() { l.follow(v) })
	l.wg.Go(func() { v.snapLoop(&l.stats) })
	// Nobody waits for this one: it asks a disk, which may hang.
	go func() {
		v.measure(&l.parts.cfg)
		v.keepBallast(&l.parts.cfg)
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
