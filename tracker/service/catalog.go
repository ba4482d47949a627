package service

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"holdfast/internal/clock"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	"holdfast/tracker/kv"
)

// Catalog implements tracker.Catalog on a replicated log: it stamps, encodes
// and proposes commands, asks again under the same request id while the
// outcome is not known, and reads under the log's lease. It also implements
// Registry. It is safe for concurrent use and starts no goroutine that
// outlives a call.
type Catalog struct {
	log   consensus.Log
	clk   clock.Clock
	floor atomic.Int64 // destructive time as last seen, where the clock is behind it, ms
	once  bool         // who asks looks for the leader himself
}

// NewCatalog returns the catalog of one Raft group.
func NewCatalog(log consensus.Log, clk clock.Clock) *Catalog {
	return &Catalog{log: log, clk: clk}
}

// NewReplicated is NewCatalog for one voter of several: where this process
// does not lead, callers are told tracker.ErrNotLeader at once, and ask there.
func NewReplicated(log consensus.Log, clk clock.Clock) *Catalog {
	return &Catalog{log: log, clk: clk, once: true}
}

const (
	// patience is how long a request may be asked for, from its first stamp.
	patience = 60 * time.Second
	// readPatience is how long a read waits for a leader.
	readPatience = 10 * time.Second
	firstPause   = 5 * time.Millisecond
	longestPause = 200 * time.Millisecond
)

// Time is what the next command will be stamped with, in ms: the clock, or
// destructive time where the clock is behind it.
func (c *Catalog) Time() int64 { return max(c.clk.Now().UnixMilli(), c.floor.Load()) }

// LeaderEpoch implements Leadership.
func (c *Catalog) LeaderEpoch() (uint64, bool) { return c.log.LeaderEpoch() }

func newRequestID() (id tracker.RequestID) {
	binary.LittleEndian.PutUint64(id[:], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

// Do proposes a command until it is answered or m.NotAfter has passed by this
// process's clock, and returns what the catalog says of it; a refusal is the
// error. growth is as in consensus.Log. tracker.ErrUncertain if it may have
// taken effect, or be about to, tracker.ErrUnavailable if it has not. A refusal
// is joined with tracker.ErrUncertain where an earlier attempt may yet be
// applied, and is final without.
func (c *Catalog) Do(ctx context.Context, m tracker.Mutation, cmd catalog.Command, growth bool) (any, error) {
	if m.RequestID == (tracker.RequestID{}) {
		m.RequestID = newRequestID()
	}
	own := m.NotAfter == 0
	if own {
		m.NotAfter = c.clk.Now().Add(patience).UnixMilli()
	}
	hint := 256
	if s, ok := cmd.(interface{ SizeHint() int }); ok {
		hint = s.SizeHint()
	}
	at, notAfter := c.stamp(m.NotAfter)
	h := catalog.Header{At: at, Request: m.RequestID, NotAfter: notAfter}
	return c.propose(ctx, catalog.Encode(make([]byte, 0, hint), h, cmd), m.NotAfter, own, growth)
}

// stamp returns the time of a command and its NotAfter, both by catalog time,
// of which this process's clock may be behind. The time left is that of the
// caller's NotAfter by this process's clock, within what the catalog allows.
func (c *Catalog) stamp(notAfter int64) (at, until int64) {
	now := c.clk.Now().UnixMilli()
	at = max(now, c.floor.Load())
	return at, at + min(notAfter-now, catalog.MaxPatience)
}

// propose does Do for an encoded command. own says that notAfter is this
// package's, to be set again where a command came too late and did nothing.
func (c *Catalog) propose(ctx context.Context, cmd []byte, notAfter int64, own, growth bool) (any, error) {
	uncertain := false
	for pause, tries := firstPause, 0; ; tries++ {
		r, err := c.log.Propose(ctx, cmd, growth)
		if err == nil {
			refusal, refused := r.(error)
			if !refused {
				return r, nil
			}
			if !errors.Is(refusal, tracker.ErrExpired) {
				return nil, afterAll(uncertain, refusal)
			}
			// The catalog looks for an earlier attempt first, so none was applied.
			if own && !uncertain {
				notAfter = c.clk.Now().Add(patience).UnixMilli()
			}
			if tries > 3 || c.clk.Now().UnixMilli() > notAfter || c.learnTime(ctx) != nil {
				return nil, gaveUp(uncertain, refusal)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, tracker.ErrUncertain):
			uncertain = true
		case errors.Is(err, tracker.ErrUnavailable) && !uncertain:
			return nil, err // there is no majority, and nothing was proposed
		case errors.Is(err, tracker.ErrNotLeader), errors.Is(err, tracker.ErrUnavailable):
		default:
			return nil, afterAll(uncertain, err)
		}
		if err != nil {
			if c.once && errors.Is(err, tracker.ErrNotLeader) {
				return nil, afterAll(uncertain, err)
			}
			if c.clk.Now().UnixMilli()+pause.Milliseconds() > notAfter {
				return nil, gaveUp(uncertain, err)
			}
			if werr := c.wait(ctx, pause); werr != nil {
				return nil, gaveUp(uncertain, werr)
			}
			pause = min(2*pause, longestPause)
		}
		// The log may still hold the bytes of the last attempt.
		cmd = bytes.Clone(cmd)
		at, until := c.stamp(notAfter)
		catalog.Restamp(cmd, at, until)
	}
}

// afterAll says of a refusal that an earlier attempt is not accounted for.
// Whoever carries on only the first sentinel then carries the careful one.
func afterAll(uncertain bool, refusal error) error {
	if uncertain {
		return fmt.Errorf("%w (last: %w)", tracker.ErrUncertain, refusal)
	}
	return refusal
}

func gaveUp(uncertain bool, err error) error {
	if uncertain {
		return fmt.Errorf("%w (last: %v)", tracker.ErrUncertain, err)
	}
	if errors.Is(err, tracker.ErrNotLeader) {
		return fmt.Errorf("%w (last: %v)", tracker.ErrUnavailable, err)
	}
	return err
}

func (c *Catalog) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.clk.After(d):
		return nil
	}
}

// learnTime reads destructive time, which this clock may be behind.
func (c *Catalog) learnTime(ctx context.Context) error {
	s, err := c.State(ctx)
	if err != nil {
		return err
	}
	for {
		old := c.floor.Load()
		if old >= s.Now || c.floor.CompareAndSwap(old, s.Now) {
			return nil
		}
	}
}

// State reads the group's own state.
func (c *Catalog) State(ctx context.Context) (s catalog.State, err error) {
	err = c.View(ctx, func(r kv.Reader) error {
		s, err = catalog.ReadState(r)
		return err
	})
	return s, err
}

// View calls f with a linearizable view of the catalog, which is valid until
// f returns. It waits for a leader for up to readPatience.
func (c *Catalog) View(ctx context.Context, f func(kv.Reader) error) error {
	deadline := c.clk.Now().Add(readPatience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		r, release, err := c.log.Read(ctx)
		if err == nil {
			defer release()
			return f(r)
		}
		if !errors.Is(err, tracker.ErrNotLeader) && !errors.Is(err, tracker.ErrUnavailable) || c.once || c.clk.Now().After(deadline) {
			return err
		}
		if err := c.wait(ctx, pause); err != nil {
			return err
		}
	}
}

// view reads one answer.
func view[T any](ctx context.Context, c *Catalog, f func(kv.Reader) (T, error)) (out T, err error) {
	err = c.View(ctx, func(r kv.Reader) error {
		out, err = f(r)
		return err
	})
	return out, err
}
