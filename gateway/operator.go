package gateway

import (
	"context"

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
}
