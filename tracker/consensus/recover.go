package consensus

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
)

// RecoverAlone makes the most advanced voter that is left the only one of the
// group, for the case that the others are lost for good. A person decides
// that: the lost voters are left out for ever, also if they turn up again.
//
// Of two voters, the one that is left has all that was ever acknowledged. Of
// three it may lack what the two others acknowledged without it, so force
// must say that this is accepted. The caller then makes a new incarnation of
// the cluster. An error leaves the group without service; open it again.
func (l *Local) RecoverAlone(ctx context.Context, force bool) error {
	ctx, cancel, err := l.administer(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := l.recoverAlone(ctx, force); err != nil {
		return fmt.Errorf("consensus: recover alone: %w", err)
	}
	return nil
}

func (l *Local) recoverAlone(ctx context.Context, force bool) error {
	if l.hasQuorum() {
		return errors.New("the group has a majority")
	}
	q := l.quorum.Load()
	if len(q.servers) > 2 && !force {
		return errors.New("the voter that is left may lack acknowledged commits of the others; force accepts that")
	}
	best := l.readOnly.Load()
	for _, v := range q.known {
		if best == nil && v.runs() || best != nil && v.runs() && best.behind(v) {
			best = v
		}
	}
	if best == nil {
		return errors.New("no voter is left")
	}
	l.readOnly.Store(nil)
	l.lead.Store(nil)
	reason := errors.New("voter was left out when the group was recovered")
	for _, v := range l.voters() {
		v.retire(reason)
		l.stop(v)
	}
	if err := l.dismiss(ctx, best, reason); err != nil {
		return err
	}
	l.parts.keep = 0
	w := newVoter(best.Voter, best.machine, l.parts, l.voterFailed)
	conf, err := l.reopenAlone(w)
	close(w.opened)
	if err != nil {
		return errors.Join(err, l.dismiss(ctx, w, err))
	}
	l.mu.Lock()
	l.mu.voters = []*voter{w}
	l.mu.Unlock()
	l.setQuorum(conf)
	l.hopeless.Store(false)
	l.run(w)
	l.kick()
	_, err = l.leader(ctx)
	return err
}

// reopenAlone opens w, applies its whole log, and starts it as the only voter
// under an empty log.
func (l *Local) reopenAlone(w *voter) (conf raft.Configuration, err error) {
	if err := w.openLog(l.parts, false); err != nil {
		return conf, err
	}
	if err := w.assemble(l.parts); err != nil {
		return conf, err
	}
	term, index := w.lastEntry()
	if err := w.replay(index); err != nil {
		return conf, err
	}
	// The promise first, then the metadata that relies on it.
	if err := writeFlushed(w.fsm.state.Load().Store, index, term); err != nil {
		return conf, err
	}
	conf.Servers = []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(w.server), Address: raft.ServerAddress(w.server)}}
	id := *w.id
	id.Recovery++
	encoded := raft.EncodeConfiguration(conf)
	if err := w.store.Recover(&id, &raftlog.Snapshot{Index: index, Term: term, ConfIndex: index, Conf: encoded}); err != nil {
		return conf, err
	}
	w.id, w.recovery = &id, id.Recovery
	w.fsm.mu.Lock()
	w.fsm.mu.pos = position{index: index, term: term, confIndex: index, conf: encoded}
	w.fsm.mu.Unlock()
	w.fsm.applied.Store(index)
	return conf, w.start(l.parts)
}
