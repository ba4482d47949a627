package consensus

// watch is the watchdog of a hanging disk and the beat of all that is done now
// and then. Raft's heartbeats do not touch the disk, so a leader whose disk
// hangs would lead for ever, and Raft's main thread, which hangs with it, could
// not hand over: its network is shut, the others elect, and it is opened again
// when the write returns.
func (r *Replica) watch() {
	tick := min(r.cfg.SlowWrite/4, r.cfg.HeartbeatTimeout/2)
	for r.sleep(tick) {
		r.lent.expire(r.cfg.Clock.Now())
		v := r.voter.Load()
		if v == nil || v.isDead() {
			continue
		}
		switch v.checkWrites(&r.parts.cfg, r.cfg.Clock.Now()) {
		case stepsAside:
			r.stats.suspended.Add(1)
			r.lease.end()
			v.interrupt()
			r.net.setShut(true)
		case comesBack:
			r.net.setShut(false)
			select {
			case v.notify <- true: // it may lead still
			default:
			}
		}
		if v.suspended.Load() {
			continue
		}
		r.poll(v)
		r.lookBeside(v)
		if v.space.busy.CompareAndSwap(false, true) {
			// Nobody waits for this one: it asks a disk, which may hang.
			go func() {
				defer v.space.busy.Store(false)
				v.measure(&r.parts.cfg)
			}()
		}
	}
}
