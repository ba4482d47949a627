// Package service is the tracker as its callers see it: the catalog (its
// operations proposed to the log), the scheduler and the administration.
//
// It owns the cluster map in memory, the nodes' health, catalog time and the
// queue of damage reports; it must never know HTTP, S3 or a node's disk. It
// has no files of its own.
//
// # Goroutines
//
//   - Run: one loop that watches heartbeats, raises catalog time, the fence and
//     the feature level, and asks the nodes for their status where Config.Poll is set
//     (one short-lived goroutine a node then). Constructors start nothing.
package service

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/placement"
)

// Config is what a service is told. See Default.
type Config struct {
	Home       uint16        // the Raft group that keeps the blobs' rows
	TicketLife time.Duration // how long a grant may be committed under
	TicketKey  []byte        // signs tickets, 32 bytes or more
	// OldTicketKeys are accepted beside it, while the secret is changed.
	OldTicketKeys [][]byte
	// SignTickets is needed where a ticket crosses a network. In one process
	// nodes take the caller's word and the signature is skipped.
	SignTickets bool

	Beat         time.Duration // how often health is looked at, and nodes asked under Poll
	SuspectAfter time.Duration // without a heartbeat
	DownAfter    time.Duration // without a heartbeat
	Poll         bool          // ask the nodes for their status; else they send it
	// Certain says that storage.Nodes knows every node there is: one that it
	// calls offline is down at once, and not after DownAfter.
	Certain    bool
	RaiseEvery time.Duration // how often catalog time and the fence are raised, or as often as tickets live

	// MaxStep bounds by how much the clock may run ahead of this process's
	// monotonic time since it began to lead (SAFETY A9).
	MaxStep time.Duration
	// ClockTrusted tells whether a larger step is taken all the same: on a
	// single machine, that its kernel's clock is synchronised. Nil is never.
	ClockTrusted func() bool

	// Replicated says that other processes hold copies of the catalog too:
	// where this one does not lead it answers nothing from memory.
	Replicated bool
	// Levels returns the lowest feature level that all copies of the catalog
	// know; nil where all of them are in this process.
	Levels func(ctx context.Context) (uint64, error)

	// InlineBudget bounds the bytes of small objects in the catalog; it is
	// looked at with every beat. 0 is no bound.
	InlineBudget int64

	MaxDamage int // blobs in the queue of damage reports
}

// Default is the usual configuration, without keys.
func Default() Config {
	return Config{TicketLife: 24 * time.Hour, Beat: 3 * time.Second, SuspectAfter: 10 * time.Second, DownAfter: time.Minute,
		Poll: true, RaiseEvery: time.Minute, MaxStep: 15 * time.Minute, ClockTrusted: kernelClockSynchronised, MaxDamage: 100_000}
}

// Validate names the first field that is out of bounds.
func (c *Config) Validate() error {
	switch {
	case c.TicketLife < time.Second || c.TicketLife > 30*24*time.Hour:
		return fmt.Errorf("TicketLife %v is not from 1s to 720h", c.TicketLife)
	case c.SignTickets && len(c.TicketKey) < 32:
		return fmt.Errorf("TicketKey of %d bytes is under 32", len(c.TicketKey))
	case c.Beat <= 0 || c.SuspectAfter < 2*c.Beat || c.DownAfter < c.SuspectAfter:
		return fmt.Errorf("Beat %v, SuspectAfter %v, DownAfter %v: want 0 < 2 Beat <= SuspectAfter <= DownAfter", c.Beat, c.SuspectAfter, c.DownAfter)
	case c.RaiseEvery <= 0 || c.MaxStep < 0:
		return fmt.Errorf("RaiseEvery %v, MaxStep %v: want over 0, at least 0", c.RaiseEvery, c.MaxStep)
	case c.MaxDamage < 1:
		return fmt.Errorf("MaxDamage %d is under 1", c.MaxDamage)
	}
	return nil
}

// Leadership is the part of consensus.Log that tells who leads.
type Leadership interface {
	LeaderEpoch() (uint64, bool)
}

// Service implements tracker.Catalog, tracker.Scheduler and
// tracker.Administration. It is safe for concurrent use.
type Service struct {
	tracker.Catalog

	cfg    Config
	lead   Leadership
	rows   Registry
	nodes  storage.Nodes
	clk    clock.Clock
	logger zerolog.Logger

	state  atomic.Pointer[state]
	unique atomic.Uint64
	seed   atomic.Uint64
	clock  timekeeper
	damage damageQueue

	operations atomic.Pointer[Operations]

	mu struct {
		sync.Mutex // held over the registry's reads and writes of nodes and groups, so that maps are published in order
		health     map[storage.NodeID]*health
		strangers  map[storage.NodeID]*tracker.Stranger
		watchers   []func(*tracker.Map)
	}
}

// state is what a decision needs, replaced as a whole.
type state struct {
	term uint64 // of the leadership it was read under
	rows *Cluster
	m    *tracker.Map
	plan *placement.Plan

	policies map[scope]*policy
}

// New returns a service over a catalog and its registry. nodes may be nil
// where Config.Poll is not set.
func New(cfg Config, cat tracker.Catalog, lead Leadership, rows Registry, nodes storage.Nodes, clk clock.Clock, logger zerolog.Logger) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	s := &Service{Catalog: cat, cfg: cfg, lead: lead, rows: rows, nodes: nodes, clk: clk, logger: logger}
	var r [16]byte
	_, _ = rand.Read(r[:])
	s.unique.Store(binary.LittleEndian.Uint64(r[:]))
	s.seed.Store(binary.LittleEndian.Uint64(r[8:]))
	s.mu.health, s.mu.strangers = map[storage.NodeID]*health{}, map[storage.NodeID]*tracker.Stranger{}
	s.damage.init(cfg.MaxDamage)
	return s, nil
}

// Watch calls f with the present map and with every later one, in order,
// before any decision is made by it; nodes in one process learn their epochs
// so. f must be quick and must not call the service.
func (s *Service) Watch(f func(*tracker.Map)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.watchers = append(s.mu.watchers, f)
	if st := s.state.Load(); st != nil {
		f(st.m)
	}
}

// LeaderEpoch tells whether this process leads, and in which term.
func (s *Service) LeaderEpoch() (uint64, bool) { return s.lead.LeaderEpoch() }

// current returns the state, reading it where this process has just begun to
// lead. tracker.ErrNotLeader if it does not.
func (s *Service) current(ctx context.Context) (*state, error) {
	term, ok := s.lead.LeaderEpoch()
	if !ok {
		return nil, tracker.ErrNotLeader
	}
	if st := s.state.Load(); st != nil && st.term == term {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.state.Load(); st != nil && st.term == term {
		return st, nil
	}
	return s.reload(ctx)
}

// leading is current that waits, where all copies of the catalog are in this
// process, until one of them leads: an election takes milliseconds there, and
// a request need not fail over it. Elsewhere another process may lead.
func (s *Service) leading(ctx context.Context) (*state, error) {
	st, err := s.current(ctx)
	if fault.KindOf(err) != fault.NotLeader || s.cfg.Replicated {
		return st, err
	}
	if _, rerr := s.rows.Cluster(ctx); rerr != nil { // a read waits for who leads
		return nil, err
	}
	return s.current(ctx)
}

// known returns the state as last known. Where nobody leads and none is known
// yet it is read: the last of two copies of a catalog still serves reads.
func (s *Service) known(ctx context.Context) (*state, error) {
	st, err := s.current(ctx)
	if fault.KindOf(err) != fault.NotLeader || s.cfg.Replicated {
		return st, err
	}
	if st := s.state.Load(); st != nil {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.rows.Cluster(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's rows: %w", err)
	}
	if _, ok := s.lead.LeaderEpoch(); ok {
		return s.reload(ctx)
	}
	return s.publish(0, c), nil
}

// reload reads the registry and publishes the map. s.mu is held.
func (s *Service) reload(ctx context.Context) (*state, error) {
	term, ok := s.lead.LeaderEpoch()
	if !ok {
		return nil, tracker.ErrNotLeader
	}
	c, err := s.rows.Cluster(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's rows: %w", err)
	}
	old := s.state.Load()
	if old == nil || old.term != term {
		s.clock.anchor(s.clk.Now(), c.Now, c.Fence)
		s.mu.health, s.mu.strangers = map[storage.NodeID]*health{}, map[storage.NodeID]*tracker.Stranger{}
	}
	return s.publish(term, c), nil
}

// publish makes a map of the rows and the nodes' load, and makes it current.
// rows do not change afterwards. s.mu is held.
func (s *Service) publish(term uint64, rows *Cluster) *state {
	now := s.clk.Now()
	m := &tracker.Map{Version: 1, Cluster: rows.Cluster, Groups: rows.Groups, Nodes: slices.Clone(rows.Nodes), InlineFull: s.inlineFull(rows)}
	var turns map[scope]*policy
	if old := s.state.Load(); old != nil {
		m.Version, turns = old.m.Version+1, old.policies
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		h := s.mu.health[n.ID]
		if h == nil {
			h = &health{heard: now}
			s.mu.health[n.ID] = h
		}
		n.Load = h.load
		n.ReadOnly = n.Role == tracker.RoleReadOnly || h.readOnly
	}
	for _, f := range s.mu.watchers {
		f(m)
	}
	st := &state{term: term, rows: rows, m: m, plan: placement.Prepare(m), policies: policiesOf(rows.Policies, turns)}
	s.state.Store(st)
	return st
}

// Run watches over the cluster until ctx ends: it returns ctx's error.
func (s *Service) Run(ctx context.Context) error {
	var raised time.Time
	for {
		if err := s.beat(ctx, &raised); err != nil && ctx.Err() == nil && !passing(err) {
			s.logger.Warn().Err(err).Msg("could not look after the cluster; trying again")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.clk.After(s.cfg.Beat):
		}
	}
}

// passing tells whether an error is part of a change of leaders.
func passing(err error) bool {
	k := fault.KindOf(err)
	return k == fault.NotLeader || k == fault.Canceled || errors.Is(err, tracker.ErrUncertain)
}

// beatTimeout bounds the commands of one beat, which hold the service's lock.
const beatTimeout = 15 * time.Second

// beat is one turn of Run.
func (s *Service) beat(ctx context.Context, raised *time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if _, err := s.current(ctx); err != nil {
		if fault.KindOf(err) == fault.NotLeader {
			return nil
		}
		return err
	}
	err := s.look(ctx)
	if now := s.clk.Now(); raised.IsZero() || now.Sub(*raised) >= min(s.cfg.RaiseEvery, s.cfg.TicketLife) {
		if rerr := s.Raise(ctx); rerr != nil {
			return errors.Join(err, rerr)
		}
		*raised = now
	}
	return err
}

// look brings the feature level and the nodes' states up to date.
func (s *Service) look(ctx context.Context) error {
	err := s.raiseLevel(ctx)
	if s.cfg.Poll {
		s.poll(ctx)
	}
	return errors.Join(err, s.watchHealth(ctx), s.watchInline(ctx))
}

// raiseLevel raises the catalog's feature level to what all its copies know.
func (s *Service) raiseLevel(ctx context.Context) error {
	was := s.state.Load().rows.Level
	if was >= catalog.Level {
		return nil
	}
	to := uint64(catalog.Level)
	if s.cfg.Levels != nil {
		lowest, err := s.cfg.Levels(ctx)
		if err != nil {
			return fmt.Errorf("ask for the feature levels of the trackers: %w", err)
		}
		if to = min(to, lowest); to <= was {
			return nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.rows.RaiseLevel(ctx, to); err != nil {
		return fmt.Errorf("raise the feature level: %w", err)
	}
	s.logger.Info().Uint64("from", was).Uint64("to", to).Msg("feature level of the catalog was raised")
	_, err := s.reload(ctx)
	return err
}

func (s *Service) inlineFull(c *Cluster) bool {
	return s.cfg.InlineBudget > 0 && c.Inline >= s.cfg.InlineBudget
}

// watchInline publishes a map when the catalog's inline bytes pass the budget,
// either way.
func (s *Service) watchInline(ctx context.Context) error {
	if s.cfg.InlineBudget <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.rows.Cluster(ctx)
	if err != nil {
		return err
	}
	if st := s.state.Load(); st != nil && s.inlineFull(c) != st.m.InlineFull {
		s.publish(st.term, c)
	}
	return nil
}

// Look brings the feature level and the nodes' states up to date now, and not
// at the next beat: before a server answers, so that it does not place data on
// what is not there and none of its commands is refused. It does nothing where this process does not lead.
func (s *Service) Look(ctx context.Context) error {
	if _, err := s.current(ctx); err != nil {
		if fault.KindOf(err) == fault.NotLeader {
			return nil
		}
		return err
	}
	return s.look(ctx)
}
