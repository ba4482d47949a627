package gateway

import (
	"context"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// Operator is what the administration endpoint asks of the process it runs
// in. Every method is safe to repeat.
type Operator interface {
	// Status sums up the cluster and this process.
	Status(ctx context.Context) (*tracker.Status, error)
	// ReplaceDisk makes an empty directory a new node in the place of the
	// one that was lost there (its shards are rebuilt, a lost copy of the
	// catalog is seeded again). It returns once the new node takes writes;
	// the refill goes on and shows in Status.
	ReplaceDisk(ctx context.Context, dir string) error
	// ForgetDisk gives up a directory that will not come back: its shards
	// are rebuilt on the other nodes.
	ForgetDisk(ctx context.Context, dir string) error
	// GoOnAlone lets the one surviving copy of a two-copy catalog take
	// writes again. What only the lost copy had acknowledged is gone.
	GoOnAlone(ctx context.Context) error
	// Fsck compares the catalog with what the nodes hold, and has what is
	// missing repaired. With adopt it then
	// lets nodes that face another incarnation of the catalog follow it, and
	// those that stopped because they were told to disown too much go on:
	// what the catalog does not know may be deleted from then on.
	Fsck(ctx context.Context, adopt bool) (*Fsck, error)
	// AcceptClock lets catalog time follow this machine's clock over a step
	// that was held back.
	AcceptClock(ctx context.Context) error
	// Repair tells how repair is going.
	Repair(ctx context.Context) (*tracker.Repair, error)
	// CreateGroup makes a storage group that nodes can join.
	CreateGroup(ctx context.Context, g tracker.Group) (tracker.Group, error)
	// RemoveTracker takes a copy of the catalog out of a cluster.
	RemoveTracker(ctx context.Context, id string) error
	// ForgetNode gives up a node that will not come back: what it held is
	// rebuilt on the others. A node that serves is refused.
	ForgetNode(ctx context.Context, id storage.NodeID) error
	// SetNodeRole lets a node take new shards or not. One that leaves its
	// group too few nodes that do is tracker.ErrTooFewNodes without force.
	SetNodeRole(ctx context.Context, id storage.NodeID, r tracker.NodeRole, force bool) (tracker.Node, error)
	// Policies returns the placement policies that are set.
	Policies(ctx context.Context) ([]tracker.Policy, error)
	// SetPolicy sets a placement policy, or takes it away where its kind is 0.
	SetPolicy(ctx context.Context, r *tracker.SetPolicy) (tracker.Policy, error)
	// Inspect tells where the bytes of an object are and which shards are there.
	Inspect(ctx context.Context, bucket, key, version string) (*Inspection, error)
}

// Inspection is an object down to its shards. Sizes are in bytes.
type Inspection struct {
	Bucket, Key, Version, ETag, Class string
	Size                              int64
	Modified                          time.Time
	Sequence                          uint64 // commit order
	Inline                            int64  // kept in the catalog
	Extents                           []ExtentInspection
	Truncated                         bool // there are more extents
}

// ExtentInspection is a run of an object's bytes and the blob that holds them.
type ExtentInspection struct {
	Offset, Length         int64 // in the object
	Blob                   string
	BlobOffset, BlobLength int64
	Group, Scheme          string
	Needed, Found          int // shards to read it, and shards that are there
	Shards                 []ShardInspection
}

// ShardInspection is one shard at its place.
type ShardInspection struct {
	Index       int
	Node        storage.NodeID // 0 for a hole
	Generation  uint32
	Addr, State string // of the node
	Found       bool
	Bytes       int64
	Problem     string // why it was not found, or what is the matter with it
}

// Fsck is the outcome of a comparison of catalog and nodes.
type Fsck = tracker.Fsck
