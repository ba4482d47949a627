package consensus

import "time"

const (
	// quietEvery is how often a voter asks whether nothing much was written
	// since, less than quietGrowth; then it takes a snapshot of what is left
	// from quietBytes on.
	quietEvery  = 30 * time.Second
	quietGrowth = 64 << 10
	quietBytes  = 1 << 20
	// leastLog is how much log is kept for voters that are behind, however
	// small the state.
	leastLog = 16 << 20
)

// snapLoop takes a snapshot whenever enough log was written, and when writing
// has come to rest: a log that holds little is replayed soon, and the space of
// what was deleted since goes with it.
func (v *voter) snapLoop(st *stats) {
	var seen uint64 // of unsaved, when the clock was last asked
	for {
		quiet := false
		select {
		case <-v.snapDue:
		case <-v.clk.After(quietEvery):
			n := v.unsaved.Load()
			quiet = n >= quietBytes && n >= seen && n-seen < quietGrowth
			seen = n
			if !quiet {
				continue
			}
		case <-v.dead:
			return
		}
		if v.save() {
			st.snapshots.Add(1)
		}
		if v.isDead() {
			return
		}
		if quiet {
			v.tidy()
		}
	}
}

// save takes a snapshot, after which Raft cuts the log.
func (v *voter) save() bool {
	// A voter that is behind can be given the state instead: more log than
	// that takes more room than it saves time.
	if h := v.fsm.state.Load(); h.acquire() {
		v.store.Worth(max(h.DiskUsage(), leastLog))
		h.release()
	}
	saved := v.unsaved.Load()
	if err := v.wait(v.raft.Snapshot()); err != nil {
		// The next append, or quiet, asks again.
		v.log.Debug().Err(err).Msg("no snapshot now")
		return false
	}
	v.unsaved.Add(-saved)
	return true
}

// tidy gives the space back that the log took.
func (v *voter) tidy() {
	v.guard.use(func() {
		if err := v.store.Tidy(); err != nil {
			v.fail(err)
		}
	})
}
