package s3

import (
	"net/http"
	"sync"
	"time"
)

const (
	// paceBytes within paceTime, 4 KiB a second, is what a client must bring
	// while we wait for it, or it may be made to give way to others. The time
	// is a small part of budgetWait: whoever waits behind many that have a
	// share and do not use it sees them all end, and those after them.
	paceBytes = 20 << 10
	paceTime  = 5 * time.Second
)

// pace is how fast a client sends, while it is waited for.
type pace struct {
	mu struct {
		sync.Mutex
		since   time.Time     // of the read under way, zero if there is none
		waited  time.Duration // in reads before it, for what was brought
		brought int64         // bytes, since the last paceBytes of them
		cut     bool
	}
}

// begin notes that the client is waited for. It reports false once the client
// was cut off.
func (p *pace) begin(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.since = now
	return !p.mu.cut
}

// end notes that the client has brought n bytes.
func (p *pace) end(now time.Time, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.waited += now.Sub(p.mu.since)
	p.mu.since = time.Time{}
	if p.mu.brought += int64(n); p.mu.brought >= paceBytes {
		p.mu.brought, p.mu.waited = 0, 0
	}
}

// late is by how long the client, if it is being waited for, is too slow; 0 or
// less if it is not.
func (p *pace) late(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.cut || p.mu.since.IsZero() {
		return 0
	}
	return p.mu.waited + now.Sub(p.mu.since) - paceTime
}

// cut ends the read that is under way, and those to come, as if the client had
// stalled. It may be called by another goroutine.
func (b *stallReader) cut() {
	b.pace.mu.Lock()
	b.pace.mu.cut = true
	b.pace.mu.Unlock()
	// Read sets its deadline before it looks whether it is cut, so one of the
	// two ends it.
	_ = http.NewResponseController(b.w).SetReadDeadline(time.Unix(1, 0))
}
