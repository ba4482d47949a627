package worker

import (
	"container/heap"
	"sync"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// report is what someone says of a shard.
type report struct {
	shard   storage.ShardID
	node    storage.NodeID
	missing bool // it was not there; else its bytes are bad
}

// job is a blob that needs repair, or may.
type job struct {
	id      storage.BlobID
	reports []report
	spare   int // shards that may be lost still, as far as known
	since   time.Time
	due     time.Time
	below   bool // it is under its target by the catalog's word, or a node's
	tries   int
	reason  string // why it waits
	dead    bool   // it cannot be repaired from what answers
	again   bool   // something was reported while it was being worked on
	busy    bool
	at      int // index in its heap
	waiting bool
}

// table holds the jobs: those that are due, fewest spare shards first, and
// those that wait. It is bounded; what does not fit is found by the next
// census.
type table struct {
	max  int
	wake chan struct{}
	mu   struct {
		sync.Mutex
		jobs     map[storage.BlobID]*job
		ready    byRisk
		later    byDue
		overflow int64
		dead     int
		below    int64
		done     uint64
		failed   uint64
	}
}

func newTable(max int) *table {
	t := &table{max: max, wake: make(chan struct{}, 1)}
	t.mu.jobs = map[storage.BlobID]*job{}
	return t
}

// reset forgets all jobs.
func (t *table) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.jobs = map[storage.BlobID]*job{}
	t.mu.ready, t.mu.later = nil, nil
	t.mu.overflow, t.mu.dead, t.mu.below = 0, 0, 0
}

// add enters a blob or what is new about it, and reports whether there was
// room.
func (t *table) add(id storage.BlobID, now time.Time, spare int, below bool, reports ...report) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	j := t.mu.jobs[id]
	switch {
	case j == nil && len(t.mu.jobs) >= t.max:
		t.mu.overflow++
		return false
	case j == nil:
		j = &job{id: id, spare: spare, since: now, due: now}
		t.mu.jobs[id] = j
		heap.Push(&t.mu.ready, j)
	case j.busy:
		j.again = true
	case spare < j.spare || len(reports) > 0:
		t.unlink(j)
		j.spare, j.due = min(j.spare, spare), now
		heap.Push(&t.mu.ready, j)
		j.waiting = false
	}
	if below && !j.below {
		j.below = true
		t.mu.below++
	}
	for _, r := range reports {
		if len(j.reports) < 64 {
			j.reports = append(j.reports, r)
		}
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return true
}

// unlink takes a job out of its heap.
func (t *table) unlink(j *job) {
	if j.waiting {
		heap.Remove(&t.mu.later, j.at)
	} else {
		heap.Remove(&t.mu.ready, j.at)
	}
}

// take returns the job at most risk of those that are due, nil if there is
// none, with how long until one is (0 if there is none at all). The caller
// owns the job until finish or postpone.
func (t *table) take(now time.Time) (j *job, reports []report, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.mu.later) > 0 && !t.mu.later[0].due.After(now) {
		j := heap.Pop(&t.mu.later).(*job)
		j.waiting = false
		heap.Push(&t.mu.ready, j)
	}
	if len(t.mu.ready) == 0 {
		if len(t.mu.later) > 0 {
			wait = t.mu.later[0].due.Sub(now)
		}
		return nil, nil, wait
	}
	j = heap.Pop(&t.mu.ready).(*job)
	j.busy, j.again = true, false
	return j, append([]report(nil), j.reports...), 0
}

// hurry makes every job that waits due: the cluster changed.
func (t *table) hurry(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.mu.later) > 0 {
		j := heap.Pop(&t.mu.later).(*job)
		j.waiting, j.due = false, now
		heap.Push(&t.mu.ready, j)
	}
	if len(t.mu.ready) > 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// believe takes what was reported of an index for a hole's report: a writer
// left it, and the shard that fills it now is not what was spoken of.
func (t *table) believe(j *job, reports []report, index int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, list := range [2][]report{j.reports, reports} {
		for i := range list {
			if int(list[i].shard.Index) == index {
				list[i].missing = true
			}
		}
	}
}

// finish ends a job, unless something was reported meanwhile.
func (t *table) finish(j *job, now time.Time, repaired bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if repaired {
		t.mu.done++
	}
	j.busy = false
	t.setDead(j, false)
	if j.again {
		j.due, j.tries, j.reason = now, 0, ""
		heap.Push(&t.mu.ready, j)
		return
	}
	if j.below {
		t.mu.below--
	}
	delete(t.mu.jobs, j.id)
}

// postpone puts a job back for a while.
func (t *table) postpone(j *job, due time.Time, spare int, below, dead bool, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if below != j.below {
		j.below = below
		if below {
			t.mu.below++
		} else {
			t.mu.below--
		}
	}
	t.setDead(j, dead)
	j.busy, j.spare, j.due, j.reason = false, spare, due, reason
	j.tries++
	if j.again {
		heap.Push(&t.mu.ready, j)
		return
	}
	j.waiting = true
	heap.Push(&t.mu.later, j)
}

func (t *table) setDead(j *job, dead bool) {
	if dead != j.dead {
		j.dead = dead
		if dead {
			t.mu.dead++
			t.mu.failed++
		} else {
			t.mu.dead--
		}
	}
}

// stats is the table in numbers.
type stats struct {
	length, below, overflow int64
	dead, ready             int
	oldest                  time.Time
	done, failed            uint64
}

func (t *table) stats() stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := stats{length: int64(len(t.mu.jobs)), below: t.mu.below, overflow: t.mu.overflow, dead: t.mu.dead, ready: len(t.mu.ready), done: t.mu.done, failed: t.mu.failed}
	if len(t.mu.ready) > 0 {
		s.oldest = t.mu.ready[0].since
	}
	return s
}

// unrecoverable lists up to max of the blobs that cannot be repaired.
func (t *table) unrecoverable(max int) (out []tracker.LostBlob) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.dead == 0 {
		return nil
	}
	for _, j := range t.mu.jobs {
		if j.dead && len(out) < max {
			out = append(out, tracker.LostBlob{Blob: j.id, Reason: j.reason})
		}
	}
	return out
}

// risk counts the jobs by how many shards their blobs can still lose, and
// those that are being worked on.
func (t *table) risk() (bySpare map[int]int64, busy int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	bySpare = map[int]int64{}
	for _, j := range t.mu.jobs {
		bySpare[j.spare]++
		if j.busy {
			busy++
		}
	}
	return bySpare, busy
}

// has tells whether the blob is in the table.
func (t *table) has(id storage.BlobID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.jobs[id] != nil
}

// full tells whether there is room for n more.
func (t *table) full(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.mu.jobs)+n > t.max
}

// byRisk orders jobs by spare shards, then by age.
type byRisk []*job

func (h byRisk) Len() int { return len(h) }
func (h byRisk) Less(i, k int) bool {
	if h[i].spare != h[k].spare {
		return h[i].spare < h[k].spare
	}
	return h[i].since.Before(h[k].since)
}
func (h byRisk) Swap(i, k int) { h[i], h[k] = h[k], h[i]; h[i].at, h[k].at = i, k }
func (h *byRisk) Push(x any)   { j := x.(*job); j.at = len(*h); *h = append(*h, j) }
func (h *byRisk) Pop() any     { return popJob((*[]*job)(h)) }

// byDue orders jobs by when they are due.
type byDue []*job

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, k int) bool { return h[i].due.Before(h[k].due) }
func (h byDue) Swap(i, k int)      { h[i], h[k] = h[k], h[i]; h[i].at, h[k].at = i, k }
func (h *byDue) Push(x any)        { j := x.(*job); j.at = len(*h); *h = append(*h, j) }
func (h *byDue) Pop() any          { return popJob((*[]*job)(h)) }

func popJob(h *[]*job) *job {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}
