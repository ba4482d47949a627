package node

import (
	"sync"
	"sync/atomic"
	"time"
)

// load is how busy the node is, for the scheduler.
type load struct {
	inFlight atomic.Int64 // bytes of shards that are not sealed yet
	sync     recentMean
}

// recentMean is a mean in which each new time counts an eighth, and which
// fades where none comes: what was slow once is tried again.
type recentMean struct {
	mu   sync.Mutex
	mean time.Duration
	at   time.Time
}

// fadeTime is in which the mean halves without a new time.
const fadeTime = 10 * time.Second

func (r *recentMean) add(now time.Time, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if mean := r.faded(now); mean > 0 {
		d = mean + (d-mean)/8
	}
	r.mean, r.at = d, now
}

func (r *recentMean) get(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faded(now)
}

func (r *recentMean) faded(now time.Time) time.Duration {
	return r.mean >> min(max(now.Sub(r.at)/fadeTime, 0), 62)
}

// syncData makes a file's data durable, and takes the time.
func (n *Node) syncData(f interface{ SyncData() error }) error {
	began := n.clock.Now()
	err := f.SyncData()
	n.stats.syncs.Add(1)
	now := n.clock.Now()
	n.load.sync.add(now, now.Sub(began))
	return err
}
