package s3

import (
	"cmp"
	"context"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"holdfast/gateway/s3err"
)

// budget bounds the memory that bodies on their way hold, in bytes: many
// clients at once then wait for each other rather than use up the machine. A
// request takes its share only once bytes of its body are there, and a larger
// one only while its client is fast. Those whose clients bring next to nothing
// give way to those that wait.
type budget struct {
	sem   *semaphore.Weighted
	max   int64
	ended func(n int) // is told how many had to give way; may be nil
	mu    struct {
		sync.Mutex
		shares  map[*share]bool // true: was ended, and is on its way out
		wanted  int64           // bytes that are waited for
		checked time.Time
	}
}

const (
	// budgetWait is how long a request waits for its share.
	budgetWait = 30 * time.Second
	// pressEvery is how often slow clients are looked for while one waits.
	pressEvery = time.Second
	minBudget  = 64 << 20
	// readShare is what a stream that is read holds at most, in bytes: two
	// windows (see gateway/blob).
	readShare = 1 << 20
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
	b.mu.shares = map[*share]bool{}
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
	defer b.press(waiting, n)()
	if b.sem.Acquire(waiting, n) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s3err.SlowDown
}

// press makes slow clients give way until n bytes that are waited for are
// there: until the function that it returns is called, or ctx ends.
func (b *budget) press(ctx context.Context, n int64) (stop func()) {
	b.want(n)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pressEvery)
		defer tick.Stop()
		for {
			b.endSlow(time.Now())
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
		b.want(-n)
	}
}

func (b *budget) want(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.wanted += n
}

// endSlow ends requests whose clients are too slow, the slowest first and as
// many as hold what is waited for.
func (b *budget) endSlow(now time.Time) {
	slow := b.slow(now)
	for _, s := range slow {
		s.from.cut()
	}
	if len(slow) > 0 && b.ended != nil {
		b.ended(len(slow))
	}
}

// slow finds them, unless somebody has just done so.
func (b *budget) slow(now time.Time) []*share {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.mu.checked) < pressEvery/2 {
		return nil
	}
	b.mu.checked = now
	type late struct {
		s  *share
		by time.Duration
	}
	var all []late
	need := b.mu.wanted
	for s, out := range b.mu.shares {
		if out {
			need -= s.n
		} else if s.from != nil {
			if by := s.from.pace.late(now); by > 0 {
				all = append(all, late{s, by})
			}
		}
	}
	slices.SortFunc(all, func(x, y late) int { return cmp.Compare(y.by, x.by) })
	var slow []*share
	for i := 0; i < len(all) && need > 0; i++ {
		s := all[i].s
		b.mu.shares[s] = true
		slow = append(slow, s)
		need -= s.n
	}
	return slow
}

// share is what one request holds of a budget. It implements blob.Memory and
// is used by one goroutine.
type share struct {
	b    *budget
	from *stallReader // the client; nil if there is none to wait for
	n    int64        // bytes; changed under b.mu
}

// Take waits until the share is n bytes at least.
func (s *share) Take(ctx context.Context, n int64) error {
	if n <= s.n {
		return nil
	}
	if err := s.b.take(ctx, n-s.n); err != nil {
		return err
	}
	s.set(n)
	return nil
}

// Try makes the share n bytes, if they are to be had at once.
func (s *share) Try(n int64) bool {
	if more := n - s.n; more > 0 && !s.b.sem.TryAcquire(more) {
		return false
	}
	less := s.n - n
	s.set(n)
	if less > 0 {
		s.b.sem.Release(less)
	}
	return true
}

// release gives all of the share back. It may be called more than once.
func (s *share) release() { s.Try(0) }

func (s *share) set(n int64) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.n = n; n == 0 {
		delete(s.b.mu.shares, s)
	} else if _, known := s.b.mu.shares[s]; !known {
		s.b.mu.shares[s] = false
	}
}
