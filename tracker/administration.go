package tracker

import (
	"context"
	"time"

	"holdfast/storage"
)

// Administration is what storage processes, the admin commands and the
// composition roots ask of a tracker, beside the catalog and the scheduler.
type Administration interface {
	// RegisterGroup makes a group, or returns the one of that name: its
	// scheme and class are then its own, whatever was asked.
	RegisterGroup(ctx context.Context, g Group) (Group, error)
	// RegisterNode gives a new node its id, in state active, or joining where
	// that is asked for: it takes data once it is heard of. With an id it
	// brings the address and domain of a known node up to date.
	// ErrNoSuchNode if that is unknown or gone.
	RegisterNode(ctx context.Context, n Node) (Node, error)
	// SetNodeState changes a node's state and raises its epoch. A node that
	// is gone stays gone; a drain that leaves too few nodes is ErrNoPlacement.
	SetNodeState(ctx context.Context, id storage.NodeID, s NodeState) error
	// SetNodeRole lets a node take new shards or not, raises its epoch where
	// that changes, and returns the node. Writes that run finish: on the node,
	// or without it where their quorum is reached. One that leaves its group
	// fewer nodes that take writes than its scheme is wide is ErrTooFewNodes,
	// unless force is set. ErrNoSuchNode, ErrConflict for a node that is gone.
	SetNodeRole(ctx context.Context, id storage.NodeID, r NodeRole, force bool) (Node, error)
	// Policies returns the placement policies that are set, the cluster's
	// first, then those of classes, then those of buckets.
	Policies(ctx context.Context) ([]Policy, error)
	// SetPolicy sets a placement policy or takes it away, and returns it; each
	// later Place goes by it. Under Pinned the group must carry the class, or
	// DefaultClass where only a bucket is named, or every class there is where
	// neither is: else ErrWrongClass. ErrNoSuchBucket, ErrNoSuchGroup,
	// ErrNoSuchClass, ErrTooManyPolicies.
	SetPolicy(ctx context.Context, r *SetPolicy) (Policy, error)
	// Beat is one heartbeat of a storage process, for all its nodes. What it
	// says stays in memory; what it means for a node's state is judged soon
	// after. ErrForeign if the process is of another cluster; in the answer,
	// a node is refused by its own.
	Beat(ctx context.Context, b *Beat) (*BeatAnswer, error)
	// Status sums up the cluster; BlobsBelow counts blobs under their target.
	Status(ctx context.Context) (*Status, error)
	// Repair tells how repair is going.
	Repair(ctx context.Context) (*Repair, error)
	// Fsck compares the catalog with what every node holds and has what is
	// missing repaired. With adopt, nodes that face another incarnation of
	// the catalog than they know may follow it afterwards, those that stopped
	// because they were told to disown too much go on, and a catalog that is
	// held answers again: strangers are gone for it from then on.
	Fsck(ctx context.Context, adopt bool) (*Fsck, error)
	// RemoveTracker takes a copy of the catalog out of the group while it
	// serves. ErrNoSuchTracker; ErrConflict where it is the last one.
	RemoveTracker(ctx context.Context, id string) error
	// AcceptClock lets catalog time follow the leader's clock over a step
	// that was held back (SAFETY A9).
	AcceptClock(ctx context.Context) error
}

// Beat is what a storage process says of itself and its nodes.
type Beat struct {
	Cluster string   // "" from a process that has no node yet
	Boot    [16]byte // made anew at each start of the process
	Addr    string   // where its nodes are reached
	Domain  Domain
	Nodes   []storage.Status
}

// BeatAnswer is what a storage process must know to serve.
type BeatAnswer struct {
	Cluster, Incarnation string
	Now                  int64  // catalog time, ms: ends quarantines
	MapVersion           uint64 // of the cluster map; a newer one is worth reading
	Nodes                []BeatNode
}

// BeatNode is one node's part of the answer.
type BeatNode struct {
	ID    storage.NodeID
	Epoch uint32
	State NodeState
	// Refused says, for people, why this process must not serve the node:
	// it is unknown or gone, or another process serves it. "" if it may.
	Refused string
}

// Status is the state of the cluster as the catalog knows it.
type Status struct {
	Map         *Map
	Leader      string
	Voters      []Voter
	Fence       int64
	Incarnation string
	Queues      map[string]Queue // garbage, orphan, repair, reconcile
	Frozen      bool             // nodes delete nothing until holdfast fsck --adopt
	// Held says that the catalog answers no client (ErrHeld) until a person
	// has decided by Fsck: it may be a new one in the place of one that was
	// lost. Strangers are the nodes that say so.
	Held       bool
	Strangers  []Stranger
	BlobsBelow int64 // -1 while they are being counted
}

// Stranger is a storage node of this cluster that the catalog does not know:
// either that is new, or older than the node. It is not served.
type Stranger struct {
	Node        storage.NodeID
	Addr        string // of its process
	Incarnation string // of the catalog that it knows
	Shards      int64
	Bytes       int64
}

// Voter is one copy of the catalog: a directory of a server, or a tracker.
type Voter struct {
	ID      string
	Dir     string // in one process
	Addr    string // in a cluster
	Applied uint64
	Leader  bool
	Joining bool   // is being seeded, or has no vote yet
	Note    string // how far the seeding is, for people
	Err     string // why it stopped or cannot be reached
}

// Queue is a backlog of work.
type Queue struct {
	Length int64
	Oldest int64 // ms, 0 if empty
	Done   uint64
	Failed uint64
}

// Repair is how repair is going.
type Repair struct {
	Below      int64 // blobs under their target, -1 while they are being counted
	Settled    bool  // the count is complete and nothing waits: Below is final
	Waiting    int64 // blobs in the queue
	Running    int64
	Done       uint64 // shards made since this tracker began to lead
	Failed     uint64
	BytesDone  int64
	BytesLeft  int64 // of what is queued, an estimate
	ETA        time.Duration
	Paused     bool
	ByRisk     map[int]int64 // blobs by the number of shards they can still lose
	Lost       []LostBlob    // too few shards are left, at most 100
	Reconciled uint64        // whole passes of reconcile since this tracker began to lead
}

// LostBlob is a blob that cannot be read now.
type LostBlob struct {
	Blob   storage.BlobID
	Reason string
}

// Fsck is the outcome of a comparison of catalog and nodes.
type Fsck struct {
	Incarnation  string   // of the catalog
	Frozen       bool     // a node faces another incarnation than it knows and deletes nothing
	Blobs        int64    // live blobs in the catalog
	Holes        int64    // places of the maps that are empty
	Missing      int64    // shards of live blobs that the catalog places on a node that lacks them
	Unknown      int64    // shards that the catalog does not place where they are
	UnknownBytes int64    // their stored bytes
	Unreadable   []string // blobs with too few shards to be read, at most 1,000
	Unreached    []string // nodes that did not answer: what they hold was not compared
	Strangers    []Stranger
}
