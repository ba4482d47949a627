package s3

import (
	"context"
	"math"
	"runtime/debug"
	"time"

	"golang.org/x/sync/semaphore"

	"holdfast/gateway/s3err"
)

// budget bounds the memory that bodies on their way hold, in bytes: many
// clients at once, or many that stand still, then wait for each other rather
// than use up the machine. A request takes its share only once the first bytes
// of its body are there.
type budget struct {
	sem *semaphore.Weighted
	max int64
}

const (
	// budgetWait is how long a request waits for its share.
	budgetWait = 30 * time.Second
	minBudget  = 64 << 20
	// writeShare and readShare are what a stream that is written or read holds
	// at most, in bytes: two batches, two windows (see gateway/blob).
	writeShare = 5 << 19
	readShare  = 1 << 20
)

// newBudget returns a budget of a fraction of the process's memory limit, of
// 2 GiB where there is none.
func newBudget(fraction int64) *budget {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = 2 << 30
	}
	b := &budget{max: max(limit/fraction, minBudget)}
	b.sem = semaphore.NewWeighted(b.max)
	return b
}

// take waits for n bytes; what it took is given back by sem.Release(n). It
// returns SlowDown when that takes too long.
func (b *budget) take(ctx context.Context, n int64) error {
	if b.sem.TryAcquire(n) {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, budgetWait)
	defer cancel()
	if b.sem.Acquire(waiting, n) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s3err.SlowDown
}
