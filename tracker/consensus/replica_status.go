package consensus

import (
	"sync/atomic"
	"time"
)

// SeedProgress is how far the copying of another replica's state is. Sizes
// are in bytes.
type SeedProgress struct {
	Source string // ID of the replica that is copied
	Files  int
	Bytes  int64
	done   atomic.Int64
	files  atomic.Int64
}

// Done returns how much is copied, FilesDone of how many files.
func (p *SeedProgress) Done() int64 { return p.done.Load() }

// FilesDone returns how many files are copied whole.
func (p *SeedProgress) FilesDone() int { return int(p.files.Load()) }

// ReplicaStatus is the group as one replica knows it.
type ReplicaStatus struct {
	Leader, LeaderAddr string // ID and address, "" if none is known
	Term               uint64
	Full               bool // a voter's disk is nearly full: growth is refused
	Members            []MemberStatus
	Seed               *SeedProgress // not nil while the directory is filled
	Trouble            string        // why it cannot be filled, or is no voter yet; "" if all is well
}

// MemberStatus is a member as one replica knows it.
type MemberStatus struct {
	ServerInfo
	Self, Leader       bool
	Applied, LastIndex uint64
	LastContact        time.Time // when it was heard of last; zero if never
	FreeBytes          uint64    // 0 if unknown
	Full               bool
	Suspended          bool // its disk hangs
	Err                string
}

// Status returns the state of the group. It touches no disk.
func (r *Replica) Status() ReplicaStatus {
	s := ReplicaStatus{Seed: r.seed.Load()}
	r.mu.Lock()
	if r.mu.trouble != nil {
		s.Trouble = r.mu.trouble.Error()
	}
	r.mu.Unlock()
	v := r.voter.Load()
	if v == nil {
		return s
	}
	s.Full = r.isFull(v)
	var leader string
	if id, addr, ok := r.Leader(); ok {
		s.Leader, s.LeaderAddr = id, addr
		_, server := v.raft.LeaderWithID()
		leader = string(server)
	}
	s.Term = v.raft.CurrentTerm()
	conf, _ := r.others.members()
	for _, m := range conf {
		t := MemberStatus{ServerInfo: m, Leader: m.Server == leader}
		if m.Server == v.server {
			t.Self, t.LastContact = true, r.cfg.Clock.Now()
			t.Applied, t.LastIndex = v.fsm.applied.Load(), v.raft.LastIndex()
			t.FreeBytes, t.Full, t.Suspended = v.space.free.Load(), v.space.full.Load(), v.suspended.Load()
			if err := v.cause(); err != nil {
				t.Err = err.Error()
			}
		} else if o, ok := r.others.status(m.Server); ok {
			t.LastContact, t.Applied, t.LastIndex = o.at, o.state.Applied, o.state.LastIndex
			t.FreeBytes, t.Full, t.Suspended = o.state.FreeBytes, o.state.Full, o.state.Suspended
			if o.err != nil {
				t.Err = o.err.Error()
			}
		}
		s.Members = append(s.Members, t)
	}
	return s
}

// Metrics returns this replica's figures.
func (r *Replica) Metrics() Metrics {
	m := Metrics{
		Elections: r.stats.elections.Load(), Snapshots: r.stats.snapshots.Load(),
		Suspended: r.stats.suspended.Load(), Stopped: r.stats.stopped.Load(),
	}
	if v := r.voter.Load(); v != nil {
		m.Proposals = v.batch.proposals.Load()
		v.addMetrics(&m)
	}
	return m
}

// DropBallast gives the ballast file up; see Local.DropBallast.
func (r *Replica) DropBallast() error {
	path := r.cfg.FS.PathJoin(r.cfg.Dir, "ballast")
	if _, err := r.cfg.FS.Stat(path); err != nil {
		return nil
	}
	return r.cfg.FS.Remove(path)
}
