package consensus

import (
	"errors"

	"github.com/hashicorp/raft"
)

// setQuorum says who votes: one configuration, or the old and the new one.
func (l *Local) setQuorum(confs ...raft.Configuration) {
	q := &quorum{}
	voters := l.voters()
	for _, c := range confs {
		s := voterSet{servers: serverIDs(c)}
		s.need = len(s.servers)/2 + 1
		q.sets = append(q.sets, s)
	}
	l.quorum.Store(q)
	l.knowVoters(voters)
}

// knowVoters fills in the voters that have a Raft, whose terms can be asked.
func (l *Local) knowVoters(voters []*voter) {
	old := l.quorum.Load()
	q := &quorum{}
	for _, s := range old.sets {
		s.known = nil
		for _, id := range s.servers {
			for _, v := range voters {
				if v.raft != nil && v.server == id {
					s.known = append(s.known, v)
				}
			}
		}
		q.sets = append(q.sets, s)
	}
	l.quorum.Store(q)
}

// hasQuorum reports whether enough voters run, or may run again, to elect.
func (l *Local) hasQuorum() bool {
	q := l.quorum.Load()
	if q == nil {
		return false
	}
	for _, s := range q.sets {
		alive := 0
		for _, v := range s.known {
			if !v.isDead() && v.cause() == nil {
				alive++
			}
		}
		if alive < s.need {
			return false
		}
	}
	return true
}

// quorumLost goes over to reading where that is safe: of two voters, the last.
//
// A group of two commits nothing without both, and neither can lead without
// the other's vote, which it gets only if its log is as long. So whatever is in
// the last voter's log is either committed or will be, if the other ever comes
// back, and cannot be taken back: it may apply all of it. With three voters
// that does not hold, since the two that are lost may have gone on without it.
func (l *Local) quorumLost() {
	if l.readOnly.Load() != nil || l.ctx.Err() != nil {
		return
	}
	q := l.quorum.Load()
	if len(q.sets) != 1 || len(q.sets[0].servers) != 2 {
		return
	}
	for _, v := range q.sets[0].known {
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
	var e raft.Log
	for i := pos.confIndex + 1; i <= last; i++ {
		if err := v.store.GetLog(i, &e); err == nil && e.Type == raft.LogConfiguration {
			return errors.New("consensus: the membership was being changed")
		}
	}
	return v.replay(last)
}
