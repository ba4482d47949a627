package consensus

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// voterFailed stops a voter, which may be opened anew later.
func (l *Local) voterFailed(v *voter, err error) {
	<-v.opened
	v.log.Error().Err(err).Str("dir", v.Dir).Msg("copy of the catalog has stopped")
	l.stats.stopped.Add(1)
	l.stop(v)
	l.cfg.OnStop(v.ID, err, l.hasQuorum())
	if v.raft != nil { // it ran
		l.revive(v)
	}
}

// stop takes a voter out: it answers nothing more, and its stores are closed
// once nobody uses them.
func (l *Local) stop(v *voter) {
	l.mu.Lock()
	if v.isDead() {
		l.mu.Unlock()
		return
	}
	close(v.dead)
	l.mu.Unlock()
	l.lead.CompareAndSwap(v, nil)
	v.interrupt()
	l.disconnect(v)
	if !l.hasQuorum() {
		// What is in flight at the leader cannot be committed any more.
		for _, w := range l.voters() {
			l.lead.CompareAndSwap(w, nil)
			w.interrupt()
		}
	}
	if v.guard != nil {
		v.guard.off.Store(true)
	}
	if v.raft != nil {
		v.raft.Shutdown()
	}
	l.kick()
	go func() {
		if err := v.release(10 * time.Second); err != nil {
			v.log.Warn().Err(err).Msg("stores of a stopped copy were not closed")
		}
	}()
}

// closeFlush bounds the flush of a graceful Close.
const closeFlush = 500 * time.Millisecond

// Close stops the group. What was acknowledged is durable without it; it
// flushes, for at most half a second, so that the next start replays little.
func (l *Local) Close() error {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return nil
	}
	l.mu.closed = true
	l.mu.Unlock()
	l.lead.Store(nil)
	l.readOnly.Store(nil)
	saveAll(l.voters())
	l.cancel()
	l.changed()
	l.admin.Lock() // a change of membership gives up
	voters := l.voters()
	l.admin.Unlock()
	for _, v := range voters {
		l.stop(v)
	}
	l.wg.Wait()
	var errs []error
	deadline := time.After(10 * time.Second)
	for _, v := range voters {
		select {
		case <-v.closed:
		case <-deadline:
			errs = append(errs, fmt.Errorf("consensus: voter %s does not close", v.ID))
		}
	}
	l.parts.cache.Unref()
	return errors.Join(errs...)
}

// saveAll takes a last snapshot of each voter that has much to replay.
func saveAll(voters []*voter) {
	var wg sync.WaitGroup
	for _, v := range voters {
		if v.raft != nil && !v.isDead() && v.unsaved.Load() > 256<<10 {
			wg.Go(func() { _ = v.wait(v.raft.Snapshot()) })
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(closeFlush):
	}
}
