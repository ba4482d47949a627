package consensus

import (
	"context"
	"errors"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// Read implements Log. The view is of the leader's state; see isCurrent for
// why it holds all that was acknowledged before the call. The view is the
// live store: two reads through it may see a commit between them. Snapshot
// gives one state.
func (l *Local) Read(ctx context.Context) (kv.Reader, func(), error) {
	h, err := l.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	return h.Store, h.release, nil
}

// Snapshot is Read for one unchanging state, for listings of several reads.
func (l *Local) Snapshot(ctx context.Context) (kv.Reader, func(), error) {
	h, err := l.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	snap := h.Snapshot()
	return snap, func() {
		_ = snap.Close()
		h.release()
	}, nil
}

func (l *Local) read(ctx context.Context) (*handle, error) {
	for {
		if v := l.readOnly.Load(); v != nil {
			if h := v.fsm.state.Load(); h.acquire() {
				return h, nil
			}
			return nil, tracker.ErrUnavailable
		}
		v, err := l.leader(ctx)
		if err != nil {
			if l.readOnly.Load() != nil {
				continue
			}
			return nil, err
		}
		if l.cfg.Strict {
			if _, err := v.batch.propose(ctx, nil); errors.Is(err, errRetry) || errors.Is(err, tracker.ErrUncertain) && ctx.Err() == nil {
				l.deposed(v)
				continue
			} else if err != nil {
				return nil, err
			}
		}
		if term := v.serving.Load(); term != 0 && l.isCurrent(v, term) {
			if h := v.fsm.state.Load(); h.acquire() {
				return h, nil
			}
		}
		l.deposed(v)
	}
}

// isCurrent reports whether no other voter had become leader before this
// call, given that v led in term and had applied all before it.
//
// A voter raises its term before it votes, terms never fall, and whoever leads
// a later term has a majority of votes in it. So if a majority has not passed
// v's term now, every commit acknowledged until now is v's own, or older, and
// v acknowledges only what it has applied. All voters are in this process, so
// asking them is reading a word of each: this takes the place of a lease and
// its pings, and no clock or pause matters. A voter that was stopped counts as
// well, because nobody else can vote in its name.
func (l *Local) isCurrent(v *voter, term uint64) bool {
	q := l.quorum.Load()
	n := 0
	for _, w := range q.known {
		if w.raft.CurrentTerm() <= term {
			n++
		}
	}
	return n >= q.proof
}

// deposed takes note that v does not serve any more; follow will say who does.
func (l *Local) deposed(v *voter) {
	if l.lead.CompareAndSwap(v, nil) {
		l.kick()
	}
}

// Propose implements Log.
func (l *Local) Propose(ctx context.Context, cmd []byte, growth bool) (any, error) {
	if len(cmd) > MaxCommand {
		return nil, tracker.ErrTooLarge
	}
	if len(cmd) == 0 {
		return nil, errors.New("consensus: empty command")
	}
	if growth && l.isFull() {
		return nil, tracker.ErrCatalogFull
	}
	for {
		v, err := l.leader(ctx)
		if err != nil {
			return nil, err
		}
		val, err := v.batch.propose(ctx, cmd)
		if err != errRetry {
			return val, err
		}
		l.deposed(v)
	}
}
