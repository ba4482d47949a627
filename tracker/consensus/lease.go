package consensus

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// leaseMargin is taken off what a voter promises, for clocks that do not run
// alike: 5 % of a HeartbeatTimeout of 1 s.
const leaseMargin = 50 * time.Millisecond

// lease is the leader's right to answer reads from its own state.
//
// A leader of term T may be deposed without knowing, and then its state lacks
// what its successor has acknowledged. It serves a read only if, at some
// instant after the read began, nobody can have been elected for a later term.
//
// For that it pings the voters. A voter answers only if it follows this leader
// in T, with the age of its last contact by Raft, and promises (see pledge)
// to take part in no election of a later term before HeartbeatTimeout - age
// has passed. The leader counts the same time from when it sent the ping, which
// was earlier, less leaseMargin. It holds the lease while a majority of the
// voters, itself included, has promises that have not run out by its clock.
//
// # Why this is sound
//
// Say valid(T) returned true. It read the clock at an instant x, and Raft's
// term was T at y after it; let z be the earlier one. Suppose leaders had been
// elected for terms after T before z, and take the first of these elections. Its
// voters are a majority of a configuration, so one of them, V, is in the majority
// that made up the lease.
//
//   - V is the leader itself: it raises its term before it votes, but its term
//     was T at y.
//   - V is another: it took part in the election at or after its promise, since
//     it was still in T when it promised, and before z, while the promise held.
//     Its transport let no request for a vote through then, unless the leader of
//     a term P asked for the election of term P+1 by a transfer. P is not before
//     T, and not after it, since this election is the first; and the leader of T
//     gives up the lease of T for ever (forbid) before it asks.
//
// That the two majorities share a voter holds for one configuration and for two
// of which one follows the other by a change of one voter. The leader changes
// the membership itself, one server at a time, and only after an entry of its
// own term is committed. The lease has no configuration from before a change is
// asked for until its outcome is known, in whatever term (see change).
//
// The leader has applied all that was committed in earlier terms before the
// term is granted any lease (begin), and it acknowledges nothing that it has not
// applied. So at z its state holds all that was ever acknowledged, and the view
// is taken after z.
//
// # What it rests on
//
// Clocks of leader and voter run alike to 5 %, and both go on while the process
// stands still. A virtual machine that is paused as a whole may have its clock
// stopped with it; it can serve stale reads for the rest of one lease when it
// goes on. Whoever migrates virtual machines uses Strict. HeartbeatTimeout must
// be the same everywhere: pings say it and others are refused.
type lease struct {
	now func() time.Time

	granted   atomic.Pointer[grant]
	forbidden atomic.Uint64 // no lease in this term or an earlier one

	mu   sync.Mutex
	term uint64
	conf *leaseConf // nil while the membership changes, or nobody leads
	ends map[string]time.Time
	// changed is closed when the lease may have become valid, or cannot any more.
	changed chan struct{}
}

// leaseConf is who votes, as the lease counts it.
type leaseConf struct {
	voters []ServerInfo // without the leader itself
	need   int          // promises of others that make a majority with the leader
}

// grant is a lease that holds until a time.
type grant struct {
	term  uint64
	conf  *leaseConf
	until time.Time
	ever  bool // the leader alone is the majority
}

func newLease(now func() time.Time) *lease {
	return &lease{now: now, changed: make(chan struct{})}
}

// begin starts the lease of a term in which all earlier entries were applied.
// The membership is not known before setConf.
func (l *lease) begin(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term, l.conf, l.ends = term, nil, make(map[string]time.Time)
	l.settle()
}

// end drops the lease: this replica does not lead any more, or should not.
func (l *lease) end() { l.begin(0) }

// setConf sets the membership that counts in term; nil drops it.
func (l *lease) setConf(term uint64, conf *leaseConf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == term {
		l.conf = conf
		l.settle()
	}
}

// forbid gives up the lease for term and all before, for ever.
func (l *lease) forbid(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forbidden.Store(max(l.forbidden.Load(), term))
	l.settle()
}

// promised notes that a voter's promise for term ends at a time.
func (l *lease) promised(term uint64, server string, end time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != term || !end.After(l.ends[server]) {
		return
	}
	l.ends[server] = end
	l.settle()
}

// settle works out what is granted; the lock is held.
func (l *lease) settle() {
	g := l.majority()
	l.granted.Store(g)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lease) majority() *grant {
	if l.conf == nil || l.term <= l.forbidden.Load() {
		return nil
	}
	if l.conf.need == 0 {
		return &grant{term: l.term, conf: l.conf, ever: true}
	}
	var ends []time.Time
	for _, v := range l.conf.voters {
		if end, ok := l.ends[v.Server]; ok {
			ends = append(ends, end)
		}
	}
	if len(ends) < l.conf.need {
		return nil
	}
	slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
	return &grant{term: l.term, conf: l.conf, until: ends[l.conf.need-1]}
}

// valid reports whether the leader of term holds the lease. The caller looks
// at Raft's term afterwards.
func (l *lease) valid(term uint64) bool {
	g := l.granted.Load()
	if g == nil || g.term != term || !g.ever && !l.now().Before(g.until) {
		return false
	}
	// The membership did not change before the clock was read.
	again := l.granted.Load()
	return again != nil && again.conf == g.conf
}

// possible reports whether there can be a lease in term once promises come:
// not while the membership changes, and not after leadership was to be handed
// over.
func (l *lease) possible(term uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term == term && l.conf != nil && term > l.forbidden.Load()
}

// wait returns a channel that is closed at the next change.
func (l *lease) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// current returns the term of the lease, 0 if this replica does not lead.
func (l *lease) current() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// asked returns whom to ask for promises.
func (l *lease) asked() (term uint64, voters []ServerInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conf == nil || l.conf.need == 0 || l.term <= l.forbidden.Load() {
		return 0, nil
	}
	return l.term, l.conf.voters
}
