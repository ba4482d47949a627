package consensus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

// others is what this replica knows of the members: the configuration as
// applied, and what they said of themselves.
type others struct {
	mu        sync.Mutex
	conf      []ServerInfo
	confIndex uint64
	known     map[string]*other // by server
	next      time.Time         // of the next poll
}

type other struct {
	addr  string // where it answered, "" if it never did
	state ReplicaState
	at    time.Time // of its last answer
	err   error     // why it did not answer since
	busy  bool
}

// serversOf returns the members of a configuration.
func serversOf(conf raft.Configuration) []ServerInfo {
	var out []ServerInfo
	for _, s := range conf.Servers {
		out = append(out, ServerInfo{Server: string(s.ID), ID: voterOf(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

// set takes an applied configuration.
func (o *others) set(pos position) {
	if len(pos.conf) == 0 {
		return
	}
	conf := serversOf(raft.DecodeConfiguration(pos.conf))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conf, o.confIndex = conf, pos.confIndex
	for server := range o.known {
		if !slices.ContainsFunc(conf, func(s ServerInfo) bool { return s.Server == server }) {
			delete(o.known, server)
		}
	}
	o.next = time.Time{}
}

func (o *others) members() ([]ServerInfo, uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conf, o.confIndex
}

// find returns the member that a server is.
func (o *others) find(server string) (ServerInfo, bool) {
	conf, _ := o.members()
	i := slices.IndexFunc(conf, func(s ServerInfo) bool { return s.Server == server })
	if i < 0 {
		return ServerInfo{}, false
	}
	return conf[i], true
}

func (o *others) isVoter(server string) bool {
	s, ok := o.find(server)
	return ok && s.Voter
}

// addr returns where a member is to be asked.
func (o *others) addr(s ServerInfo) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.known[s.Server]; k != nil && k.addr != "" {
		return k.addr
	}
	return s.Addr
}

// status returns what is known of a member.
func (o *others) status(server string) (other, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.known[server]; k != nil {
		return *k, true
	}
	return other{}, false
}

func (o *others) pollSoon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = time.Time{}
}

// due returns whom to ask now, and marks them.
func (o *others) due(now time.Time, every time.Duration, self string) []ServerInfo {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Before(o.next) {
		return nil
	}
	o.next = now.Add(every)
	var out []ServerInfo
	for _, s := range o.conf {
		if s.Server == self {
			continue
		}
		k := o.known[s.Server]
		if k == nil {
			k = &other{}
			o.known[s.Server] = k
		}
		if !k.busy {
			k.busy = true
			out = append(out, s)
		}
	}
	return out
}

func (o *others) answered(server, addr string, now time.Time, st *ReplicaState, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.known[server]
	if k == nil {
		return
	}
	k.busy, k.err = false, err
	if err == nil {
		k.addr, k.state, k.at = addr, *st, now
	}
}

// freshFor is how long what a member said of its disk counts.
const freshFor = 10 * time.Second

// anyFull reports whether a voter said lately that its disk is nearly full.
func (o *others) anyFull(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.conf {
		if k := o.known[s.Server]; k != nil && s.Voter && k.state.Full && now.Sub(k.at) < freshFor {
			return true
		}
	}
	return false
}

// isFull reports whether any voter's disk is nearly full, as far as is known.
func (r *Replica) isFull(v *voter) bool {
	return v.space.full.Load() || r.others.anyFull(r.cfg.Clock.Now())
}

// poll asks the members for their state: every second where this replica leads.
func (r *Replica) poll(v *voter) {
	every := 5 * time.Second
	if v.serving.Load() != 0 {
		every = time.Second
	}
	for _, s := range r.others.due(r.cfg.Clock.Now(), every, v.server) {
		r.wg.Go(func() {
			st, addr, err := r.askState(s)
			if err == nil && st.Server != s.Server {
				err = conflict("another server, %q, is at %s", st.Server, addr)
			}
			r.others.answered(s.Server, addr, r.cfg.Clock.Now(), st, err)
			if err == nil {
				r.judge(v, st)
			}
			if err == nil && st.Heartbeat != int64(r.cfg.HeartbeatTimeout) && v.serving.Load() != 0 {
				v.log.Error().Str("peer", s.ID).Dur("theirs", time.Duration(st.Heartbeat)).Dur("own", r.cfg.HeartbeatTimeout).
					Msg("heartbeat timeouts differ, and must be equal on all trackers: that one takes part in no lease of reads")
			}
		})
	}
}

// askTime bounds a call that needs no disk.
const askTime = 2 * time.Second

// askState asks a member where the group knows it, and then where it is known
// to be beforehand.
func (r *Replica) askState(s ServerInfo) (st *ReplicaState, addr string, err error) {
	addrs := []string{s.Addr}
	if a := r.net.book[s.ID]; a != "" && a != s.Addr {
		addrs = append(addrs, a)
	}
	for _, addr = range addrs {
		ctx, cancel := context.WithTimeout(r.ctx, askTime)
		q := &StateRequest{Cluster: r.cfg.ClusterID}
		if v := r.voter.Load(); v != nil {
			q.Recovery, q.Leads = v.recovery, v.serving.Load() != 0
		}
		st, err = r.cfg.Peer(addr).State(ctx, q)
		cancel()
		if err == nil {
			return st, addr, nil
		}
	}
	return nil, addr, err
}

// State implements Peer.
func (r *Replica) State(_ context.Context, q *StateRequest) (*ReplicaState, error) {
	if q.Cluster != r.cfg.ClusterID {
		return nil, foreign(r.cfg.ClusterID)
	}
	s := &ReplicaState{ID: r.cfg.ID, Addr: r.cfg.Advertise, Bootstrap: r.cfg.Bootstrap && !r.yields.Load(), Empty: true, Heartbeat: int64(r.cfg.HeartbeatTimeout),
		Unfinished: r.unfinished.Load()}
	v := r.voter.Load()
	if v == nil {
		if p := r.seed.Load(); p != nil {
			s.SeedBytes, s.SeedAllBytes = p.Done(), p.Bytes
		}
		return s, nil
	}
	s.Empty, s.Unfinished, s.Server, s.Recovery = false, false, v.server, v.recovery
	if v.isDead() || v.cause() != nil {
		return nil, tracker.ErrUnavailable
	}
	s.Suspended = v.suspended.Load()
	if !s.Suspended {
		s.Term = v.raft.CurrentTerm()
		addr, id := v.raft.LeaderWithID()
		s.Leader, s.LeaderAddr = string(id), string(addr)
		s.LastIndex = v.raft.LastIndex()
	}
	s.Applied = v.fsm.applied.Load()
	s.Servers, s.ConfIndex = r.others.members()
	s.FreeBytes, s.TotalBytes, s.Full = v.space.free.Load(), v.space.total.Load(), v.space.full.Load()
	r.meet(v, q.Recovery, q.Leads)
	return s, nil
}

// served returns the voter for a call of a peer.
func (r *Replica) served(cluster string) (*voter, error) {
	if cluster != r.cfg.ClusterID {
		return nil, foreign(r.cfg.ClusterID)
	}
	return r.running()
}

func foreign(own string) error {
	return fmt.Errorf("%w: this replica is of cluster %s", tracker.ErrForeign, own)
}

func conflict(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{tracker.ErrConflict}, args...)...)
}
