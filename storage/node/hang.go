package node

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// calls knows which calls on the disk are under way and since when, so that a
// disk that hangs is told of while the calls wait for it.
type calls struct {
	wg sync.WaitGroup
	mu struct {
		sync.Mutex
		last  uint64
		since map[uint64]time.Time // of writes
		look  chan struct{}        // closed when the look that is under way has ended
		began time.Time            // of that look
		err   error                // what the last look found
		over  bool                 // the node is being closed
	}
}

// close waits for a look that is under way; none is begun any more.
func (c *calls) close() {
	c.mu.Lock()
	c.mu.over = true
	c.mu.Unlock()
	c.wg.Wait()
}

// begin notes a call; end must be called with what it returns.
func (c *calls) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.since == nil {
		c.mu.since = map[uint64]time.Time{}
	}
	c.mu.last++
	c.mu.since[c.mu.last] = time.Now()
	return c.mu.last
}

func (c *calls) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.since, id)
}

// errHangs is what Status tells of a disk that does not answer. Its text does
// not change while it hangs, so that it is logged once.
var errHangs = errors.New("its disk hangs")

// hanging returns an error while a write has lasted for over limit.
func (c *calls) hanging(limit time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.mu.since {
		if time.Since(at) > limit {
			return fmt.Errorf("%w: a write has not ended for over %v; look at the kernel's log, and if the disk is failing replace it", errHangs, limit)
		}
	}
	return nil
}

// lookWait is how long Status waits for the disk.
const lookWait = time.Second

// look asks the disk whether the directory is there and how full it is. A disk
// that hangs holds up nobody for longer than lookWait; it is told of once the
// look has lasted for the limit, and until then the last answer stands.
func (n *Node) look() error {
	c := &n.calls
	c.mu.Lock()
	done := c.mu.look
	if c.mu.over {
		defer c.mu.Unlock()
		return c.mu.err
	}
	if done == nil {
		done = make(chan struct{})
		c.mu.look, c.mu.began = done, time.Now()
		c.wg.Go(func() {
			err := n.space.refresh(n)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.mu.look, c.mu.err = nil, err
			close(done)
		})
	}
	c.mu.Unlock()
	wait := time.NewTimer(lookWait)
	defer wait.Stop()
	select {
	case <-done:
	case <-wait.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.look == done && time.Since(c.mu.began) > n.limits.HangAfter {
		return fmt.Errorf("%w: it has not said for over %v how full it is; look at the kernel's log, and if the disk is failing replace it", errHangs, n.limits.HangAfter)
	}
	return c.mu.err
}
