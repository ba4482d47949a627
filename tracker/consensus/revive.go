package consensus

import (
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// reviveRest is how long a voter that stopped rests before it is tried
	// again; it doubles up to mostRest times that.
	reviveRest = time.Minute
	mostRest   = 64
)

var (
	errBusy     = errors.New("what it had open is not closed yet")
	errOtherNow = errors.New("its directory holds another voter by now, or the group has no place for it")
)

// revive opens a voter that an error stopped anew, as a restart would, once its
// disk takes writes and its process has descriptors for it. It ends when that
// is done, when the voter is no member any more, or with the group. The last of
// two voters that serves reads only is left alone: Raft is not to be had for
// it any more before a restart.
func (l *Local) revive(v *voter) {
	told := false
	for rest := l.cfg.reviveRest; ; rest = min(2*rest, mostRest*l.cfg.reviveRest) {
		select {
		case <-l.ctx.Done():
			return
		case <-l.cfg.Clock.After(rest):
		}
		over, err := l.tryRevive(v)
		if over {
			return
		}
		if !told {
			told = true
			v.log.Info().Err(err).Msg("stopped copy of the catalog cannot be opened yet; tried again")
		}
	}
}

// tryRevive reports whether there is nothing more to do for v.
func (l *Local) tryRevive(v *voter) (over bool, err error) {
	if l.givenUp(v) {
		return true, nil
	}
	if !v.gone() {
		return false, errBusy
	}
	// Before the lock, since the disk may hang.
	if err := v.probe(); err != nil {
		return false, err
	}
	_, done, err := l.administer(l.ctx)
	if err != nil {
		return true, nil // closed
	}
	defer done()
	if l.givenUp(v) {
		return true, nil
	}
	w := newVoter(v.Voter, l.cfg.Machine(l.number()), l.parts, func(w *voter, err error) {
		<-w.opened
		if slices.Contains(l.voters(), w) {
			l.voterFailed(w, err)
		}
	})
	if err := l.reopen(w, v); err != nil {
		close(w.opened)
		w.retire(err)
		l.stop(w)
		return false, err
	}
	l.takePlace(w, v)
	close(w.opened)
	l.run(w)
	l.kick()
	w.log.Warn().Msg("copy of the catalog that had stopped runs again")
	return true, nil
}

// givenUp reports whether a stopped voter is not to be opened anew.
func (l *Local) givenUp(v *voter) bool {
	return v.leaving.Load() || !slices.Contains(l.voters(), v) || l.readOnly.Load() != nil
}

// reopen opens w on the directory of v and starts its Raft, which nobody
// reaches yet.
func (l *Local) reopen(w, v *voter) error {
	if err := w.openLog(l.parts, false); err != nil {
		return err
	}
	if w.id.Server != v.server || w.id.Recovery != v.recovery || !l.quorum.Load().names(v.server) {
		return errOtherNow
	}
	if err := w.assemble(l.parts); err != nil {
		return err
	}
	return w.startLocal(l.parts)
}

// takePlace puts w in the place of v. Its term is at least v's, which was
// durable before v told anybody (see isCurrent), and nobody reaches it before.
func (l *Local) takePlace(w, v *voter) {
	replaced := func(list []*voter) []*voter {
		list = slices.Clone(list)
		for i := range list {
			if list[i] == v {
				list[i] = w
			}
		}
		return list
	}
	q := *l.quorum.Load()
	q.known = replaced(q.known)
	l.quorum.Store(&q)
	l.mu.Lock()
	l.mu.voters = replaced(l.mu.voters)
	l.mu.Unlock()
	if l.hasQuorum() {
		l.hopeless.Store(false)
	}
}

// number numbers the next machine.
func (l *Local) number() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.next++
	return l.mu.next - 1
}

// gone reports whether a stopped voter holds nothing in its directory any more.
func (v *voter) gone() bool {
	for _, ch := range []<-chan struct{}{v.closed, v.store.DB().Gone(), v.fsm.state.Load().Gone()} {
		select {
		case <-ch:
		default:
			return false
		}
	}
	return true
}

// probe writes a file to learn whether the disk takes writes, if the directory
// is there still.
func (v *voter) probe() error {
	if _, err := v.FS.Stat(v.path("log")); err != nil {
		return err
	}
	path := v.path("probe")
	f, err := v.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4<<10))
	return errors.Join(err, f.Sync(), f.Close(), v.FS.Remove(path))
}
