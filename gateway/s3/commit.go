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
//
// The error is a *refusal where the very first answer was one for good.
func (c *call) commit(do func(ctx context.Context, m tracker.Mutation) error) error {
	start := time.Now()
	m := tracker.Mutation{NotAfter: c.s.catalogNow().Add(mutationLife).UnixMilli()}
	rand.Read(m.RequestID[:]) // never fails
	ctx, cancel := context.WithDeadline(context.WithoutCancel(c.r.Context()), start.Add(mutationLife))
	defer cancel()
	uncertain := false
	for try, wait := 1, firstRetryWait; ; try, wait = try+1, min(2*wait, lastRetryWait) {
		err := do(ctx, m)
		switch {
		case err == nil:
			return nil
		case try == 1 && isFinal(err):
			return &refusal{err}
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

// refusal is what a commit was refused with for good: the catalog was asked
// once, has judged the command and changed nothing, so what it names is
// referred to by nobody and never will be.
type refusal struct{ error }

// Unwrap gives the catalog's own error.
func (r *refusal) Unwrap() error { return r.error }

// isFinal reports whether the answer to the only attempt of a commit says that
// it has no effect and will have none. These are the refusals that speak of
// the command; ErrConflict is none of them, since it is also the answer where
// the blob is in the catalog already. Where an attempt before this one may be
// on its way still, the tracker joins ErrUncertain.
func isFinal(err error) bool {
	if errors.Is(err, tracker.ErrUncertain) {
		return false
	}
	for _, final := range [...]error{tracker.ErrNoSuchBucket, tracker.ErrNoSuchKey, tracker.ErrNoSuchUpload, tracker.ErrPrecondition,
		tracker.ErrFenced, tracker.ErrExpired, tracker.ErrQuota, tracker.ErrCatalogFull, tracker.ErrInvalid, tracker.ErrTooLarge} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// discard deletes the shards of data whose commit ended with err, if that was
// refused for good; the nodes would keep them until their tickets have
// expired. Best effort: what is left costs space until then.
func (c *call) discard(data *stored, err error) {
	if r := (*refusal)(nil); !errors.As(err, &r) {
		return
	}
	for i := range data.blobs {
		if err := c.s.blobs.writer.Discard(c.r.Context(), c.s.deps.Nodes, &data.blobs[i].Blob, data.holes); err != nil {
			c.log.Debug().Err(err).Str("req", c.id).Msg("shards of a refused write are left")
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
