package consensus

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

// follow turns what Raft says of this voter's leadership into whether it serves.
func (r *Replica) follow(v *voter) {
	for {
		select {
		case leads := <-v.notify:
			if leads {
				r.gained(v)
			} else {
				v.serving.Store(0)
				r.lease.end()
			}
		case <-v.dead:
			return
		}
	}
}

// gained lets the voter serve once it has applied all that was committed
// before it led.
func (r *Replica) gained(v *voter) {
	term := v.raft.CurrentTerm()
	if err := v.wait(v.raft.Barrier(0)); err != nil {
		return
	}
	if !leads(v, term) {
		return
	}
	r.lease.begin(term)
	select {
	case r.changing <- struct{}{}: // nobody changes the membership, so it is committed
		r.countVoters(v, term)
		<-r.changing
	default: // a change of an earlier term is not yet settled
		r.wg.Go(func() { r.countLater(v, term) })
	}
	v.serving.Store(term)
	if v.isDead() || v.suspended.Load() {
		v.serving.Store(0)
		return
	}
	r.stats.elections.Add(1)
	v.log.Info().Uint64("term", term).Msg("this copy of the catalog leads")
	r.others.pollSoon()
	r.wake()
}

// leads reports whether v leads in term, as far as Raft knows here.
func leads(v *voter, term uint64) bool {
	return v.raft.State() == raft.Leader && v.raft.CurrentTerm() == term && !v.suspended.Load() && !v.isDead()
}

// countLater counts the voters once no change is on its way.
func (r *Replica) countLater(v *voter, term uint64) {
	select {
	case r.changing <- struct{}{}:
		r.countVoters(v, term)
		<-r.changing
	case <-v.dead:
	case <-r.ctx.Done():
	}
}

// countVoters has the lease count the voters of the configuration, if term is
// still its own. The caller holds changing, and the configuration is committed.
func (r *Replica) countVoters(v *voter, term uint64) {
	conf := v.raft.GetConfiguration().Configuration()
	c := &leaseConf{}
	n := 0
	for _, s := range serversOf(conf) {
		if !s.Voter {
			continue
		}
		n++
		if s.Server != v.server {
			c.voters = append(c.voters, s)
		}
	}
	c.need = n / 2 // beside the leader itself
	r.lease.setConf(term, c)
}

// handOver has another voter lead, if Raft can, and returns once it knows. From
// its first step on there is no lease in this term, whether it succeeds or not.
func (r *Replica) handOver(v *voter) {
	term := v.raft.CurrentTerm()
	if v.raft.State() != raft.Leader || len(serverIDs(v.raft.GetConfiguration().Configuration())) < 2 {
		return
	}
	r.lease.forbid(term)
	r.trans.handing.Store(term)
	done := make(chan error, 1)
	go func() { done <- v.wait(v.raft.LeadershipTransfer()) }()
	select {
	case err := <-done:
		if err != nil {
			v.log.Info().Err(err).Msg("leadership was not handed over")
		}
	case <-time.After(2 * r.cfg.HeartbeatTimeout):
	}
}

// LeaderEpoch implements Log.
func (r *Replica) LeaderEpoch() (uint64, bool) {
	v := r.voter.Load()
	if v == nil {
		return 0, false
	}
	term := v.serving.Load()
	return term, term != 0 && leads(v, term)
}

// Leader returns ID and address of the replica that leads, as far as is known
// here: a hint for whoever was answered tracker.ErrNotLeader.
func (r *Replica) Leader() (id, addr string, ok bool) {
	v := r.voter.Load()
	if v == nil || v.isDead() || v.suspended.Load() {
		return "", "", false
	}
	at, server := v.raft.LeaderWithID()
	if server == "" || string(server) == v.server && v.serving.Load() == 0 {
		return "", "", false
	}
	return voterOf(server), string(at), true
}

// Propose implements Log.
func (r *Replica) Propose(ctx context.Context, cmd []byte, growth bool) (any, error) {
	if len(cmd) > MaxCommand {
		return nil, tracker.ErrTooLarge
	}
	if len(cmd) == 0 {
		return nil, errors.New("consensus: empty command")
	}
	v, err := r.running()
	if err != nil {
		return nil, err
	}
	if v.serving.Load() == 0 {
		return nil, tracker.ErrNotLeader
	}
	if growth && r.isFull(v) {
		return nil, tracker.ErrCatalogFull
	}
	val, err := v.batch.propose(ctx, cmd)
	if err == errRetry {
		err = tracker.ErrNotLeader
	}
	return val, err
}
