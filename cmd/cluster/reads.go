package cluster

import (
	"sync"
	"time"

	"holdfast/internal/clock"
)

// reads is what the gateways say of the reads they serve: what these may still
// need is not dropped (SAFETY B4). A tracker that begins to lead has heard
// nothing yet; the readers' grace is longer than the gateways need to tell.
type reads struct {
	clk clock.Clock
	mu  *struct {
		sync.Mutex
		by map[[16]byte]told
	}
}

// told is one gateway's word.
type told struct {
	at     time.Time
	oldest time.Duration // how long the oldest read had been served then; 0 for none
}

// forget is after how long a gateway that says nothing more is given up.
const forget = time.Hour

func newReads(clk clock.Clock) reads {
	r := reads{clk: clk}
	r.mu = &struct {
		sync.Mutex
		by map[[16]byte]told
	}{by: map[[16]byte]told{}}
	return r
}

// tell notes what a gateway says.
func (r *reads) tell(gateway [16]byte, oldest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.by[gateway] = told{r.clk.Now(), oldest}
}

// oldest returns the catalog time in ms at which the oldest read began that is
// still served, 0 if there is none; now is catalog time.
func (r *reads) oldest(now int64) (at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, t := range r.mu.by {
		since := r.clk.Now().Sub(t.at)
		switch {
		case since > forget:
			delete(r.mu.by, id)
		case t.oldest > 0:
			if began := now - (t.oldest + since).Milliseconds(); at == 0 || began < at {
				at = began
			}
		}
	}
	return at
}
