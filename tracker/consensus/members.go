package consensus

import (
	"errors"
	"slices"

	"github.com/hashicorp/raft"
)

// quorum is who votes: for the proof that a leader is the newest (isCurrent),
// and to know whether one can be elected.
type quorum struct {
	servers []string // all voters of the configuration
	known   []*voter // those of them that run, or ran, in this process
	need    int      // a majority
	// proof is how many of known must not have passed the leader's term: a
	// majority, or all while the membership changes by one voter. Any majority
	// of the configuration before and of that after has one of them.
	proof int
}

// setQuorum takes a committed configuration as the one that counts.
func (l *Local) setQuorum(conf raft.Configuration) {
	q := &quorum{servers: serverIDs(conf)}
	q.need = len(q.servers)/2 + 1
	q.proof = q.need
	for _, v := range l.voters() {
		if v.raft != nil && q.names(v.server) {
			q.known = append(q.known, v)
		}
	}
	l.quorum.Store(q)
}

// strict returns q for the time of a change of the membership.
func (q *quorum) strict() *quorum {
	n := *q
	n.proof = max(q.need, len(q.known))
	return &n
}

func (q *quorum) names(server string) bool { return slices.Contains(q.servers, server) }

// hasQuorum reports whether enough voters run, or may run again, to elect.
func (l *Local) hasQuorum() bool {
	q := l.quorum.Load()
	if q == nil {
		return false
	}
	alive := 0
	for _, v := range q.known {
		if !v.isDead() && v.cause() == nil {
			alive++
		}
	}
	return alive >= q.need
}

// quorumLost goes over to reading where that is safe: of two voters, the last.
//
// A group of two commits nothing without both, and neither can lead without
// the other's vote, which it gets only if its log is as long. So whatever is in
// the last voter's log is either committed or will be, if the other ever comes
// back, and cannot be taken back: it may apply all of it. With three voters
// that does not hold, since the two that are lost may have gone on without it.
func (l *Local) quorumLost() {
	defer l.hopeless.Store(true)
	if l.readOnly.Load() != nil || l.ctx.Err() != nil {
		return
	}
	q := l.quorum.Load()
	if len(q.servers) != 2 {
		return
	}
	for _, v := range q.known {
		if v.isDead() || v.cause() != nil {
			continue
		}
		if err := l.applyTail(v); err != nil {
			v.log.Error().Err(err).Msg("last copy of the catalog cannot serve reads")
			return
		}
		l.readOnly.Store(v)
		v.log.Error().Msg("last of two copies of the catalog serves reads only")
		return
	}
}

// applyTail takes v away from Raft and applies its whole log.
func (l *Local) applyTail(v *voter) error {
	v.life.Lock()
	defer v.life.Unlock()
	v.guard.off.Store(true)
	v.raft.Shutdown()
	v.guard.shut()
	pos := v.fsm.position()
	if v.isDead() || v.cause() != nil {
		return errStopped
	}
	if pos.confIndex == 0 {
		return errors.New("consensus: configuration is not committed")
	}
	last, _ := v.store.LastIndex()
	conf, changed := raft.DecodeConfiguration(pos.conf), false
	before := conf
	var e raft.Log
	for i := pos.confIndex + 1; i <= last; i++ {
		if err := v.store.GetLog(i, &e); err == nil && e.Type == raft.LogConfiguration {
			before, conf, changed = conf, raft.DecodeConfiguration(e.Data), true
		}
	}
	if changed && !admitted(before, conf, v.server) {
		return errors.New("consensus: the membership was being changed")
	}
	return v.replay(last)
}

// admitted tells whether last, the newest configuration in self's log, which
// followed before, made self one of two voters. Then it counts as if it were
// committed. The leader had it in its log first, and by Raft a server goes
// by the newest configuration of its log, so nothing behind it was committed
// without self, and what is before it self has too: the logs match up to it.
func admitted(before, last raft.Configuration, self string) bool {
	if len(before.Servers) > 2 || len(last.Servers) != 2 {
		return false
	}
	found := false
	for _, s := range last.Servers {
		if s.Suffrage != raft.Voter {
			return false
		}
		found = found || string(s.ID) == self
	}
	return found
}
