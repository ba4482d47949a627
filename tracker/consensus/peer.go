package consensus

import (
	"context"
	"time"

	"holdfast/internal/fault"
)

// Peer is what a replica asks of another one, beside Raft's own traffic. A
// *Replica serves it from the moment OpenReplica has returned; what carries it
// between processes sends requests and answers by field name, and errors by
// the codes of their sentinels. Every call has a deadline, all may be made at
// the same time and, where not said otherwise, again with the same effect.
//
// Each request names the cluster; another cluster's is tracker.ErrForeign. A
// replica that cannot serve a call now answers tracker.ErrUnavailable.
type Peer interface {
	// Ping asks a voter for its part of a read lease (see lease).
	Ping(ctx context.Context, r *PingRequest) (*PingAnswer, error)
	// State tells what the replica is and what it knows of the group. It
	// touches no disk.
	State(ctx context.Context, r *StateRequest) (*ReplicaState, error)
	// Checkpoint flushes the state and makes a copy of it, of hard links where
	// the file system has them, for another replica to read. Copy and log
	// after it are kept while they are held: see Hold. A holder has one copy at
	// a time; asking again replaces it.
	Checkpoint(ctx context.Context, r *CheckpointRequest) (*Manifest, error)
	// ReadFile reads a range of a file of a checkpoint, at most MaxRead bytes.
	// ErrNoCheckpoint if the checkpoint was released or ran out.
	ReadFile(ctx context.Context, r *ReadFileRequest) (*FileRange, error)
	// SumFile returns the XXH3-64 of a whole file of a checkpoint.
	// ErrNoCheckpoint as ReadFile.
	SumFile(ctx context.Context, r *SumFileRequest) (*FileSum, error)
	// Hold keeps the log after an index, and a checkpoint if one is named, for
	// HoldTime from now. It is renewed by calling again. ErrNoCheckpoint as
	// ReadFile; tracker.ErrConflict if the log is no longer there.
	Hold(ctx context.Context, r *HoldRequest) (*Done, error)
	// Release gives up what a holder holds. Nothing held is no error.
	Release(ctx context.Context, r *ReleaseRequest) (*Done, error)
	// Join makes a server a member: tracker.ErrNotLeader at any but the
	// leader. A server that is not known is added without a vote; one without
	// a vote that asks for it is given it, unless it is too far behind
	// (tracker.ErrConflict); of a member the address is brought up to date.
	// Other servers under the same ID are removed before, if they are gone:
	// tracker.ErrConflict while one still answers.
	Join(ctx context.Context, r *JoinRequest) (*JoinAnswer, error)
	// Remove takes a member out; a leader that is asked to leave hands over
	// first. tracker.ErrNoSuchTracker if there is none, tracker.ErrConflict
	// for the last voter, tracker.ErrUnavailable if those that stay could not
	// commit, tracker.ErrNotLeader at any but the leader.
	Remove(ctx context.Context, r *RemoveRequest) (*Done, error)
}

const (
	// HoldTime is how long a checkpoint and the log after it are kept without
	// being asked for again.
	HoldTime = 2 * time.Minute
	// MaxRead is the most bytes that ReadFile returns at once.
	MaxRead = 1 << 20
	// MaxVoters is the greatest number of voters of a group.
	MaxVoters = 5
)

// Sentinels of Peer beside those of the tracker's contract.
var (
	// ErrNoCheckpoint says that a checkpoint is not there any more: ask for
	// another; files that did not change need not be copied again.
	ErrNoCheckpoint = fault.New(fault.NotFound, "consensus.no-checkpoint", "checkpoint is not there any more; ask for another")
	// ErrRemoved ends a replica that the group has removed. Empty its
	// directory to have it join again.
	ErrRemoved = fault.New(fault.Denied, "consensus.removed", "this replica was removed from the group; empty its catalog directory to have it join again")
	// ErrLeftOut ends a replica of a group that was recovered without it.
	ErrLeftOut = fault.New(fault.Denied, "consensus.left-out",
		"the group was recovered without this replica; empty its catalog directory to have it join again")
	// ErrApart ends the leaders of two recoveries of one group that did not
	// know of each other.
	ErrApart = fault.New(fault.Denied, "consensus.apart",
		"two copies of the catalog were recovered apart, and both were led; decide which is kept")
)

// Sentinels lists the sentinels of this package, for what carries them from
// one process to another by their codes.
func Sentinels() []*fault.Error {
	return []*fault.Error{ErrNoCheckpoint, ErrRemoved, ErrLeftOut, ErrApart}
}

// Member is a replica by its tracker's ID and the address, host:port, under
// which the others reach it.
type Member struct{ ID, Addr string }

// ServerInfo is a member as the group's configuration has it.
type ServerInfo struct {
	Server string // its name in Raft: another one for each new start from nothing
	ID     string
	Addr   string
	Voter  bool
}

// PingRequest asks a voter not to help another leader for a while.
type PingRequest struct {
	Cluster   string
	Recovery  uint64
	Server    string // who is asked
	Leader    string // the server that asks
	Term      uint64 // in which it leads
	Heartbeat int64  // its HeartbeatTimeout in ns, which must be the voter's own
}

// PingAnswer is a promise: until Heartbeat - Age after the request was sent,
// the voter takes part in no election of a later term that Leader did not ask for.
type PingAnswer struct {
	Age int64 // ns since the voter last heard of the leader by Raft
}

// StateRequest asks for a replica's state.
type StateRequest struct {
	Cluster  string
	Recovery uint64 // of the replica that asks
	Leads    bool   // it leads
}

// ReplicaState is what a replica says of itself and of the group.
type ReplicaState struct {
	ID, Addr   string
	Empty      bool   // its directory holds no voter
	Unfinished bool   // but a copy that is not whole
	Bootstrap  bool   // it was told to begin a new group, and does not leave that to another
	Server     string // "" while it is empty
	Recovery   uint64
	Heartbeat  int64 // its HeartbeatTimeout in ns
	Suspended  bool  // its disk hangs

	Term                    uint64
	Leader, LeaderAddr      string // the server that leads as far as is known, "" if none
	Applied, LastIndex      uint64
	ConfIndex               uint64       // at which Servers was committed
	Servers                 []ServerInfo // as applied
	FreeBytes, TotalBytes   uint64       // of its disk; 0 and 0 if unknown
	Full                    bool         // it has too little space for growth
	SeedBytes, SeedAllBytes int64        // copied and in all, while it is being seeded
}

// CheckpointRequest asks for a copy of the state.
type CheckpointRequest struct {
	Cluster string
	Holder  string // who will hold it, made anew for each seeding
}

// Manifest lists a checkpoint. Its state holds all up to Index or more; the
// exact position and the configuration are in the state's own row.
type Manifest struct {
	Checkpoint string
	Server     string // whose state it is
	Recovery   uint64
	Index      uint64 // log after this is held at the source
	Files      []CheckpointFile
}

// CheckpointFile is a file of a checkpoint. A table (.sst) never changes under
// its name at one source.
type CheckpointFile struct {
	Name string
	Size int64
}

// ReadFileRequest asks for a range of a checkpoint's file.
type ReadFileRequest struct {
	Cluster, Checkpoint, Name string
	Offset                    int64
	Bytes                     int
}

// FileRange is a range of a file; it is shorter than asked for only at the
// file's end.
type FileRange struct{ Data []byte }

// SumFileRequest asks for the checksum of a checkpoint's file.
type SumFileRequest struct{ Cluster, Checkpoint, Name string }

// FileSum is the XXH3-64 of a file.
type FileSum struct{ Sum uint64 }

// HoldRequest keeps log and checkpoint.
type HoldRequest struct {
	Cluster, Holder string
	Index           uint64
	Checkpoint      string // "" for none
}

// ReleaseRequest gives up what a holder holds.
type ReleaseRequest struct{ Cluster, Holder string }

// JoinRequest asks to be a member.
type JoinRequest struct {
	Cluster    string
	Recovery   uint64
	ID, Server string
	Addr       string
	Applied    uint64
	Vote       bool // it has noted that it may vote, and asks for it
}

// JoinAnswer is the leader's.
type JoinAnswer struct {
	Voter bool
	Index uint64 // committed when it was given
}

// RemoveRequest names a member by its tracker's ID.
type RemoveRequest struct{ Cluster, ID string }

// Done is an answer without a word.
type Done struct{}
