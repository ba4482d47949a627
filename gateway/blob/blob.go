// Package blob is the gateway's way from a stream to shards on nodes and
// back. Writer cuts a body into stripes and sends them to all nodes of a
// grant at once; Reader joins a blob's shards, verifies every frame, and goes
// on with other shards where one is missing, bad or slow.
//
// It knows nothing of buckets, keys and S3: it sees grants, blobs and
// storage.Shards. It keeps no file. What it remembers is how fast nodes and
// groups were of late.
//
// # Goroutines
//
//   - A write of one batch under rep-1 has none. Any other has one for each
//     shard, which creates, writes and seals it, and ends when the shard is
//     sealed or aborted. One that hangs in a node's call is left behind, its
//     context cancelled, and keeps only its own buffers.
//   - A read of a blob that has one shard has none: read, verify and send take
//     turns. Else each read of a shard's frames is one, left behind in the same
//     way, and a read of several windows has one that fetches ahead of the
//     consumer.
//   - Discard, and a write that failed after some shards were sealed, have one
//     for each shard that they delete, left behind after a second and ended
//     after ten.
//   - Wait returns when all of them have ended.
//
// # Memory
//
// A write holds at most two batches of about 1.25 MiB (of one stripe, if that
// is more), a read two windows of about 512 KiB, or one where the blob has but
// one shard, all from pools. A write whose source is a stream gets its first
// batch once 340 KiB, or all, of it are there; until then it holds about five
// times what came at most. While a source brings less than 128 KiB a second,
// its write holds one batch of one stripe. A shard that hangs keeps a batch or a window's
// buffer until its node answers.
package blob

import (
	"fmt"
	"time"

	"holdfast/erasure/stripe"
	"holdfast/internal/clock"
	"holdfast/internal/fault"
)

// ErrQuorum is returned when fewer shards than the quorum were sealed. It is
// joined with what the nodes answered.
var ErrQuorum = fault.New(fault.Unavailable, "blob.quorum", "too few nodes took the write")

// ErrStalled is why a node that made no progress was given up.
var ErrStalled = fault.New(fault.Unavailable, "blob.stalled", "node made no progress")

// Config holds the time limits of writes and reads. See SAFETY B7.
type Config struct {
	// Straggler is the least time that a write waits for the last shards
	// after its quorum; three times the group's recent p99, if that is more.
	Straggler time.Duration
	// StragglerMax bounds that.
	StragglerMax time.Duration
	// Stall is how long a node may take no bytes while a quorum does.
	Stall time.Duration
	// Idle is how long a node may make no progress whatever the others do.
	Idle time.Duration
	// Hedge is the least time after which a spare shard is read beside a
	// slow one; the node's recent p95, if that is more.
	Hedge time.Duration
	// HedgeMax bounds that.
	HedgeMax time.Duration
}

// DefaultConfig returns the limits of SAFETY B7.
func DefaultConfig() Config {
	return Config{
		Straggler: 50 * time.Millisecond, StragglerMax: 5 * time.Second,
		Stall: time.Second, Idle: 30 * time.Second,
		Hedge: 50 * time.Millisecond, HedgeMax: time.Second,
	}
}

// Validate names the first field that is out of bounds.
func (c *Config) Validate() error {
	for _, f := range []struct {
		name     string
		v        time.Duration
		min, max time.Duration
	}{
		{"Straggler", c.Straggler, time.Millisecond, time.Minute},
		{"StragglerMax", c.StragglerMax, c.Straggler, 10 * time.Minute},
		{"Stall", c.Stall, 10 * time.Millisecond, 10 * time.Minute},
		{"Idle", c.Idle, c.Stall, time.Hour},
		{"Hedge", c.Hedge, time.Millisecond, time.Minute},
		{"HedgeMax", c.HedgeMax, c.Hedge, 10 * time.Minute},
	} {
		if f.v < f.min || f.v > f.max {
			return fmt.Errorf("blob: %s is %v, not within %v and %v", f.name, f.v, f.min, f.max)
		}
	}
	return nil
}

// Deps is what a Writer and a Reader share.
type Deps struct {
	Clock  clock.Clock
	Codecs *stripe.Codecs
}
