package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/fault"
	"holdfast/internal/peer"
	"holdfast/internal/rpc"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	storageremote "holdfast/storage/remote"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	trackerremote "holdfast/tracker/remote"
	"holdfast/tracker/service"
	"holdfast/tracker/worker"
)

// TrackerConfig says what tracker to run.
type TrackerConfig struct {
	Common
	ID        string // for ever the same; "" is made of Advertise, see TrackerID
	Dir       string // absolute
	Advertise string // host:port under which the others reach this process
	// Bootstrap lets this tracker begin a new cluster, if its directory and
	// those of all other Trackers are empty.
	Bootstrap bool
	Listener  *peer.Listener // for peer.Control and peer.Raft
	Strict    bool           // reads ask the log, and trust no clock
	Tune      Tune
	Between   Between
}

// Between lets a test stand between the background workers and what they act
// on. Nil functions change nothing.
type Between struct {
	Nodes func(storage.Nodes) storage.Nodes
	Store func(worker.Store) worker.Store
}

// Tune holds what tests make shorter or smaller. Zero fields are the
// defaults of production.
type Tune struct {
	TicketLife    time.Duration // a grant may be committed under
	Grace         time.Duration // of readers, before deleted shards are dropped
	Suspect, Down time.Duration // silence after which a node is so
	HoleDelay     time.Duration // how long a hole may fill by itself
	RepairRate    int64         // bytes a second
	SnapshotBytes uint64        // of log between flushes of the catalog
	KeepBytes     uint64        // of log behind a flush
	SeedRate      int64         // bytes a second copied by a tracker that joins
	MinFree       uint64        // bytes free on a tracker's disk under which growth is refused
	Ballast       int64         // bytes kept to recover a full disk with; -1 for none
	InlineBudget  int64         // bytes of small objects in the catalog
}

// Tracker is a process with a copy of the catalog.
type Tracker struct {
	cfg     TrackerConfig
	cluster string
	peers   *trackerremote.Peers
	nodes   *storageremote.Nodes
	replica *consensus.Replica
	cat     *service.Catalog
	svc     *service.Service
	workers *worker.Workers
	reads   reads
	stopped chan error // the replica's own end
}

// TrackerID is the id of a tracker that was given none: its address, without
// what an id may not have.
func TrackerID(advertise string) string {
	return strings.NewReplacer(".", "-", ":", "-", "[", "", "]", "").Replace(advertise)
}

// NewTracker opens the copy of the catalog in the directory, and starts to
// fill one that is empty from the other trackers.
func NewTracker(ctx context.Context, cfg TrackerConfig) (*Tracker, error) {
	cfg.setDefaults()
	if cfg.ID == "" {
		cfg.ID = TrackerID(cfg.Advertise)
	}
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	}
	if err := notOfStorage(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	}
	if cut, err := recovering(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	} else if cut {
		return nil, fmt.Errorf("%w: a recovery of %s was cut short; run holdfast tracker recover %[2]s again", ErrRefused, cfg.Dir)
	}
	if apart, err := marked(cfg.FS, cfg.Dir, apartName); err != nil {
		return nil, err
	} else if apart {
		return nil, fmt.Errorf("%w: this copy of the catalog, in %s, and another were recovered apart; stop all trackers, run holdfast tracker recover on the one to be kept, and empty the directories of the others", ErrRefused, cfg.Dir)
	}
	t := &Tracker{cfg: cfg, cluster: cfg.Access.Cluster(), stopped: make(chan error, 1), reads: newReads(cfg.Clock)}
	t.peers = trackerremote.NewPeers(cfg.Access.dial(peer.Tracker, peer.Control))
	t.nodes = storageremote.NewNodes(storageremote.Config{
		DialData: cfg.Access.dial(peer.Storage, peer.Data), DialControl: cfg.Access.dial(peer.Storage, peer.Control),
		Incarnation: func() string { return t.svc.Incarnation() },
	})
	var err error
	t.replica, err = consensus.OpenReplica(ctx, consensus.ReplicaConfig{
		Voter: consensus.Voter{ID: cfg.ID, FS: cfg.FS, Dir: cfg.Dir}, ClusterID: t.cluster, Advertise: cfg.Advertise,
		Listener: cfg.Listener.Protocol(peer.Raft), Dial: cfg.Access.dial(peer.Tracker, peer.Raft), Peer: t.peers.Peer,
		Members: t.members(), Bootstrap: cfg.Bootstrap, Machine: catalog.NewMachine(), Logger: cfg.Log, Clock: cfg.Clock, Strict: cfg.Strict,
		SnapshotBytes: cfg.Tune.SnapshotBytes, KeepBytes: cfg.Tune.KeepBytes, SeedRate: cfg.Tune.SeedRate,
		MinFree: cfg.Tune.MinFree, BallastBytes: cfg.Tune.Ballast,
		OnStop: func(err error) {
			if errors.Is(err, consensus.ErrApart) {
				err = errors.Join(err, markApart(cfg.FS, cfg.Dir))
			}
			t.stopped <- err
		},
	})
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("%w; another process has %s open: stop it, or give another directory", err, cfg.Dir)
	}
	if err != nil {
		return nil, err
	}
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// notOfStorage refuses a storage node's directory for a new copy of the
// catalog: what empties or replaces the one would take the other with it.
func notOfStorage(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(fs.PathJoin(dir, "log")); err == nil {
		return nil // it has one
	}
	if _, err := node.ReadIdentity(fs, dir); !errors.Is(err, node.ErrNoIdentity) {
		return fmt.Errorf("%w: %s is a storage node's directory; give the tracker one of its own", ErrRefused, dir)
	}
	return nil
}

// timeMargin is more than catalog time, which garbage is stamped with, may be
// behind the estimate of it that reads are told by, in ms.
const timeMargin = 2 * 60 * 1000

// members are the trackers that this one was told of. Their ids are those of
// trackers that were given none; the group's own rows have the true ones.
func (t *Tracker) members() (out []consensus.Member) {
	for _, addr := range t.cfg.Trackers {
		id := TrackerID(addr)
		if addr == t.cfg.Advertise {
			id = t.cfg.ID
		}
		out = append(out, consensus.Member{ID: id, Addr: addr})
	}
	return out
}

// open makes the service and the workers over the replica.
func (t *Tracker) open() error {
	t.cat = service.NewReplicated(t.replica, t.cfg.Clock)
	cfg := service.Default()
	cfg.Poll, cfg.Replicated, cfg.Levels, cfg.ClockTrusted = false, true, t.levels, t.clocksAgree
	keys := t.cfg.Access.Secret.TicketKeys()
	cfg.SignTickets, cfg.TicketKey, cfg.OldTicketKeys = true, keys[0], keys[1:]
	tune := t.cfg.Tune
	setIf(&cfg.TicketLife, tune.TicketLife)
	setIf(&cfg.SuspectAfter, tune.Suspect)
	setIf(&cfg.DownAfter, tune.Down)
	cfg.Beat = min(cfg.Beat, cfg.SuspectAfter/2)
	cfg.InlineBudget = t.inlineBudget()
	var err error
	t.svc, err = service.New(cfg, t.cat, t.cat, t.cat, t.nodes, t.cfg.Clock, t.cfg.Log)
	if err != nil {
		return err
	}
	t.svc.Watch(func(m *tracker.Map) { t.nodes.Update(addresses(m)) })
	work := worker.Default()
	setIf(&work.Garbage.Grace, tune.Grace)
	setIf(&work.Repair.HoleDelay, tune.HoleDelay)
	setIf(&work.Repair.Rate, tune.RepairRate)
	work.Garbage.OldestRead = func() int64 { return t.reads.oldest(t.svc.Now() - timeMargin) }
	var store worker.Store = worker.NewStore(t.cat, worker.DefaultRetention())
	var nodes storage.Nodes = t.nodes
	if f := t.cfg.Between.Store; f != nil {
		store = f(store)
	}
	if f := t.cfg.Between.Nodes; f != nil {
		nodes = f(nodes)
	}
	t.workers, err = worker.New(work, t.svc, store, nodes, t.cfg.Clock, t.cfg.Log)
	if err != nil {
		return err
	}
	t.svc.SetOperations(service.Operations{Progress: t.workers.Progress, Voters: t.voters, Repair: t.workers.Repair,
		Fsck: t.workers.Fsck, RemoveTracker: t.remove})
	return nil
}

func setIf[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// The catalog keeps small objects up to a tenth of its disk, and at most so
// many bytes (SAFETY B6).
const maxInlineBudget = 16 << 30

func (t *Tracker) inlineBudget() int64 {
	if b := t.cfg.Tune.InlineBudget; b != 0 {
		return b
	}
	budget := int64(maxInlineBudget)
	if u, err := t.cfg.FS.GetDiskUsage(t.cfg.Dir); err == nil {
		budget = min(budget, int64(u.TotalBytes/10))
	}
	return budget
}

// Run serves until ctx ends, the port fails, or the copy of the catalog stops.
func (t *Tracker) Run(ctx context.Context) error {
	services := trackerremote.Services(trackerremote.ServerConfig{Tracker: t.svc, Leader: t.leader, Reads: t.reads.tell, Held: t.svc.Held, Clock: t.cfg.Clock, Log: t.cfg.Log})
	services = append(services, trackerremote.PeerService(t.replica, t.cfg.Log), factsService(t.cfg.Log, t.facts))
	control, err := rpc.NewServer(services...)
	if err != nil {
		return err
	}
	l := newLoops(ctx)
	l.serve("port", t.cfg.Listener.Run, func() { _ = t.cfg.Listener.Close() })
	l.serve("control", func() error { return control.Serve(t.cfg.Listener.Protocol(peer.Control)) }, func() { control.Close(time.Second) })
	l.start("name", t.name)
	l.start("service", t.svc.Run)
	l.start("workers", t.workers.Run)
	l.start("catalog", func(ctx context.Context) error {
		select {
		case err := <-t.stopped:
			return fmt.Errorf("copy of the catalog in %s stopped: %w", t.cfg.Dir, err)
		case <-ctx.Done():
			return nil
		}
	})
	return l.wait(ctx)
}

// Close stops the copy of the catalog. Run must have returned.
func (t *Tracker) Close() error {
	err := t.replica.Close()
	t.peers.Close()
	return errors.Join(err, t.nodes.Close())
}

// leader is the address of the tracker that leads, "" if that is not known.
func (t *Tracker) leader() string {
	_, addr, _ := t.replica.Leader()
	return addr
}

// name gives a catalog that was just begun its name and its incarnation.
func (t *Tracker) name(ctx context.Context) error {
	for {
		if err := t.nameOnce(ctx); err != nil && ctx.Err() == nil && fault.KindOf(err) != fault.NotLeader {
			t.cfg.Log.Warn().Err(err).Msg("new catalog could not be named; trying again")
		}
		if err := pause(ctx, t.cfg.Clock, time.Second/4); err != nil {
			return err
		}
	}
}

func (t *Tracker) nameOnce(ctx context.Context) error {
	if _, leads := t.replica.LeaderEpoch(); !leads {
		return nil
	}
	s, err := t.cat.State(ctx)
	if err != nil || s.Cluster != "" {
		return err
	}
	if err := t.cat.SetIdentity(ctx, t.cluster, uuid.NewString()); err != nil {
		return err
	}
	return t.svc.Reread(ctx)
}

// facts is what this process says of itself.
func (t *Tracker) facts(ctx context.Context) *Facts {
	_, leads := t.replica.LeaderEpoch()
	f := &Facts{Role: peer.Tracker, Ready: true, Level: catalog.Level, Clock: t.cfg.Clock.Now().UnixMilli(), Leader: leads}
	st := t.replica.Status()
	switch {
	case st.Trouble != "":
		f.Ready, f.Why = false, st.Trouble
	case st.Leader == "":
		f.Ready, f.Why = false, "no tracker leads; are a majority of them running and reachable?"
	case leads:
		if err := t.svc.Held(ctx); errors.Is(err, tracker.ErrHeld) {
			f.Ready, f.Why = false, err.Error()
		}
	}
	return f
}

// others asks the other voters for their facts, all at once.
func (t *Tracker) others(ctx context.Context) (facts []*Facts, voters int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	type answer struct {
		f   *Facts
		err error
	}
	answers := make(chan answer)
	asked := 0
	for _, m := range t.replica.Status().Members {
		if !m.Voter {
			continue
		}
		voters++
		if m.Self {
			continue
		}
		asked++
		go func() {
			var a answer
			c, err := t.peers.Client(m.Addr)
			if a.err = err; err == nil {
				a.f, a.err = askFacts(ctx, c)
			}
			if a.err != nil {
				a.err = fmt.Errorf("tracker %s: %w", m.ID, a.err)
			}
			answers <- a
		}()
	}
	for range asked {
		if a := <-answers; a.err != nil {
			err = errors.Join(err, a.err)
		} else {
			facts = append(facts, a.f)
		}
	}
	return facts, voters, err
}

// levels is the lowest feature level of all voters, each of which must answer.
func (t *Tracker) levels(ctx context.Context) (uint64, error) {
	facts, _, err := t.others(ctx)
	level := uint64(catalog.Level)
	for _, f := range facts {
		level = min(level, f.Level)
	}
	return level, err
}

// clocksAgree reports whether a majority of the voters has this one's clock
// (SAFETY A9).
func (t *Tracker) clocksAgree() bool {
	facts, voters, _ := t.others(context.Background())
	agree := 1
	for _, f := range facts {
		if d := t.cfg.Clock.Now().Sub(time.UnixMilli(f.Clock)); d.Abs() <= clockTolerance {
			agree++
		}
	}
	return voters > 1 && agree > voters/2
}

// voters is the copies of the catalog, for Status.
func (t *Tracker) voters() (leader string, out []tracker.Voter) {
	st := t.replica.Status()
	for _, m := range st.Members {
		v := tracker.Voter{ID: m.ID, Addr: m.Addr, Applied: m.Applied, Leader: m.Leader, Joining: !m.Voter, Err: m.Err}
		if m.Suspended {
			v.Err = "its disk hangs"
		}
		if m.Full {
			v.Note = "its disk is nearly full"
		}
		out = append(out, v)
	}
	return st.Leader, out
}

// remove takes a tracker out of the group.
func (t *Tracker) remove(ctx context.Context, id string) error {
	_, err := t.replica.Remove(ctx, &consensus.RemoveRequest{Cluster: t.cluster, ID: id})
	return err
}

// CheckAddress reports whether addr can be reached by others as host:port.
func CheckAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || port == "" || port == "0" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%q is no address that others can reach; give --advertise HOST:PORT", addr)
	}
	return nil
}

// Service returns the tracker itself, for tests that look behind the network.
func (t *Tracker) Service() *service.Service { return t.svc }

// Catalog is its copy of the catalog, for the same.
func (t *Tracker) Catalog() *service.Catalog { return t.cat }

// Workers are its background workers, for the same.
func (t *Tracker) Workers() *worker.Workers { return t.workers }

// Dir is where its copy of the catalog is.
func (t *Tracker) Dir() string { return t.cfg.Dir }
