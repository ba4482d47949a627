package consensus

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/tracker/consensus/raftlog"
	"holdfast/tracker/kv"
)

// errEmpty is what a voter without an identity is: lost, or never begun.
var errEmpty = errors.New("directory holds no voter")

// voter is one copy of log and state and its Raft.
type voter struct {
	Voter
	machine Machine
	log     zerolog.Logger
	onFail  func(*voter, error)

	id *raftlog.Identity // changed only while Raft does not run, or by its state machine
	// server and recovery are the identity's; they do not change.
	server   string
	recovery uint64
	store    *raftlog.Store
	guard    *guard
	fsm      *fsm
	snaps    *snapshots
	trans    *raft.InmemTransport // in one process, else nil
	raft     *raft.Raft
	batch    *batcher

	clk     clock.Clock
	notify  chan bool
	snapDue chan struct{}
	unsaved atomic.Uint64 // bytes of log since the last snapshot

	serving   atomic.Uint64 // term in which this voter leads and has applied all before; 0
	gain      sync.Mutex    // held while it begins to serve
	suspended atomic.Bool
	leaving   atomic.Bool // is being replaced and should not be elected, or opened anew
	space     spaceState

	down struct { // closed when proposals in flight here are uncertain
		sync.Mutex
		ch chan struct{}
	}
	opened chan struct{} // closed when opening is over, well or not
	dead   chan struct{} // closed when the voter has stopped; another takes its place, if any
	closed chan struct{} // closed when its stores are
	life   sync.Mutex    // held by work on the stores beside Raft, and by closing them
	once   sync.Once
	err    atomic.Pointer[error]
}

// parts is what voters of one group share.
type parts struct {
	cfg   settings
	cache *kv.Cache
	keep  uint64
	ring  int
}

func newVoter(v Voter, m Machine, p *parts, onFail func(*voter, error)) *voter {
	w := &voter{
		Voter: v, machine: m, onFail: onFail, clk: p.cfg.Clock,
		log:     p.cfg.Logger.With().Str("voter", v.ID).Logger(),
		notify:  make(chan bool, 64),
		snapDue: make(chan struct{}, 1),
		opened:  make(chan struct{}),
		dead:    make(chan struct{}),
		closed:  make(chan struct{}),
	}
	w.down.ch = make(chan struct{})
	return w
}

func (v *voter) path(name string) string { return v.FS.PathJoin(v.Dir, name) }

// newServer returns the voter's name in Raft. A voter that begins from
// nothing is another server: it does not know what the old one voted.
func newServer(id string) string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return id + "." + hex.EncodeToString(b[:])
}

// voterOf returns the voter's ID of a server's name.
func voterOf(s raft.ServerID) string {
	id, _, _ := strings.Cut(string(s), ".")
	return id
}

// openLog opens the log and reads the identity: errEmpty if there is none.
func (v *voter) openLog(p *parts, create bool) (err error) {
	if _, err := v.FS.Stat(v.path("log")); err != nil && !create {
		return errEmpty
	}
	opts := raftlog.Options{
		Options:     kv.Options{CacheBytes: 1 << 20, MemTableBytes: 8 << 20, MaxOpenFiles: 100, Logger: v.log},
		KeepBytes:   p.keep,
		RecentBytes: p.ring,
	}
	if create {
		if err := makeDir(v.FS, v.Dir); err != nil {
			return err
		}
		if err := v.make("log", func(dir string) (io.Closer, error) { return raftlog.Open(v.FS, dir, opts) }); err != nil {
			return err
		}
	}
	opts.OnFailure, opts.MustExist = v.fail, true
	if v.store, err = raftlog.Open(v.FS, v.path("log"), opts); err != nil {
		return err
	}
	if v.id, err = v.store.Identity(); err != nil {
		return err
	}
	switch {
	case v.id == nil && !create:
		return errEmpty
	case v.id != nil && v.id.Cluster != p.cfg.ClusterID:
		return fmt.Errorf("voter belongs to cluster %s, and this is %s; give this process that cluster's secret, or if the secret was changed, --cluster-id %[1]s", v.id.Cluster, p.cfg.ClusterID)
	case v.id != nil && v.id.Voter != v.ID:
		return fmt.Errorf("directory belongs to voter %s", v.id.Voter)
	}
	return nil
}

// make makes a store in the voter's directory, unless it is there. It appears
// whole or not at all: a crash while Pebble makes a store can leave one that
// cannot be opened, which must not look like a store that has rotted.
func (v *voter) make(name string, open func(dir string) (io.Closer, error)) error {
	if _, err := v.FS.Stat(v.path(name)); err == nil {
		return nil
	}
	tmp := v.path(name + ".new")
	if err := v.FS.RemoveAll(tmp); err != nil {
		return err
	}
	s, err := open(tmp)
	if err != nil {
		return err
	}
	return errors.Join(s.Close(), v.FS.Rename(tmp, v.path(name)), syncDir(v.FS, v.Dir))
}

// openState opens the state store and checks that it holds what was promised.
func (v *voter) openState(p *parts, name string) (*kv.Store, position, error) {
	s, err := kv.Open(v.FS, v.path(name), kv.Options{
		Cache: p.cache, MaxOpenFiles: 1000, MustExist: true, Logger: v.log, OnFailure: v.fail,
	})
	if err != nil {
		return nil, position{}, err
	}
	pos, err := readPosition(s)
	if err == nil && v.store != nil {
		var snap *raftlog.Snapshot
		if snap, err = v.store.Snapshot(); err == nil && snap != nil && pos.index < snap.Index {
			err = fmt.Errorf("state is at entry %d, but %d was flushed: it was rolled back", pos.index, snap.Index)
		}
	}
	if err != nil {
		return nil, pos, errors.Join(err, s.Close())
	}
	return s, pos, nil
}

// assemble opens the state named by the identity and makes the machine run on
// it up to what is known to be committed.
func (v *voter) assemble(p *parts) error {
	v.server, v.recovery = v.id.Server, v.id.Recovery
	v.sweep()
	s, pos, err := v.openState(p, v.id.State)
	if err != nil {
		return err
	}
	if snap, err := v.store.Snapshot(); err != nil {
		return errors.Join(err, s.Close())
	} else if snap != nil && snap.ConfIndex > pos.confIndex {
		// A recovery chose a configuration beside the log.
		pos.conf, pos.confIndex = snap.Conf, snap.ConfIndex
	}
	v.fsm = &fsm{machine: v.machine, fail: v.fail, now: p.cfg.Clock.Now}
	v.fsm.state.Store(newHandle(s))
	v.fsm.mu.pos = pos
	v.fsm.applied.Store(pos.index)
	v.guard = &guard{Store: v.store, fail: v.fail, now: p.cfg.Clock.Now, resumed: func() {}}
	v.guard.grown = func(n uint64) {
		if v.unsaved.Add(n) >= p.cfg.SnapshotBytes {
			select {
			case v.snapDue <- struct{}{}:
			default:
			}
		}
	}
	v.snaps = &snapshots{fs: v.FS, dir: v.Dir, log: v.guard, state: v.fsm.state.Load}
	v.fsm.restore = func() error { return v.install(p) }
	v.batch = newBatcher(v, p.ring == 0)
	return v.replay(v.store.Committed())
}

// replay applies the log's entries up to index, which are committed.
func (v *voter) replay(index uint64) error {
	logs := make([]*raft.Log, 0, 64)
	for i := v.fsm.position().index + 1; i <= index; {
		logs = logs[:0]
		for ; i <= index && len(logs) < cap(logs); i++ {
			l := new(raft.Log)
			if err := v.store.GetLog(i, l); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
			v.unsaved.Add(uint64(len(l.Data)))
			logs = append(logs, l)
		}
		for _, r := range v.fsm.ApplyBatch(logs) {
			if r == any(errStopped) {
				return errStopped
			}
		}
	}
	return nil
}

// sweep removes what seeding and streaming left behind at a crash.
func (v *voter) sweep() {
	names, err := v.FS.List(v.Dir)
	if err != nil {
		return
	}
	for _, n := range names {
		if n != v.id.State && (strings.HasPrefix(n, "state") || strings.HasPrefix(n, "checkpoint-") || n == seedDir) {
			if err := v.FS.RemoveAll(v.path(n)); err != nil {
				v.log.Warn().Err(err).Str("name", n).Msg("cannot remove an old state")
			}
		}
	}
}

// install moves the voter to the state that was received in band. It runs in
// the state machine's thread.
func (v *voter) install(p *parts) error {
	in := v.snaps.take()
	if in == nil {
		return errors.New("consensus: no state was received")
	}
	s, pos, err := v.openState(p, in.name)
	if err != nil {
		return err
	}
	if pos.index < in.snap.Index {
		return errors.Join(fmt.Errorf("consensus: received state is at %d, not %d", pos.index, in.snap.Index), s.Close())
	}
	id := *v.id
	id.State = in.name
	if err := v.store.Install(&id, &in.snap); err != nil {
		return errors.Join(err, s.Close())
	}
	old := v.fsm.state.Swap(newHandle(s))
	gone := v.path(v.id.State)
	v.id, v.fsm.mu.pos = &id, pos
	v.fsm.applied.Store(pos.index)
	v.log.Warn().Uint64("index", pos.index).Msg("state was taken over from another voter")
	go func() {
		if err := errors.Join(old.close(time.Minute), v.FS.RemoveAll(gone)); err != nil {
			v.log.Warn().Err(err).Msg("cannot remove an old state")
		}
	}()
	return nil
}

// startLocal runs Raft on a transport within this process.
func (v *voter) startLocal(p *parts) error {
	_, v.trans = raft.NewInmemTransportWithTimeout(raft.ServerAddress(v.server), p.cfg.HeartbeatTimeout)
	return v.start(p, v.trans)
}

// start runs Raft. It returns once Raft has read the log.
func (v *voter) start(p *parts, trans raft.Transport) error {
	hb := p.cfg.HeartbeatTimeout
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(v.server)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = hb, hb, hb/2
	conf.CommitTimeout = p.cfg.commitTimeout
	conf.MaxAppendEntries, conf.BatchApplyCh = 64, true
	// Snapshots are taken by bytes (see snapLoop), and the log keeps bytes.
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = 24*time.Hour, ^uint64(0), 1
	conf.NoSnapshotRestoreOnStart, conf.RestoreCommittedLogs = true, true
	conf.ShutdownOnRemove, conf.NoLegacyTelemetry = false, true
	conf.NotifyCh = v.notify
	conf.Logger = raftLogger(v.log)
	type result struct {
		r   *raft.Raft
		err error
	}
	ch := make(chan result, 2)
	go func() {
		// The guard ends this goroutine on an I/O error, and Raft panics over
		// a log with a hole.
		defer func() {
			if p := recover(); p != nil {
				ch <- result{nil, fmt.Errorf("log cannot be read: %v", p)}
			}
			ch <- result{nil, errors.Join(errStopped, v.cause())}
		}()
		r, err := raft.NewRaft(conf, v.fsm, v.guard, v.guard, v.snaps, trans)
		ch <- result{r, err}
	}()
	res := <-ch
	if res.err != nil {
		return res.err
	}
	v.raft = res.r
	return nil
}

// fail reports the error that ends the voter; it may be called by anyone, in
// any state, and does not wait.
func (v *voter) fail(err error) {
	v.once.Do(func() {
		v.err.Store(&err)
		go v.onFail(v, err)
	})
}

// retire gives a voter that is being stopped a reason, unless it has one.
func (v *voter) retire(err error) {
	v.once.Do(func() { v.err.Store(&err) })
}

func (v *voter) cause() error {
	if p := v.err.Load(); p != nil {
		return *p
	}
	return nil
}

// downCh returns a channel that is closed when the voter steps aside or stops.
func (v *voter) downCh() <-chan struct{} {
	v.down.Lock()
	defer v.down.Unlock()
	return v.down.ch
}

// interrupt makes all that waits on this voter's proposals give up.
func (v *voter) interrupt() {
	v.serving.Store(0)
	v.down.Lock()
	defer v.down.Unlock()
	close(v.down.ch)
	v.down.ch = make(chan struct{})
}

func (v *voter) isDead() bool {
	select {
	case <-v.dead:
		return true
	default:
		return false
	}
}

// wait waits for a future of Raft, which gives no answer if Raft was stopped
// or hangs.
func (v *voter) wait(f raft.Future) error {
	down := v.downCh()
	ch := make(chan error, 1)
	go func() { ch <- f.Error() }()
	select {
	case err := <-ch:
		return err
	case <-down:
		return errStopped
	case <-v.dead:
		return errStopped
	}
}

// release stops Raft's access to the stores and closes them. It may wait for
// a hanging disk.
func (v *voter) release(patience time.Duration) error {
	v.life.Lock()
	defer v.life.Unlock()
	defer close(v.closed)
	var errs []error
	if v.guard != nil {
		v.guard.shut()
	}
	if v.fsm != nil {
		v.fsm.stop()
		errs = append(errs, v.fsm.state.Load().close(patience))
	}
	if v.store != nil {
		errs = append(errs, v.store.Close())
	}
	return errors.Join(errs...)
}

// diskSpace asks the voter's file system.
func diskSpace(v Voter) (free, total uint64, err error) {
	u, err := v.FS.GetDiskUsage(v.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return 0, 0, nil
	}
	return u.AvailBytes, u.TotalBytes, err
}
