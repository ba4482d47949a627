package worker

import (
	"context"
	"time"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/placement"
)

// Cluster is what the workers need of the tracker's service.
type Cluster interface {
	LeaderEpoch() (uint64, bool)
	// Plan is the cluster map, as such and prepared for decisions.
	Plan(ctx context.Context) (*placement.Plan, *tracker.Map, error)
	// RepairTicket grants a node to make a shard of an existing blob.
	RepairTicket(blob storage.BlobID, to storage.Grantee) storage.Ticket
	// TicketLife is how long after its grant a ticket may be committed under.
	TicketLife() time.Duration
	// Now is catalog time in ms.
	Now() int64
	// ReportDamage queues shards that were found missing or bad.
	ReportDamage(ctx context.Context, damage []storage.Damage) error
	// TakeDamage hands over reports; DamageReady is signalled when there are some.
	TakeDamage() []storage.Damage
	DamageReady() <-chan struct{}
}

// View is the state under which rows were read. It is linearizable: what was
// committed before the call that returned it is in it.
type View struct {
	Now, Fence  int64 // ms
	Incarnation string
}

// Blob is a blob's row.
type Blob struct {
	ID     storage.BlobID
	Scheme erasure.Scheme
	Length int64
	Shards []storage.Placement // by index; the zero value is a hole
	Dying  bool
	Time   int64 // catalog time of its commit, ms
}

// Switch moves one index of a blob from one placement to another, if it is
// there still and the blob lives.
type Switch struct {
	Blob     storage.BlobID
	Index    uint8
	Old, New storage.Placement
	Expiry   int64 // of the ticket the new shard was written under
}

// Garbage is a garbage row. Rows are in commit order.
type Garbage struct {
	ID   catalog.GarbageID
	Time int64 // catalog time since which it is garbage, ms
	// Sweep is set for rows that commands sweep in steps: an upload's parts,
	// a bucket's rest, a version's pieces. Else Shards may be deleted.
	Sweep  bool
	Blob   storage.BlobID
	Shards []Shard
}

// Shard is a shard at its place.
type Shard struct {
	Node storage.NodeID
	ID   storage.ShardID
}

// Store is what the workers read and change in the catalog. Every change is
// one command, durable when it returns nil.
type Store interface {
	View(ctx context.Context) (View, error)
	// Blobs reads up to max rows of a range in order, in one view.
	Blobs(ctx context.Context, r storage.IDRange, max int) ([]Blob, View, error)
	// Lookup reads the rows of some ids in one view; absent ones are left out.
	Lookup(ctx context.Context, ids []storage.BlobID) (map[storage.BlobID]Blob, View, error)
	// Switch: tracker.ErrConflict if the map is another by now or the blob is
	// dying or unknown, tracker.ErrFenced at or under the fence. The old
	// placement becomes garbage.
	Switch(ctx context.Context, s *Switch) error
	// Adopt fills a hole with a shard that is there, under the same refusals.
	Adopt(ctx context.Context, s *Switch) error
	// Garbage reads the oldest garbage rows, at most max.
	Garbage(ctx context.Context, max int) ([]Garbage, error)
	// Dropped reads, for the blobs of a range, the shards that garbage rows
	// name and that were not deleted yet.
	Dropped(ctx context.Context, r storage.IDRange) (map[Shard]bool, error)
	// DropGarbage drops every garbage row up to id, and the rows of the dying
	// blobs among them.
	DropGarbage(ctx context.Context, upTo catalog.GarbageID) error
	// Sweep takes one bounded step of a row to sweep, which goes with the
	// last, and reports whether there is more.
	Sweep(ctx context.Context, id catalog.GarbageID) (more bool, err error)
	// Trim takes one bounded step of dropping remembered results, uploads'
	// outcomes and changes that have aged, and reports whether there is more.
	Trim(ctx context.Context) (more bool, err error)
	// Job reads the saved state of a long job, nil if there is none.
	Job(ctx context.Context, id string) ([]byte, error)
	SetJob(ctx context.Context, id string, state []byte) error
}
