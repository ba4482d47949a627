package consensus

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

var errHanging = errors.New("disk does not answer")

// stats counts what happened to the group since it was opened.
type stats struct {
	elections, snapshots, suspended, stopped atomic.Uint64
}

// Metrics is the group's figures since it was opened; sums over its voters.
type Metrics struct {
	Proposals  uint64 // commands given to a batcher
	Entries    uint64 // log entries they travelled in
	LogSyncs   uint64 // syncs of the voters' logs
	LogBytes   uint64 // appended to them
	HeldBytes  uint64 // in them now
	Elections  uint64
	Snapshots  uint64
	Suspended  uint64 // times a voter stepped aside for a hanging disk
	Stopped    uint64 // voters stopped for good
	DiskBytes  uint64 // of logs and states
	FullVoters int    // voters whose disk is nearly full
}

// Metrics returns the group's figures.
func (l *Local) Metrics() Metrics {
	m := Metrics{
		Proposals: l.proposals(),
		Elections: l.stats.elections.Load(),
		Snapshots: l.stats.snapshots.Load(),
		Suspended: l.stats.suspended.Load(),
		Stopped:   l.stats.stopped.Load(),
	}
	for _, v := range l.voters() {
		v.addMetrics(&m)
	}
	return m
}

func (v *voter) addMetrics(m *Metrics) {
	if v.store == nil {
		return
	}
	m.LogSyncs += v.store.Syncs()
	m.LogBytes += v.store.Bytes()
	if v.batch != nil {
		m.Entries += v.batch.entries.Load()
	}
	if v.space.full.Load() {
		m.FullVoters++
	}
	if v.fsm == nil || v.isDead() {
		return
	}
	m.HeldBytes += v.store.Held()
	if h := v.fsm.state.Load(); h.acquire() {
		m.DiskBytes += h.DiskUsage()
		h.release()
	}
}

func (l *Local) proposals() (n uint64) {
	for _, v := range l.voters() {
		if v.batch != nil {
			n += v.batch.proposals.Load()
		}
	}
	return n
}

// Status is the group as this process knows it.
type Status struct {
	Leader   string // ID of the voter that serves, "" if none does
	ReadOnly bool   // one of two voters is lost: reads only
	Quorum   bool   // enough voters run to commit
	Full     bool   // a voter's disk is nearly full: growth is refused
	// Empty are the given voters whose directory holds none, or one whose
	// seeding was cut short. ReplaceVoter(ctx, id, voter) fills them.
	Empty  []string
	Voters []tracker.Voter
}

// Status returns the state of the group. Voters that the group names and this
// process was not given are in it with an error.
func (l *Local) Status() Status {
	s := Status{Quorum: l.hasQuorum(), ReadOnly: l.readOnly.Load() != nil, Full: l.isFull()}
	lead := l.lead.Load()
	if lead != nil {
		s.Leader = lead.ID
	}
	given := make(map[string]bool)
	for _, v := range l.voters() {
		t := tracker.Voter{ID: v.ID, Dir: v.Dir, Leader: v == lead}
		if v.fsm != nil {
			t.Applied = v.fsm.applied.Load()
		}
		if err := v.cause(); err != nil {
			t.Err = err.Error()
			if errors.Is(err, errEmpty) {
				s.Empty = append(s.Empty, v.ID)
			}
		} else if v.suspended.Load() {
			t.Err = errHanging.Error()
		}
		given[v.ID] = true
		s.Voters = append(s.Voters, t)
	}
	if q := l.quorum.Load(); q != nil {
		for _, id := range q.servers {
			if v := voterOf(raft.ServerID(id)); !given[v] {
				given[v] = true
				s.Voters = append(s.Voters, tracker.Voter{ID: v, Err: "voter is in none of the given directories, or in one that is missing or empty"})
			}
		}
	}
	return s
}
