package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/peer"
	"holdfast/internal/rpc"
	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	"holdfast/tracker/kv"
	trackerremote "holdfast/tracker/remote"
	"holdfast/tracker/service"
)

// recoveringName is there from before a directory's copy of the catalog is
// made the only one until the catalog has its new incarnation: a tracker must
// not serve in between, since nodes would delete what that copy lacks.
const recoveringName = "recovering"

// apartName is there once this copy was led while another, of a recovery that
// knew nothing of its own, was led too. Clients wrote to either, and a person
// says which is kept, by recovering that again.
const apartName = "recovered-apart"

// markApart has a directory served no more before it is recovered again.
func markApart(fs vfs.FS, dir string) error {
	return vfs.WriteFile(fs, fs.PathJoin(dir, apartName), []byte("see docs/cluster.md\n"))
}

// TrackerCopy is what a tracker's directory holds of the catalog while no
// process has it open.
type TrackerCopy struct {
	Dir, Cluster, Tracker string
	Term, Index           uint64 // of the last log entry: of two copies, the one with the higher term, then index, has more
	// LastChange is the catalog time of the last change to objects that is
	// known to be committed; at most the last entries of the log are younger.
	// Zero if none is known.
	LastChange  time.Time `json:",omitzero"`
	Incarnation string
	Trackers    []string // all of the group, "ID at HOST:PORT"
	Nodes       int      // storage nodes that are not gone
	Unfinished  bool     // a recovery was cut short here
}

// ErrMajority says that a cluster needs no recovery.
var ErrMajority = errors.New("the cluster has a majority of its trackers, or may find one again")

// InspectTracker reads the copy of the catalog in cfg.Dir, which no process
// has open. It changes nothing but what a start would.
func InspectTracker(cfg TrackerConfig) (*TrackerCopy, error) {
	cfg.setDefaults()
	out, _, err := inspect(&cfg)
	return out, err
}

func inspect(cfg *TrackerConfig) (*TrackerCopy, *consensus.Copy, error) {
	out := &TrackerCopy{Dir: cfg.Dir}
	c, err := consensus.InspectReplica(consensus.ReplicaConfig{Voter: consensus.Voter{FS: cfg.FS, Dir: cfg.Dir},
		Machine: catalog.NewMachine(), Logger: cfg.Log, Clock: cfg.Clock}, func(r kv.Reader) error {
		s, err := catalog.ReadState(r)
		if err != nil {
			return err
		}
		out.Incarnation = s.Incarnation
		if s.Seq != 0 {
			out.LastChange = time.UnixMilli(catalog.SeqTime(s.Seq)).UTC()
		}
		nodes, err := catalog.Nodes(r)
		for i := range nodes {
			if nodes[i].State != tracker.NodeGone {
				out.Nodes++
			}
		}
		return err
	})
	if errors.Is(err, consensus.ErrNoCopy) {
		return nil, nil, fmt.Errorf("%s holds no copy of a catalog; name the directory of a tracker: %w", cfg.Dir, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w; if a tracker runs on this directory, stop it first", err)
	}
	if own := cfg.Access.Cluster(); c.Cluster != own {
		return nil, nil, fmt.Errorf("%s is of cluster %s, and the secret of %s; give that cluster's secret, or if it was changed --cluster-id %[2]s", cfg.Dir, c.Cluster, own)
	}
	out.Cluster, out.Tracker, out.Term, out.Index = c.Cluster, c.ID, c.Term, c.Index
	for _, m := range c.Members {
		out.Trackers = append(out.Trackers, m.ID+" at "+m.Addr)
	}
	out.Unfinished, err = recovering(cfg.FS, cfg.Dir)
	return out, c, err
}

// recovering tells whether a recovery of a directory was cut short.
func recovering(fs vfs.FS, dir string) (bool, error) { return marked(fs, dir, recoveringName) }

// marked tells whether a directory has a mark.
func marked(fs vfs.FS, dir, mark string) (bool, error) {
	names, err := fs.List(dir)
	return slices.Contains(names, mark), err
}

// RecoverTracker makes the copy of the catalog in cfg.Dir, which no process
// has open, the only one of its cluster, and a new incarnation. It is for a
// cluster that lost the majority of its trackers for good: what those
// acknowledged without this copy is lost, and a person has accepted that. The
// other trackers are left out for ever; emptied, they join again. Nodes delete
// nothing until fsck --adopt. Run again, it goes on where it was cut short.
// ErrMajority while another tracker answers that one leads. It needs Access,
// Trackers, Dir and Advertise of cfg.
func RecoverTracker(ctx context.Context, cfg TrackerConfig) (*TrackerCopy, error) {
	cfg.setDefaults()
	copied, c, err := inspect(&cfg)
	if err != nil {
		return nil, err
	}
	cfg.ID = copied.Tracker
	if err := nobodyLeads(ctx, &cfg, c.Members); err != nil {
		return nil, err
	}
	mark := cfg.FS.PathJoin(cfg.Dir, recoveringName)
	if err := vfs.WriteFile(cfg.FS, mark, []byte(copied.Incarnation+"\n")); err != nil {
		return nil, fmt.Errorf("begin the recovery: %w", err)
	}
	if apart, err := marked(cfg.FS, cfg.Dir, apartName); err != nil {
		return nil, err
	} else if apart {
		if err := errors.Join(cfg.FS.Remove(cfg.FS.PathJoin(cfg.Dir, apartName)), cfg.FS.SyncDir(cfg.Dir)); err != nil {
			return nil, fmt.Errorf("begin the recovery: %w", err)
		}
	}
	rc := consensus.ReplicaConfig{Voter: consensus.Voter{ID: cfg.ID, FS: cfg.FS, Dir: cfg.Dir}, ClusterID: copied.Cluster,
		Advertise: cfg.Advertise, Machine: catalog.NewMachine(), Logger: cfg.Log, Clock: cfg.Clock, BallastBytes: -1}
	if _, err := consensus.RecoverReplica(rc); err != nil {
		return nil, err
	}
	rc.Machine = catalog.NewMachine()
	incarnation := uuid.NewString()
	if err := reincarnate(ctx, rc, incarnation); err != nil {
		return nil, fmt.Errorf("give the recovered catalog its new incarnation: %w; run the recovery again", err)
	}
	if err := errors.Join(cfg.FS.Remove(mark), cfg.FS.SyncDir(cfg.Dir)); err != nil {
		return nil, fmt.Errorf("end the recovery: %w", err)
	}
	out, err := InspectTracker(cfg)
	if err == nil {
		out.Incarnation = incarnation // in the log; the state has it once the next entry says that it is committed
	}
	return out, err
}

// nobodyLeads asks the other trackers, as the directory and the caller know
// them, whether one of them leads.
func nobodyLeads(ctx context.Context, cfg *TrackerConfig, members []consensus.ServerInfo) error {
	ask := map[string]bool{}
	for _, m := range members {
		if m.ID != cfg.ID {
			ask[m.Addr] = true
		}
	}
	for _, addr := range cfg.Trackers {
		if addr != cfg.Advertise {
			ask[addr] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	leads := make(chan string, len(ask))
	for addr := range ask {
		wg.Go(func() {
			p, err := rpc.NewClient(addr, cfg.Access.dial(peer.Tracker, peer.Control), nil)
			if err != nil {
				return
			}
			defer func() { _ = p.Close() }()
			if f, err := askFacts(ctx, p); err == nil && (f.Ready || f.Leader) {
				leads <- addr
			}
		})
	}
	wg.Wait()
	close(leads)
	if addr, ok := <-leads; ok {
		return fmt.Errorf("%w: the tracker at %s answers that one leads; empty this directory and start it to join them", ErrMajority, addr)
	}
	return nil
}

// reincarnateTime bounds an election and a command of one voter.
const reincarnateTime = time.Minute

// reincarnate lets a voter that is alone lead, without a port, and gives the
// catalog a new incarnation.
func reincarnate(ctx context.Context, rc consensus.ReplicaConfig, incarnation string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, reincarnateTime)
	defer cancel()
	nobody := func(context.Context, string) (net.Conn, error) {
		return nil, errors.New("nobody is asked in a recovery")
	}
	peers := trackerremote.NewPeers(nobody)
	defer peers.Close()
	rc.Listener, rc.Dial, rc.Peer = newDeafListener(), nobody, peers.Peer
	r, err := consensus.OpenReplica(ctx, rc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, leads := r.LeaderEpoch(); !leads; _, leads = r.LeaderEpoch() {
		if err := pause(ctx, rc.Clock, 20*time.Millisecond); err != nil {
			return fmt.Errorf("it does not lead: %w", err)
		}
	}
	return service.NewReplicated(r, rc.Clock).SetIdentity(ctx, rc.ClusterID, incarnation)
}

// deafListener takes no connections.
type deafListener struct {
	done chan struct{}
	once sync.Once
}

func newDeafListener() *deafListener { return &deafListener{done: make(chan struct{})} }

// Accept implements net.Listener.
func (l *deafListener) Accept() (net.Conn, error) {
	<-l.done
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *deafListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *deafListener) Addr() net.Addr { return &net.TCPAddr{} }
