package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
	"holdfast/tracker/consensus/raftlog"
)

// ReplaceVoter makes v a copy of the state and a voter in the place of the
// voter with the ID old, which may be v.ID itself with an emptied directory;
// with old "" the group grows. It serves all the while.
//
// The copy is a checkpoint of the leader, taken beside its work; the rest
// comes with the log. After an error v has no vote, and old is removed or not;
// calling again goes on from there.
func (l *Local) ReplaceVoter(ctx context.Context, old string, v Voter) error {
	if err := v.validate(); err != nil {
		return err
	}
	ctx, cancel, err := l.administer(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := l.replace(ctx, old, v); err != nil {
		return fmt.Errorf("consensus: replace voter %q by %q: %w", old, v.ID, err)
	}
	return nil
}

// administer enters a change of membership; ctx ends with Close as well.
func (l *Local) administer(ctx context.Context) (context.Context, func(), error) {
	l.admin.Lock()
	if l.ctx.Err() != nil {
		l.admin.Unlock()
		return nil, nil, fmt.Errorf("%w: closed", tracker.ErrUnavailable)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		l.admin.Unlock()
	}, nil
}

func (l *Local) replace(ctx context.Context, old string, v Voter) error {
	src, err := l.leader(ctx)
	if err != nil {
		return err
	}
	if v.ID != old && slices.Contains(l.Members(), v.ID) {
		return errors.New("voter is a member already")
	}
	leaver := l.byID(old)
	if leaver != nil && !leaver.runs() {
		// Its directory may be the new one's.
		if err := l.dismiss(ctx, leaver, errReplaced); err != nil {
			return err
		}
	}
	w := newVoter(v, l.cfg.Machine(l.number()), l.parts, l.voterFailed)
	release, err := l.seed(ctx, src, w)
	defer release()
	if err == nil {
		err = w.startLocal(l.parts)
	}
	close(w.opened)
	if err == nil {
		err = l.join(ctx, old, leaver, w)
	}
	if err != nil {
		return errors.Join(err, l.dismiss(ctx, w, err))
	}
	return nil
}

var errReplaced = errors.New("voter is being replaced")

// dismiss stops a voter for a reason and waits until its stores are closed.
func (l *Local) dismiss(ctx context.Context, v *voter, reason error) error {
	v.retire(reason)
	v.leaving.Store(true)
	l.stop(v)
	select {
	case <-v.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Members returns the IDs of the group's voters, by its configuration.
func (l *Local) Members() (ids []string) {
	for _, id := range l.quorum.Load().servers {
		ids = append(ids, voterOf(raft.ServerID(id)))
	}
	return ids
}

func (l *Local) byID(id string) *voter {
	for _, v := range l.voters() {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// Vacate returns once no stopped copy has anything open in dir, so that the
// directory can be emptied. Copies there that are not the group's are
// forgotten.
func (l *Local) Vacate(ctx context.Context, dir string) error {
	ctx, cancel, err := l.administer(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	for _, v := range l.voters() {
		if v.Dir != dir || v.runs() {
			continue
		}
		if err := l.dismiss(ctx, v, errReplaced); err != nil {
			return fmt.Errorf("consensus: vacate %s: %w", dir, err)
		}
		if slices.Contains(l.Members(), v.ID) {
			continue
		}
		l.mu.Lock()
		l.mu.voters = slices.DeleteFunc(l.mu.voters, func(x *voter) bool { return x == v })
		l.mu.Unlock()
	}
	return nil
}

// transfer makes another voter lead, if Raft can, before v is removed.
func (l *Local) transfer(v *voter) {
	v.leaving.Store(true)
	if err := v.wait(v.raft.LeadershipTransfer()); err != nil {
		v.log.Info().Err(err).Msg("leadership was not handed over")
	}
}

// seed copies the state of src to w's directory and registers it as w's
// snapshot, under an empty log. The log that w will need then is kept by all
// voters until release is called.
func (l *Local) seed(ctx context.Context, src, w *voter) (release func(), err error) {
	release = func() {}
	if err := w.openLog(l.parts, true); err != nil {
		return release, err
	}
	if w.id != nil {
		if err := l.reset(w); err != nil {
			return release, err
		}
	}
	h := src.fsm.state.Load()
	if !h.acquire() {
		return release, errStopped
	}
	defer h.release()
	at, err := readPosition(h)
	if err != nil {
		return release, err
	}
	release = l.pin(max(at.index, 1))
	w.id = &raftlog.Identity{
		Cluster: l.cfg.ClusterID, Voter: w.ID, Server: newServer(w.ID), State: "state", Recovery: src.recovery,
	}
	if err := l.copyTo(ctx, src, h, w); err != nil {
		return release, err
	}
	return release, w.assemble(l.parts)
}

// pin keeps the log from index on in all voters.
func (l *Local) pin(index uint64) (release func()) {
	var all []func()
	for _, v := range l.voters() {
		if v.runs() {
			all = append(all, v.store.Pin(index))
		}
	}
	return func() {
		for _, f := range all {
			f()
		}
	}
}

// reset empties a directory whose seeding was cut short. Such a voter never
// had a vote, so nothing is forgotten; any other is refused.
func (l *Local) reset(w *voter) error {
	if w.id.Vote {
		return errors.New("directory holds a voter; it must be emptied first")
	}
	store := w.store
	w.store, w.id = nil, nil
	if err := errors.Join(store.Close(), w.FS.RemoveAll(w.path("log"))); err != nil {
		return err
	}
	return w.openLog(l.parts, true)
}

func hasVote(conf raft.Configuration, server string) bool {
	return slices.Contains(serverIDs(conf), server)
}

func (l *Local) copyTo(ctx context.Context, src *voter, h *handle, w *voter) error {
	dir := src.path(src.snaps.name("checkpoint"))
	defer func() { _ = src.FS.RemoveAll(dir) }()
	if err := errors.Join(h.Checkpoint(dir), ctx.Err()); err != nil {
		return err
	}
	if err := copyState(ctx, src.FS, dir, w.FS, w.path(w.id.State)); err != nil {
		return err
	}
	if err := errors.Join(syncDir(w.FS, w.Dir), ctx.Err()); err != nil {
		return err
	}
	s, pos, err := w.openState(l.parts, w.id.State)
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if pos.confIndex == 0 {
		return errors.New("the copy knows no configuration")
	}
	// The configuration is the copy's own: the leader's may be newer.
	return w.store.Seed(w.id, &raftlog.Snapshot{Index: pos.index, Term: pos.term, ConfIndex: pos.confIndex, Conf: pos.conf})
}

// join makes w, whose Raft runs, a voter in the place of old: after old was
// removed, if it is lost, and before, if it runs.
func (l *Local) join(ctx context.Context, old string, leaver, w *voter) error {
	l.mu.Lock()
	l.mu.voters = slices.DeleteFunc(l.mu.voters, func(x *voter) bool { return (x.ID == w.ID || x.ID == old) && !x.runs() })
	l.mu.voters = append(l.mu.voters, w)
	l.mu.Unlock()
	l.parts.keep = l.cfg.KeepBytes // from now on there are others to catch up
	for _, x := range l.voters() {
		if x.store != nil {
			x.store.Keep(l.parts.keep)
		}
	}
	l.run(w)
	stays := leaver != nil && leaver.runs()
	err := l.remove(ctx, func(s raft.Server) bool { return s.Suffrage != raft.Voter || voterOf(s.ID) == old && !stays })
	if err != nil {
		return err
	}
	id, addr := raft.ServerID(w.server), w.trans.LocalAddr()
	if err := l.change(ctx, func(r *raft.Raft) raft.IndexFuture { return r.AddNonvoter(id, addr, 0, 0) }); err != nil {
		return err
	}
	if err := l.catchUp(ctx, w); err != nil {
		return err
	}
	if err := w.claimVote(); err != nil {
		return err
	}
	if err := l.change(ctx, func(r *raft.Raft) raft.IndexFuture { return r.AddVoter(id, addr, 0, 0) }); err != nil {
		return err
	}
	if !stays {
		return nil
	}
	if l.lead.Load() == leaver {
		l.transfer(leaver)
	}
	if err := l.remove(ctx, func(s raft.Server) bool { return string(s.ID) == leaver.server }); err != nil {
		return err
	}
	err = l.dismiss(ctx, leaver, errReplaced)
	l.mu.Lock()
	l.mu.voters = slices.DeleteFunc(l.mu.voters, func(x *voter) bool { return x == leaver })
	l.mu.Unlock()
	return err
}

// claimVote notes that the voter may have voted from now on, so that its
// directory is never taken for an unfinished seeding.
func (v *voter) claimVote() error {
	v.fsm.mu.Lock() // which guards the identity
	defer v.fsm.mu.Unlock()
	id := *v.id
	id.Vote = true
	err := errStopped
	v.guard.use(func() { err = v.store.SetIdentity(&id) })
	if err == nil {
		v.id = &id
	}
	return err
}

// remove takes members out, one after another.
func (l *Local) remove(ctx context.Context, drop func(raft.Server) bool) error {
	lead, err := l.leader(ctx)
	if err != nil {
		return err
	}
	for _, s := range lead.raft.GetConfiguration().Configuration().Servers {
		if !drop(s) {
			continue
		}
		if err := l.change(ctx, func(r *raft.Raft) raft.IndexFuture { return r.RemoveServer(s.ID, 0, 0) }); err != nil {
			return err
		}
	}
	return nil
}

// catchUp waits until w has what was committed when it was called.
func (l *Local) catchUp(ctx context.Context, w *voter) error {
	lead, err := l.leader(ctx)
	if err != nil {
		return err
	}
	for target := lead.raft.CommitIndex(); w.raft.AppliedIndex() < target; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.dead:
			return errors.Join(errStopped, w.cause())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// change makes one change of the membership. From before it until it is known
// to be committed, reads are proved by every voter (see quorum).
func (l *Local) change(ctx context.Context, request func(*raft.Raft) raft.IndexFuture) error {
	v, err := l.leader(ctx)
	if err != nil {
		return err
	}
	l.quorum.Store(l.quorum.Load().strict())
	f := request(v.raft)
	ch := make(chan error, 1)
	go func() { ch <- v.wait(f) }()
	select {
	case err = <-ch:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, l.settle(ctx))
}

// settle makes the committed membership the one that proves reads.
func (l *Local) settle(ctx context.Context) error {
	v, err := l.leader(ctx)
	if err != nil {
		return err
	}
	// The barrier commits whatever configuration stands in the log before it.
	conf := v.raft.GetConfiguration().Configuration()
	if err := v.wait(v.raft.Barrier(0)); err != nil {
		return err
	}
	l.setQuorum(conf)
	return nil
}
