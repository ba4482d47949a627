package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/placement"
)

// RepairConfig is what the repair worker is told.
type RepairConfig struct {
	Width     int           // blobs repaired at once
	Rate      int64         // bytes a second read and written for repair, 0 for no bound
	HoleDelay time.Duration // how long a hole may fill by itself where over one spare is left
	RetryMin  time.Duration // after a failure; doubles
	RetryMax  time.Duration
	MaxJobs   int // blobs in the table
}

// DefaultRepair is the usual configuration.
func DefaultRepair() RepairConfig {
	return RepairConfig{Width: 4, HoleDelay: time.Minute, RetryMin: 2 * time.Second, RetryMax: 5 * time.Minute, MaxJobs: 1_000_000}
}

// repair makes blobs whole again: copy, verified by reading back on the
// receiving node; switch the map by compare-and-swap under the fence; and
// only then, as garbage after the readers' grace, drop the old place.
type repair struct {
	cfg      RepairConfig
	c        Cluster
	store    Store
	nodes    storage.Nodes
	clk      clock.Clock
	logger   zerolog.Logger
	table    *table
	throttle *Throttle
	// left is told of a blob of which a node may have a shard that was rebuilt
	// and is not placed, and when its ticket expires.
	left    func(storage.BlobID, int64)
	adopted atomic.Uint64
	bytes   atomic.Int64
	pace    struct {
		sync.Mutex
		since time.Time // when the table was last empty
		done  uint64    // then
	}
}

func (w *repair) Name() string          { return "repair" }
func (w *repair) Begin(uint64)          {}
func (w *repair) Wake() <-chan struct{} { return w.table.wake }
func (w *repair) Width() int            { return w.cfg.Width }

func (w *repair) Queue() tracker.Queue {
	s := w.table.stats()
	q := tracker.Queue{Length: s.length, Done: s.done, Failed: s.failed}
	if !s.oldest.IsZero() {
		q.Oldest = s.oldest.UnixMilli()
	}
	return q
}

func (w *repair) Note() string {
	s := w.table.stats()
	text := fmt.Sprintf("%d blobs to look at, %d repaired, %d bytes written, %d shards adopted", s.length, s.done, w.bytes.Load(), w.adopted.Load())
	if s.dead > 0 {
		text += fmt.Sprintf(", %d cannot be repaired", s.dead)
	}
	if eta := w.ETA(); eta > 0 {
		text += ", done in about " + eta.Round(time.Second).String()
	}
	return text
}

// ETA estimates how long the table takes at the pace since it was last empty,
// 0 if that is not known.
func (w *repair) ETA() time.Duration {
	s := w.table.stats()
	w.pace.Lock()
	defer w.pace.Unlock()
	done := s.done - w.pace.done
	if w.pace.since.IsZero() || done == 0 || s.length == 0 {
		return 0
	}
	return time.Duration(float64(w.clk.Now().Sub(w.pace.since)) / float64(done) * float64(s.length-int64(s.dead)))
}

// idle is how long a worker without work sleeps if nobody wakes it.
const idle = 30 * time.Second

// Step repairs the blob at most risk.
func (w *repair) Step(ctx context.Context) (time.Duration, error) {
	now := w.clk.Now()
	j, reports, wait := w.table.take(now)
	if j == nil {
		w.pace.Lock()
		if s := w.table.stats(); s.length == 0 || w.pace.since.IsZero() {
			w.pace.since, w.pace.done = now, s.done
		}
		w.pace.Unlock()
		if wait == 0 {
			wait = idle
		}
		return min(wait, idle), nil
	}
	select { // let another of us look for more
	case w.table.wake <- struct{}{}:
	default:
	}
	return 0, w.work(ctx, j, reports)
}

// work repairs a blob index by index until it is whole or something fails.
func (w *repair) work(ctx context.Context, j *job, reports []report) error {
	var last *survey
	repaired := false
	var avoid []storage.NodeID
	for range 64 {
		plan, m, err := w.c.Plan(ctx)
		if err != nil {
			return w.later(j, last, err)
		}
		s, err := w.look(ctx, j.id, m, reports, j.tries > 0)
		if err != nil {
			return w.later(j, last, err)
		}
		if s == nil {
			w.table.finish(j, w.clk.Now(), repaired)
			return nil
		}
		last = s
		index := s.worst()
		if index < 0 && s.unheard {
			w.table.postpone(j, w.clk.Now().Add(w.cfg.RetryMax), s.spare(), false, false, "a node that is away has a shard that was reported")
			return nil
		}
		if index < 0 {
			w.table.finish(j, w.clk.Now(), repaired)
			return nil
		}
		done, err := w.fix(ctx, j, s, index, plan, m, reports, &avoid)
		switch {
		case errors.Is(err, errAgain):
			continue
		case err != nil:
			return w.later(j, s, err)
		case !done:
			return nil // postponed
		}
		repaired = true
	}
	return w.later(j, last, errRounds)
}

// errAgain asks for a fresh survey; errRounds ends a blob that never settles.
var (
	errAgain  = errors.New("state changed, look again")
	errRounds = fmt.Errorf("the blob's map keeps changing: %w", tracker.ErrConflict)
)

// fix repairs one index. It is false, without an error, when the job was
// postponed.
func (w *repair) fix(ctx context.Context, j *job, s *survey, index int, plan *placement.Plan, m *tracker.Map, reports []report, avoid *[]storage.NodeID) (bool, error) {
	if s.state[index] == hole {
		if ok, err := w.adopt(ctx, s, index, m, reports); ok || err != nil {
			w.table.believe(j, reports, index)
			return ok, err
		}
		age := time.Duration(s.view.Now-s.blob.Time) * time.Millisecond
		if s.spare() > 1 && age < w.cfg.HoleDelay {
			w.table.postpone(j, w.clk.Now().Add(w.cfg.HoleDelay-age), s.spare(), true, false, "a hole may fill by itself")
			return false, nil
		}
	}
	if len(s.sources(index)) < int(s.blob.Scheme.Data) {
		return false, w.hopeless(j, s)
	}
	to, err := w.target(s, index, plan, m, *avoid)
	if err != nil {
		return false, err
	}
	ticket := w.c.RepairTicket(s.blob.ID, to)
	placed, expiry, err := w.rebuild(ctx, j, s, index, ticket)
	if err != nil {
		w.left(s.blob.ID, ticket.Expiry)
		k := fault.KindOf(err)
		if (k == fault.NoSpace || k == fault.Unavailable) && !errors.Is(err, storage.ErrStaleEpoch) && len(*avoid) < 8 && ctx.Err() == nil {
			*avoid = append(*avoid, to.Node)
			w.logger.Warn().Err(err).Uint32("node", uint32(to.Node)).Stringer("blob", s.blob.ID).Msg("node could not take a repaired shard; trying another")
			return false, errAgain
		}
		return false, err
	}
	if err = w.store.Switch(ctx, &Switch{Blob: s.blob.ID, Index: uint8(index), Old: s.blob.Shards[index], New: placed, Expiry: expiry}); err != nil {
		w.left(s.blob.ID, ticket.Expiry)
	}
	switch {
	case errors.Is(err, tracker.ErrConflict):
		return false, errAgain
	case err != nil:
		return false, fmt.Errorf("switch %s/%d to node %d: %w", s.blob.ID, index, to.Node, err)
	}
	w.bytes.Add(s.blob.Scheme.ShardSize(s.blob.Length))
	return true, nil
}

// hopeless postpones a blob of which too few shards are left, and says
// whether nodes that are away may help.
func (w *repair) hopeless(j *job, s *survey) error {
	dead := s.count(away) == 0
	reason := fmt.Sprintf("%d of %d shards are needed and %d are left; %d are on nodes that are away",
		s.blob.Scheme.Data, len(s.state), s.count(good, leaving, bad), s.count(away))
	if dead && !j.dead {
		w.logger.Error().Stringer("blob", s.blob.ID).Str("why", reason).Msg("blob cannot be repaired")
	}
	w.table.postpone(j, w.clk.Now().Add(w.cfg.RetryMax), s.spare(), true, dead, reason)
	return nil
}

// target chooses who takes the shard: the node that holds it, where its bytes
// are bad or it lost them and it takes writes; else one that placement gives.
func (w *repair) target(s *survey, index int, plan *placement.Plan, m *tracker.Map, avoid []storage.NodeID) (storage.Grantee, error) {
	p := s.blob.Shards[index]
	if c := s.state[index]; c == bad || c == lost {
		n := m.Node(p.Node)
		if n != nil && n.State == tracker.NodeActive && !n.ReadOnly && !slices.Contains(avoid, p.Node) {
			return storage.Grantee{Node: n.ID, Epoch: n.Epoch}, nil
		}
	}
	return plan.Replace(&placement.Replacement{Group: s.blob.ID.Group(), Size: s.blob.Length, Shards: s.blob.Shards, Index: index, Avoid: avoid, Seed: rand.Uint64()})
}

// rebuild has a node make the shard under a new generation, and returns its
// placement and the expiry in its header. That may be an older one than this
// ticket's: an interrupted repair may have left the shard there. The switch
// must carry the header's, since the fence is compared with that before the
// node is told that the shard is not its own (SAFETY A2).
func (w *repair) rebuild(ctx context.Context, j *job, s *survey, index int, t storage.Ticket) (storage.Placement, int64, error) {
	to := t.Nodes[0].Node
	api, err := w.nodes.Shards(to)
	if err != nil {
		return storage.Placement{}, 0, fmt.Errorf("node %d: %w", to, err)
	}
	size := s.blob.Scheme.ShardSize(s.blob.Length)
	if err := w.throttle.Wait(ctx, size*int64(s.blob.Scheme.Data+1)); err != nil {
		return storage.Placement{}, 0, err
	}
	gen := max(s.blob.Shards[index].Gen, 1) + 1 + uint32(min(j.tries, 1<<16))
	r := &storage.Rebuild{Ticket: t, Target: storage.ShardID{Blob: s.blob.ID, Index: uint8(index), Gen: gen},
		Scheme: s.blob.Scheme, Length: s.blob.Length, Sources: s.sources(index)}
	if err := w.rebuildOn(ctx, api, r); err != nil {
		return storage.Placement{}, 0, fmt.Errorf("rebuild %s on node %d: %w", r.Target, to, err)
	}
	info, err := api.Stat(ctx, r.Target)
	if err != nil {
		return storage.Placement{}, 0, fmt.Errorf("stat %s on node %d after its rebuild: %w", r.Target, to, err)
	}
	if !fits(&s.blob, &info) || info.Quarantined != 0 {
		return storage.Placement{}, 0, fmt.Errorf("rebuild %s on node %d left another shard: %w", r.Target, to, storage.ErrSeal)
	}
	return storage.Placement{Node: to, Gen: gen}, info.Expiry, nil
}

// errStale ends a rebuild whose ticket the node does not take any more, since
// its state has changed: it may hang, and would for as long as it likes.
var errStale = fmt.Errorf("node changed its state while it rebuilt: %w", storage.ErrOffline)

// watchTarget is how often the state of a node that rebuilds is looked at.
const watchTarget = time.Second

// rebuildOn has a node rebuild, for as long as its epoch is that of the ticket.
// A node in this process whose disk hangs is left behind, with its goroutine.
func (w *repair) rebuildOn(ctx context.Context, api storage.Shards, r *storage.Rebuild) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	built := make(chan error, 1)
	go func() {
		_, err := api.Rebuild(ctx, r)
		built <- err
	}()
	to := r.Ticket.Nodes[0]
	for {
		select {
		case err := <-built:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.clk.After(watchTarget):
		}
		if _, m, err := w.c.Plan(ctx); err == nil {
			if n := m.Node(to.Node); n == nil || n.Epoch != to.Epoch {
				return errStale
			}
		}
	}
}

// later postpones a job after a failure; the next look asks every node.
func (w *repair) later(j *job, s *survey, err error) error {
	wait := min(w.cfg.RetryMin<<min(j.tries, 16), w.cfg.RetryMax)
	spare, below := j.spare, j.below
	if s != nil {
		spare, below = s.spare(), s.below()
	}
	dead := s != nil && errors.Is(err, erasure.ErrTooFew) && s.count(away) == 0 && j.tries > 0
	if dead && !j.dead {
		w.logger.Error().Err(err).Stringer("blob", j.id).Msg("blob cannot be repaired")
	}
	w.table.postpone(j, w.clk.Now().Add(wait), spare, below, dead, err.Error())
	if dead || passing(err) || errors.Is(err, tracker.ErrNoPlacement) {
		return nil
	}
	w.logger.Warn().Err(err).Stringer("blob", j.id).Int("tries", j.tries).Dur("wait", wait).Msg("repair of a blob failed; trying again later")
	return nil
}
