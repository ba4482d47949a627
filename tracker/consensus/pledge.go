package consensus

import (
	"sync"
	"time"
)

// pledge is a voter's part of read leases: until a time it takes part in no
// election of a term later than the one it promised, neither as a candidate nor
// by its vote. Raft's own rule, that a follower which hears of its leader
// neither campaigns nor votes, is nearly that, but its heartbeats are taken
// beside its main thread, which may have made up its mind just before. So the
// transport holds the promise: it lets no request for a vote out or in
// against it.
//
// An election that the leader itself asked for (a transfer of leadership) is
// allowed: it gave its lease up before, for the whole term. See transport for
// how such an election is known from one of another term.
//
// A voter that was restarted does not know what it promised before, so it
// begins with a promise to nobody for one HeartbeatTimeout.
type pledge struct {
	now func() time.Time

	// voting is held while Raft judges a request for a vote, and while a
	// promise is made: so a promise is made either before Raft judges, and is
	// seen, or after, and then the term it is asked for has passed.
	voting sync.Mutex

	mu     sync.Mutex
	term   uint64
	leader string // server
	until  time.Time
	permit uint64 // term whose leader asked this voter to campaign; the next may be voted for
}

// make promises leader, who leads in term, the time until. The caller holds
// voting, and answers only if Raft is still in term afterwards: then whatever
// this voter asks for from now on is seen to be against the promise.
func (p *pledge) make(term uint64, leader string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if term > p.term || term == p.term && until.After(p.until) {
		p.term, p.leader, p.until = term, leader, until
	}
}

// forbids reports whether an election of candidate for term is against the promise.
func (p *pledge) forbids(term uint64, candidate string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return term > p.term && candidate != p.leader && p.now().Before(p.until)
}

// allow notes that the leader of term asked this voter to campaign.
func (p *pledge) allow(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.permit = max(p.permit, term)
}

// transferred reports whether the election for term is one that the leader of
// the term before asked this voter for.
func (p *pledge) transferred(term uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.permit != 0 && term == p.permit+1
}
