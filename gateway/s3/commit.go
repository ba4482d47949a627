package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

const (
	mutationLife    = 60 * time.Second // from the commit's start to NotAfter
	unavailableWait = 5 * time.Second  // retries while the catalog says it cannot answer
	firstRetryWait  = 20 * time.Millisecond
	lastRetryWait   = time.Second
)

// commit runs one intent of the client against the catalog: do is called with
// one request id until it has an answer or the mutation's time is over, so
// that it takes effect at most once and an unknown outcome is resolved rather
// than reported. From here on the client's going away stops nothing.
func (c *call) commit(do func(ctx context.Context, m tracker.Mutation) error) error {
	start := time.Now()
	m := tracker.Mutation{NotAfter: c.s.catalogNow().Add(mutationLife).UnixMilli()}
	rand.Read(m.RequestID[:]) // never fails
	ctx, cancel := context.WithDeadline(context.WithoutCancel(c.r.Context()), start.Add(mutationLife))
	defer cancel()
	uncertain := false
	for wait := firstRetryWait; ; wait = min(2*wait, lastRetryWait) {
		err := do(ctx, m)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, tracker.ErrUncertain):
			uncertain = true
		case fault.KindOf(err) == fault.NotLeader:
		case errors.Is(err, tracker.ErrUnavailable):
			if !uncertain && time.Since(start) > unavailableWait {
				return err
			}
		default:
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
	}
}

// catalogNow is the time by the tracker's clock.
func (s *Server) catalogNow() time.Time {
	if s.deps.Clock != nil {
		return s.deps.Clock.Now()
	}
	return time.Now()
}

// sleep waits for d and reports whether ctx was still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reportDamage tells the scheduler of holes and bad shards. Best effort:
// reconcile finds again what is lost here.
func (c *call) reportDamage(damage []storage.Damage) {
	if len(damage) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), 5*time.Second)
	defer cancel()
	if err := c.s.deps.Scheduler.ReportDamage(ctx, damage); err != nil {
		c.log.Warn().Err(err).Str("req", c.id).Int("shards", len(damage)).Msg("damage was not reported")
	}
}
