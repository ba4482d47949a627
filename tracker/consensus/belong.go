package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

// belong fills an empty directory, and has the group count this replica, under
// its present address, for as long as it runs.
func (r *Replica) belong() {
	for wait := 100 * time.Millisecond; r.voter.Load() == nil; wait = min(2*wait, 3*time.Second) {
		err := r.fill()
		r.setTrouble(err)
		if r.voter.Load() == nil && !r.sleep(wait) {
			return
		}
	}
	v := r.voter.Load()
	for wait := time.Duration(0); !v.isDead(); {
		r.mu.Lock()
		changed := r.mu.changed
		r.mu.Unlock()
		settled, err := r.settle(v)
		r.setTrouble(err)
		switch {
		case settled:
			wait = 2 * time.Second
		default:
			wait = min(max(2*wait, 50*time.Millisecond), 2*time.Second)
		}
		select {
		case <-changed:
		case <-r.cfg.Clock.After(wait):
		case <-v.dead:
		case <-r.ctx.Done():
			return
		}
	}
}

// setTrouble remembers what keeps this replica from being a member, and logs
// it when that changes.
func (r *Replica) setTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.mu.trouble
	r.mu.trouble = err
	if err != nil && (was == nil || was.Error() != err.Error()) && r.ctx.Err() == nil {
		r.cfg.Logger.Warn().Err(err).Str("voter", r.cfg.ID).Msg("this copy of the catalog is no member yet")
	}
}

// settle takes the next step towards being a voter under the present address;
// it reports whether there is none.
func (r *Replica) settle(v *voter) (bool, error) {
	me, ok := r.others.find(v.server)
	vote := r.mayVote.Load()
	v.store.Keep(r.keepBytes())
	switch {
	case ok && me.Voter && me.Addr == r.cfg.Advertise:
		r.endHolds()
		return true, nil
	case ok && me.Voter:
		return false, r.askJoin(v, true)
	case ok && !vote:
		// It is named by what it has applied; so if it finds itself unnamed
		// with a vote, at any time from now on, it was removed.
		if err := v.claimVote(); err != nil {
			return false, err
		}
		r.mayVote.Store(true)
		return false, r.askJoin(v, true)
	case ok:
		return false, r.askJoin(v, true)
	case vote:
		conf, err := v.latestConf()
		if err == nil && !named(conf, v.server) {
			v.fail(ErrRemoved)
		}
		return false, err
	}
	return false, r.askJoin(v, false)
}

// aloneKeep is how much log a single voter keeps: nobody is there to catch up.
const aloneKeep = 64 << 20

func (r *Replica) keepBytes() uint64 {
	if conf, _ := r.others.members(); len(conf) < 2 {
		return min(r.cfg.KeepBytes, aloneKeep)
	}
	return r.cfg.KeepBytes
}

func named(conf raft.Configuration, server string) bool {
	for _, s := range conf.Servers {
		if string(s.ID) == server {
			return true
		}
	}
	return false
}

// joinTime bounds a step of joining.
const joinTime = 10 * time.Second

// askJoin asks the leader to count this replica in.
func (r *Replica) askJoin(v *voter, vote bool) error {
	ctx, cancel := context.WithTimeout(r.ctx, joinTime)
	defer cancel()
	q := &JoinRequest{
		Cluster: r.cfg.ClusterID, Recovery: v.recovery, ID: v.ID, Server: v.server, Addr: r.cfg.Advertise,
		Applied: v.fsm.applied.Load(), Vote: vote,
	}
	if v.serving.Load() != 0 {
		_, err := r.Join(ctx, q)
		return err
	}
	var errs []error
	for _, addr := range r.leaders(v) {
		_, err := r.cfg.Peer(addr).Join(ctx, q)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrLeftOut):
			v.fail(ErrLeftOut)
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return errors.Join(append([]error{fmt.Errorf("%w: no leader has let this replica join", tracker.ErrUnavailable)}, errs...)...)
}

// leaders returns the addresses where a leader may be, likely ones first.
func (r *Replica) leaders(v *voter) []string {
	var out []string
	add := func(addr string) {
		if addr == "" || addr == r.cfg.Advertise {
			return
		}
		for _, a := range out {
			if a == addr {
				return
			}
		}
		out = append(out, addr)
	}
	addr, _ := v.raft.LeaderWithID()
	add(string(addr))
	for _, s := range r.everybody() {
		if st, _, err := r.askState(s); err == nil {
			add(st.LeaderAddr)
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// everybody returns the other members, by the configuration and as known
// beforehand.
func (r *Replica) everybody() []ServerInfo {
	conf, _ := r.others.members()
	var out []ServerInfo
	seen := map[string]bool{r.cfg.ID: true}
	for _, s := range conf {
		if !seen[s.ID] {
			seen[s.ID] = true
			out = append(out, s)
		}
	}
	for _, m := range r.cfg.Members {
		if !seen[m.ID] {
			seen[m.ID] = true
			out = append(out, ServerInfo{ID: m.ID, Addr: m.Addr})
		}
	}
	return out
}

// judge looks at what a member says for signs that this replica is one no
// more: it may have been away when the group removed it.
func (r *Replica) judge(v *voter, st *ReplicaState) {
	if outranks(st.Recovery, v.recovery) {
		v.fail(ErrLeftOut)
		return
	}
	r.meet(v, st.Recovery, st.Leader == st.Server && st.Server != "")
	_, own := r.others.members()
	if st.Recovery != v.recovery || st.ConfIndex <= own || !r.mayVote.Load() {
		return
	}
	for _, s := range st.Servers {
		if s.Server == v.server {
			return
		}
	}
	v.fail(ErrRemoved)
}
