package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/internal/peer"
	"holdfast/internal/rpc"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	storageremote "holdfast/storage/remote"
	"holdfast/tracker"
	trackerremote "holdfast/tracker/remote"
)

// StorageConfig says what storage process to run: one node in each directory.
type StorageConfig struct {
	Common
	Dirs      []string // absolute
	Group     string   // that new nodes join
	Scheme    string   // of the group, where it is new; "" where it must be there
	Class     string   // storage class of the group; "" is the one that it has, STANDARD where it is new
	Advertise string   // host:port under which the others reach this process
	Domain    tracker.Domain
	Listener  *peer.Listener // for peer.Control and peer.Data
	// BeatEvery is how often trackers hear of the nodes; 0 is 3 s.
	BeatEvery time.Duration
	Limits    node.Limits
	Reserve   int64 // bytes kept free on each node; 0 is 5 %, -1 none
}

// Storage is a process that runs storage nodes.
type Storage struct {
	cfg      StorageConfig
	boot     [16]byte
	trackers *trackerremote.Client
	others   *storageremote.Nodes // of the cluster, for rebuilds
	server   *storageremote.Server
	damage   chan storage.Damage

	mu struct {
		sync.Mutex
		nodes   map[storage.NodeID]*node.Node
		refused map[storage.NodeID]string // why this process must not serve it, as last told
		version uint64                    // of the map that others knows
		now     int64                     // catalog time, ms, 0 while it is not known
	}
}

// maxDamage is how many reports wait for a tracker; more are dropped, since
// scrub and reconcile find them again.
const maxDamage = 4096

// ErrRefused says that a directory must not be used like this; the text says
// what to do.
var ErrRefused = errors.New("refused")

// NewStorage opens the nodes of the directories, and makes new ones of those
// that are empty, for which it waits until a tracker answers or ctx ends.
func NewStorage(ctx context.Context, cfg StorageConfig) (*Storage, error) {
	cfg.setDefaults()
	if cfg.BeatEvery == 0 {
		cfg.BeatEvery = 3 * time.Second
	}
	s := &Storage{cfg: cfg, damage: make(chan storage.Damage, maxDamage)}
	_, _ = rand.Read(s.boot[:])
	s.mu.nodes, s.mu.refused = map[storage.NodeID]*node.Node{}, map[storage.NodeID]string{}
	var err error
	if s.trackers, err = cfg.trackers(func(*trackerremote.Config) {}); err != nil {
		return nil, err
	}
	s.others = storageremote.NewNodes(storageremote.Config{
		DialData: cfg.Access.dial(peer.Storage, peer.Data), DialControl: cfg.Access.dial(peer.Storage, peer.Control),
	})
	s.server = storageremote.NewServer(s, cfg.Access.Secret.TicketKeys(), cfg.Log)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Shards implements storage.Nodes: the nodes of this process.
func (s *Storage) Shards(id storage.NodeID) (storage.Shards, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.mu.nodes[id]; n != nil && s.mu.refused[id] == "" {
		return n, nil
	}
	return nil, fmt.Errorf("node %d is not served here: %w", id, storage.ErrOffline)
}

// everywhere finds nodes here and elsewhere, for rebuilds.
type everywhere struct{ s *Storage }

// Shards implements storage.Nodes.
func (e everywhere) Shards(id storage.NodeID) (storage.Shards, error) {
	if n, err := e.s.Shards(id); err == nil {
		return n, nil
	}
	return e.s.others.Shards(id)
}

// open opens what is there, and formats what is empty. A disk that is lost or
// cannot be used leaves the others of the process in service.
func (s *Storage) open(ctx context.Context) error {
	var fresh []string
	var lost []error
	for _, dir := range s.cfg.Dirs {
		id, err := node.ReadIdentity(s.cfg.FS, dir)
		switch {
		case errors.Is(err, node.ErrNoIdentity):
			fresh = append(fresh, dir)
			continue
		case err != nil:
			lost = append(lost, fmt.Errorf("%w: %w", ErrRefused, err))
			continue
		case id.Cluster != s.cfg.Access.Cluster():
			return fmt.Errorf("%w: %s belongs to another cluster (%s, this is %s); give this process that cluster's secret, or another directory; if the secret was changed, give --cluster-id %[3]s", ErrRefused, dir, id.Cluster, s.cfg.Access.Cluster())
		case s.mu.nodes[id.Node] != nil:
			return fmt.Errorf("%w: %s is a copy of another of the directories (node %d); leave one of them out", ErrRefused, dir, id.Node)
		}
		if err := s.openNode(ctx, dir, id.Node, ""); err != nil {
			lost = append(lost, err)
			continue
		}
		// Which node to forget when a directory is lost is read here.
		s.cfg.Log.Info().Str("dir", dir).Uint32("node", uint32(id.Node)).Msg("directory holds a node")
	}
	if len(fresh) > 0 {
		switch err := s.format(ctx, fresh); {
		case errors.Is(err, errAbsent):
			lost = append(lost, err)
		case err != nil:
			return err
		}
	}
	if len(s.mu.nodes) == 0 {
		return errors.Join(lost...)
	}
	for _, err := range lost {
		s.cfg.Log.Error().Err(err).Msg("directory is left out until the next start; the others are served")
	}
	return nil
}

// errAbsent is ErrRefused for an empty directory where a node should be.
var errAbsent = fmt.Errorf("%w: a node is missing", ErrRefused)

// format makes new nodes of empty directories. A directory that is empty
// because its disk is not mounted or was lost looks the same, so nothing is
// made while the cluster knows a node here that this process does not find.
func (s *Storage) format(ctx context.Context, dirs []string) error {
	for _, dir := range dirs {
		empty, err := node.Empty(s.cfg.FS, dir)
		if err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("%w: %s is not empty and holds no node; empty it, or give another directory", ErrRefused, dir)
		}
		if err := makeDir(s.cfg.FS, dir); err != nil {
			return err
		}
	}
	m, err := s.clusterMap(ctx)
	if err != nil {
		return err
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.Addr == s.cfg.Advertise && n.State != tracker.NodeGone && n.State != tracker.NodeJoining && s.mu.nodes[n.ID] == nil {
			return fmt.Errorf("%w: %v is empty, and node %d of this address is not here: mount its disk and start again, or if it is lost: holdfast admin node forget %d, then start again", errAbsent, dirs, n.ID, n.ID)
		}
	}
	g, err := s.group(ctx, m)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := s.formatOne(ctx, dir, g); err != nil {
			return err
		}
	}
	return nil
}

// clusterMap waits for a tracker that knows it.
func (s *Storage) clusterMap(ctx context.Context) (*tracker.Map, error) {
	for told := false; ; {
		m, err := s.trackers.Refresh(ctx)
		if err == nil {
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if !told {
			s.cfg.Log.Warn().Err(err).Strs("trackers", s.cfg.Trackers).Msg("no tracker answers; waiting for one")
			told = true
		}
		if err := pause(ctx, s.cfg.Clock, time.Second); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, clk clock.Clock, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-clk.After(d):
		return nil
	}
}

// group finds the group that new nodes join, or makes it.
func (s *Storage) group(ctx context.Context, m *tracker.Map) (tracker.Group, error) {
	for _, g := range m.Groups {
		if g.Name != s.cfg.Group {
			continue
		}
		if class := cmp.Or(g.Class, tracker.DefaultClass); s.cfg.Class != "" && s.cfg.Class != class {
			return g, fmt.Errorf("%w: group %s carries the storage class %s, not %s; leave --class away, or name another group", ErrRefused, g.Name, class, s.cfg.Class)
		}
		if s.cfg.Scheme != "" && s.cfg.Scheme != g.Scheme.String() {
			return g, fmt.Errorf("%w: group %s has the scheme %s, not %s; leave --scheme away, or name another group", ErrRefused, g.Name, g.Scheme, s.cfg.Scheme)
		}
		return g, nil
	}
	if s.cfg.Scheme == "" {
		return tracker.Group{}, fmt.Errorf("%w: there is no group %s; make it with holdfast admin group create, or say here which scheme it should have: --scheme rep-N or rs-K+M", ErrRefused, s.cfg.Group)
	}
	scheme, err := erasure.ParseScheme(s.cfg.Scheme)
	if err != nil {
		return tracker.Group{}, err
	}
	return s.trackers.RegisterGroup(ctx, tracker.Group{Name: s.cfg.Group, Class: cmp.Or(s.cfg.Class, tracker.DefaultClass), Scheme: scheme})
}

// formatOne registers a new node and makes it. It is joining, and takes no
// data, until it was heard of; one that was cut off here stays so.
func (s *Storage) formatOne(ctx context.Context, dir string, g tracker.Group) error {
	n, err := s.trackers.RegisterNode(ctx, tracker.Node{Group: g.ID, State: tracker.NodeJoining, Addr: s.cfg.Advertise, Domain: s.cfg.Domain})
	if err != nil {
		return err
	}
	st, err := s.named(ctx)
	if err != nil {
		return err
	}
	id := node.Identity{Cluster: s.cfg.Access.Cluster(), Node: n.ID, Incarnation: st.Incarnation, Created: s.cfg.Clock.Now()}
	if err := node.WriteIdentity(s.cfg.FS, dir, id); err != nil {
		return err
	}
	s.cfg.Log.Info().Str("dir", dir).Uint32("node", uint32(n.ID)).Str("group", g.Name).Msg("directory is a new node")
	return s.openNode(ctx, dir, n.ID, st.Incarnation)
}

// named waits until the catalog has its incarnation, which one that was just
// begun is given at once: a node without would follow any.
func (s *Storage) named(ctx context.Context) (*tracker.Status, error) {
	for {
		st, err := s.trackers.Status(ctx)
		if err != nil || st.Incarnation != "" {
			return st, err
		}
		if err := pause(ctx, s.cfg.Clock, time.Second/4); err != nil {
			return nil, err
		}
	}
}

func (s *Storage) openNode(ctx context.Context, dir string, id storage.NodeID, incarnation string) error {
	// The epoch is the catalog's to say: until a tracker has, no ticket names it.
	n, err := node.Open(ctx, node.Config{FS: s.cfg.FS, Dir: dir, Cluster: s.cfg.Access.Cluster(), Node: id, Incarnation: incarnation,
		Logger: s.cfg.Log, Clock: s.cfg.Clock, Reserve: s.cfg.Reserve, Nodes: everywhere{s}, Limits: s.cfg.Limits, Damage: s.damaged})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.nodes[id] = n
	return nil
}

func (s *Storage) damaged(d storage.Damage) {
	select {
	case s.damage <- d:
	default:
	}
}

// swap puts a node that was opened anew in the place of the one that failed.
func (s *Storage) swap(old, fresh *node.Node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.nodes[old.Node()] = fresh
	return true
}

// nodes returns the nodes of this process in order of their ids.
func (s *Storage) nodes() []*node.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*node.Node
	for _, id := range slices.Sorted(maps.Keys(s.mu.nodes)) {
		out = append(out, s.mu.nodes[id])
	}
	return out
}

// Run serves until ctx ends or the port fails.
func (s *Storage) Run(ctx context.Context) error {
	control, err := rpc.NewServer(s.server.Service(), factsService(s.cfg.Log, s.facts))
	if err != nil {
		return err
	}
	data := s.server.HTTPServer()
	l := newLoops(ctx)
	l.serve("port", s.cfg.Listener.Run, func() { _ = s.cfg.Listener.Close() })
	l.serve("data", func() error { return data.Serve(s.cfg.Listener.Protocol(peer.Data)) }, func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if data.Shutdown(drain) != nil {
			_ = data.Close()
		}
	})
	l.serve("control", func() error { return control.Serve(s.cfg.Listener.Protocol(peer.Control)) }, func() { control.Close(drainTime) })
	for _, n := range s.nodes() {
		l.start(fmt.Sprintf("node %d", n.Node()), func(ctx context.Context) error { return node.Keep(ctx, n, s.swap) })
	}
	l.start("heartbeat", s.beats)
	l.start("damage", s.reportDamage)
	l.start("maintenance", s.maintain)
	return l.wait(ctx)
}

// Close closes the nodes. Run must have returned.
func (s *Storage) Close() error {
	var errs []error
	for _, n := range s.nodes() {
		errs = append(errs, n.Close())
	}
	return errors.Join(append(errs, s.others.Close(), s.trackers.Close())...)
}

// makeDir makes a directory and syncs its parent.
func makeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%w; the directory must be writable for the user that this process runs as", err)
	}
	return nil
}
