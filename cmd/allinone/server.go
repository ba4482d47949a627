// Package allinone is the composition root of `holdfast server`: one storage
// node per directory, the catalog's voters in up to three of them, and one
// gateway, wired directly in one process. It owns the layout file of each
// directory and the order in which things start and stop.
//
// # Goroutines
//
// Open leaves the voters' own behind; Run adds one for each node's
// maintenance, one for the service and those of the workers, and returns when
// they have ended.
package allinone

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/gateway"
	"holdfast/gateway/s3"
	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/tracker"
	"holdfast/tracker/consensus"
	"holdfast/tracker/service"
	"holdfast/tracker/worker"
)

// Config says what server to run.
type Config struct {
	FS            vfs.FS
	Dirs          []string // absolute
	Scheme        string   // "" is the default, or what was fixed at the first start
	CatalogCopies int      // 0 is as many as the directories allow, at most 3
	Keys          auth.Keys
	Gateway       gateway.Config
	Log           zerolog.Logger
	AccessLog     io.Writer   // a line for each request; nil for none; safe for concurrent use
	Clock         clock.Clock // nil is the machine's
	Tune          Tune
}

// Tune holds what tests make shorter or smaller. Zero fields are the
// defaults of production.
type Tune struct {
	TicketLife time.Duration // a grant may be committed under
	Grace      time.Duration // of readers, before deleted shards are dropped
	Reserve    int64         // bytes each node keeps free; -1 for none
	Node       node.Limits
	// InlineBudget bounds the bytes of small objects in the catalog; 0 is a
	// tenth of its disk.
	InlineBudget int64
	Ballast      int64 // bytes each voter keeps to recover a full disk with; -1 for none
	// SnapshotBytes of log are written between flushes of the catalog, and
	// KeepBytes stay behind one where there are several voters.
	SnapshotBytes, KeepBytes uint64
}

// Server is a running server.
type Server struct {
	cfg     Config
	dirs    []string // given and in use
	nodes   *nodeSet
	log     *consensus.Local
	svc     *service.Service
	workers *worker.Workers
	front   *s3.Server
	reg     *prometheus.Registry
	store   *worker.CatalogStore

	incarnation string // of the catalog

	mu struct {
		sync.Mutex // held over an administration call, so that there is one at a time
		layout     *Layout
	}
	shown atomic.Pointer[Layout] // mu.layout, for those who must not wait for a call
	life  struct {
		sync.Mutex
		ctx  context.Context // of Run; nil before
		wait sync.WaitGroup
	}
}

// Dirs returns the directories that are in use.
func (s *Server) Dirs() []string { return s.dirs }

// Handler returns the S3 front end with all else that the listener serves.
func (s *Server) Handler() http.Handler { return s.front.Handler() }

// HTTPServer returns a server for the listener, with its limits set.
func (s *Server) HTTPServer() *http.Server { return s.front.HTTPServer() }

// Catalog returns the catalog, for tests that look behind S3.
func (s *Server) Catalog() tracker.Catalog { return s.svc }

// Run does the background work until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.life.Lock()
	s.life.ctx = ctx
	s.life.Unlock()
	for _, n := range s.nodes.all() {
		s.runNode(n)
	}
	s.start("service", s.svc.Run)
	s.start("workers", s.workers.Run)
	s.start("watermark", s.watermark)
	s.start("quarantine", s.endQuarantines)
	<-ctx.Done()
	s.life.wait.Wait()
	return ctx.Err()
}

// start runs f until Run's context ends. An error that is not the context's
// is logged: the server goes on with what is left.
func (s *Server) start(name string, f func(context.Context) error) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.life.ctx == nil || s.life.ctx.Err() != nil {
		return
	}
	ctx := s.life.ctx
	s.life.wait.Go(func() {
		if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			s.cfg.Log.Error().Err(err).Str("part", name).Msg("background work ended")
		}
	})
}

// quarantineEvery is how often the nodes look for quarantines that ended.
const quarantineEvery = 10 * time.Minute

// endQuarantines tells the nodes catalog time, by which a quarantine ends.
func (s *Server) endQuarantines(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.cfg.Clock.After(quarantineEvery):
		}
		if _, leads := s.log.LeaderEpoch(); !leads {
			continue
		}
		for _, n := range s.nodes.all() {
			if err := n.Maintain(ctx, time.UnixMilli(s.svc.Now())); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn().Uint32("node", uint32(n.Node())).Err(err).Msg("maintenance of a node did not finish; tried again later")
			}
		}
	}
}

func (s *Server) runNode(n *node.Node) {
	s.start("node", func(ctx context.Context) error { return node.Keep(ctx, n, s.nodes.swap) })
}

// Close stops everything. Run must have returned.
func (s *Server) Close() error {
	var errs []error
	if s.front != nil {
		errs = append(errs, s.front.Close())
	}
	if s.log != nil {
		if s.front != nil {
			errs = append(errs, s.markApplied())
		}
		errs = append(errs, s.log.Close())
	}
	for _, n := range s.nodes.all() {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

// damaged takes what a node's reads and scrubber found.
func (s *Server) damaged(d storage.Damage) {
	if s.svc != nil {
		_ = s.svc.ReportDamage(context.Background(), []storage.Damage{d})
	}
}
