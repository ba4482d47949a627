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
	// AcceptClock lets catalog time follow this machine's clock over a step
	// that was held back.
	AcceptClock(ctx context.Context) error
}
