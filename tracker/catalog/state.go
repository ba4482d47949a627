package catalog

import (
	"holdfast/tracker/kv"
)

// The names of the state rows 01. The log's own rows (its applied index)
// stand beside them and are not this package's.
const (
	stateSeq         = "hlc"         // version u8, last seq u64, inline bytes of all buckets i64
	stateNow         = "now"         // version u8, destructive time in ms
	stateFence       = "fence"       // version u8, fence in ms
	stateLevel       = "fver"        // version u8, feature level u64
	stateCluster     = "cluster"     // cluster id, text
	stateIncarnation = "incarnation" // incarnation id, text
	stateNextNode    = "next-node"   // version u8, id of the next node
	stateNextGroup   = "next-group"  // version u8, id of the next group
)

// State is the group's own state.
type State struct {
	Seq         uint64 // last sequence given
	Inline      int64  // inline bytes in all buckets
	Now         int64  // destructive time, ms; 0 until it is first raised
	Fence       int64  // ms
	Level       uint64
	Cluster     string
	Incarnation string
}

// ReadState reads the state rows.
func ReadState(r kv.Reader) (s State, err error) {
	var buf []byte
	get := func(name string, read func(*dec)) {
		v, ok, e := r.Get(keyState(nil, name), buf)
		if buf = v; e != nil || !ok {
			if err == nil {
				err = e
			}
			return
		}
		d := dec{p: v}
		if read(&d); !d.done() && err == nil {
			err = badRow("state " + name)
		}
	}
	get(stateSeq, func(d *dec) { d.version(1); s.Seq, s.Inline = d.u64(), int64(d.u64()) })
	get(stateNow, func(d *dec) { d.version(1); s.Now = int64(d.u64()) })
	get(stateFence, func(d *dec) { d.version(1); s.Fence = int64(d.u64()) })
	get(stateLevel, func(d *dec) { d.version(1); s.Level = d.u64() })
	get(stateCluster, func(d *dec) { s.Cluster, d.p = string(d.p), nil })
	get(stateIncarnation, func(d *dec) { s.Incarnation, d.p = string(d.p), nil })
	s.Level = max(s.Level, plainLevel)
	return s, err
}

// Time returns the catalog's time when a clock shows at: at least destructive
// time, and at most a quarter of an hour over it.
func (s *State) Time(at int64) int64 { return bound(at, s.Now) }

// timeSlack is how far a proposer's stamp may lead destructive time, in ms.
const timeSlack = 15 * 60 * 1000

func bound(at, now int64) int64 {
	if now == 0 {
		return at
	}
	return min(max(at, now), now+timeSlack)
}
