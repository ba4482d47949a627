package consensus

import "time"

// watch is the watchdog of hanging disks. Raft's heartbeats do not touch the
// disk, so a leader whose disk hangs would lead for ever: it is cut off, the
// others elect, and it comes back when the write returns.
func (l *Local) watch() {
	tick := l.cfg.SlowWrite / 4
	var seen uint64
	for {
		select {
		case <-l.cfg.Clock.After(tick):
		case <-l.ctx.Done():
			return
		}
		now := l.cfg.Clock.Now()
		for _, v := range l.voters() {
			if v.raft != nil && !v.isDead() {
				l.checkVoter(v, now)
			}
		}
		if n := l.proposals(); n != seen {
			seen = n
			l.measureSpace()
		}
	}
}

func (l *Local) checkVoter(v *voter, now time.Time) {
	switch v.checkWrites(&l.parts.cfg, now) {
	case stepsAside:
		l.stats.suspended.Add(1)
		l.lead.CompareAndSwap(v, nil)
		v.interrupt()
		l.disconnect(v)
		l.kick()
	case comesBack:
		l.connect(v)
		select {
		case v.notify <- true: // it may lead still
		default:
		}
		l.kick()
	}
}

// watchEvent is what the watchdog found.
type watchEvent int

const (
	nothingNew watchEvent = iota
	stepsAside            // the disk began to hang
	comesBack             // it answers again
)

// checkWrites looks at the running writes of log and state. A voter whose disk
// hangs for too long is ended by it.
func (v *voter) checkWrites(cfg *settings, now time.Time) watchEvent {
	d := max(hanging(v.guard.since.Load(), now), hanging(v.fsm.since.Load(), now))
	switch {
	case d > cfg.DeadWrite:
		v.fail(errHanging)
	case d > cfg.SlowWrite && v.suspended.CompareAndSwap(false, true):
		v.log.Warn().Dur("dur", d).Msg("disk of a copy hangs; it steps aside")
		return stepsAside
	case d <= cfg.SlowWrite && v.suspended.CompareAndSwap(true, false):
		v.log.Warn().Msg("disk of a copy answers again; it comes back")
		return comesBack
	}
	return nothingNew
}

func hanging(since int64, now time.Time) time.Duration {
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since))
}
