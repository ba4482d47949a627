// Package storage is the contract of the storage node: one data directory
// that keeps immutable, checksummed shards by id and nothing else. It does
// not know buckets, keys or users.
//
// The package holds names, plain types and sentinels; holdfast/storage/node
// is the real implementation, holdfast/storage/memory the fake, and
// holdfast/storage/storagetest the suite that both must pass.
package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"holdfast/erasure"
	"holdfast/internal/fault"
)

// Sentinels. They are wrapped with the shard or node they speak of.
var (
	ErrNotHere     = fault.New(fault.NotFound, "storage.not-here", "shard is not on this node")
	ErrExists      = fault.New(fault.Exists, "storage.exists", "shard was written before; one grant is one attempt")
	ErrTicket      = fault.New(fault.Denied, "storage.ticket", "ticket does not allow this")
	ErrStaleEpoch  = fault.New(fault.Unavailable, "storage.stale-epoch", "ticket names an old epoch of this node; ask the tracker again")
	ErrNoSpace     = fault.New(fault.NoSpace, "storage.no-space", "node is full")
	ErrCorrupt     = fault.New(fault.Corrupt, "storage.corrupt", "stored bytes do not match their checksum")
	ErrSeal        = fault.New(fault.Invalid, "storage.seal", "seal does not match the frames that were sent")
	ErrOffline     = fault.New(fault.Unavailable, "storage.offline", "node is offline")
	ErrMassDisown  = fault.New(fault.Unavailable, "storage.mass-disown", "node was told to disown more than it may without a person; confirm with holdfast fsck --adopt")
	ErrIncarnation = fault.New(fault.Denied, "storage.incarnation", "catalog has another incarnation than this node knows; run holdfast fsck --adopt")
)

// NodeID names a node for ever; a replaced disk is a new node. 0 is no node.
type NodeID uint32

// BlobID names a blob for ever: home Raft group (2 bytes), storage group (2),
// and 12 bytes that grow with time. Big-endian, so that byte order is grant
// order within a home and group.
type BlobID [16]byte

// MakeBlobID builds an id. ms is milliseconds since 1970 and fills 6 bytes,
// unique the last 6.
func MakeBlobID(home, group uint16, ms, unique uint64) BlobID {
	return BlobID{byte(home >> 8), byte(home), byte(group >> 8), byte(group),
		byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms),
		byte(unique >> 40), byte(unique >> 32), byte(unique >> 24), byte(unique >> 16), byte(unique >> 8), byte(unique)}
}

// Home is the Raft group that keeps the blob's row.
func (b BlobID) Home() uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// Group is the storage group whose nodes hold the blob.
func (b BlobID) Group() uint16 { return uint16(b[2])<<8 | uint16(b[3]) }

// String returns 32 hexadecimal digits.
func (b BlobID) String() string { return hex.EncodeToString(b[:]) }

// ShardID is the full name of a stored shard. Delete, read, verify and disown
// name all three parts.
type ShardID struct {
	Blob  BlobID
	Index uint8
	Gen   uint32 // 1 for the first write; raised by each move or repair
}

// String returns blob/index.generation.
func (s ShardID) String() string { return fmt.Sprintf("%s/%d.%d", s.Blob, s.Index, s.Gen) }

// Placement is one entry of a blob's map: where the shard of one index is.
// The zero value is a hole.
type Placement struct {
	Node NodeID
	Gen  uint32
}

// Operation is what a ticket allows.
type Operation uint8

// The operations of a ticket.
const (
	OpWrite Operation = 1 + iota
	OpRead
	OpRepair
)

// Grantee is a node that a ticket names, with the epoch it had.
type Grantee struct {
	Node  NodeID
	Epoch uint32
}

// Ticket is a capability signed by the tracker. A node accepts it if it names
// the node at its present epoch. Expiry is written into the shard's header;
// the fence makes it exact (see tracker.Scheduler).
type Ticket struct {
	Blob   BlobID
	Op     Operation
	Expiry int64 // catalog time, milliseconds since 1970
	Nodes  []Grantee
	MAC    [32]byte // over all of the above; checked where a ticket arrives from a network
}

// Names reports whether the ticket names node for op on blob at epoch.
func (t *Ticket) Names(blob BlobID, op Operation, node NodeID, epoch uint32) error {
	if t.Blob != blob || t.Op != op {
		return fmt.Errorf("ticket for %s: %w", t.Blob, ErrTicket)
	}
	for _, g := range t.Nodes {
		if g.Node == node {
			if g.Epoch != epoch {
				return fmt.Errorf("node %d epoch %d, ticket %d: %w", node, epoch, g.Epoch, ErrStaleEpoch)
			}
			return nil
		}
	}
	return fmt.Errorf("node %d: %w", node, ErrTicket)
}

// Seal ends a shard: what was sent, by the sender's count. A shard exists
// only once its seal was accepted.
type Seal struct {
	Frames int64  // number of frames
	Length int64  // stored bytes, checksums included
	Sum    uint64 // XXH3-64 over the frames' checksums in order, as stored; 0 for no frames
}

// ShardInfo describes a sealed shard.
type ShardInfo struct {
	ID     ShardID
	Seal   Seal
	Expiry int64 // of the ticket it was written under, catalog time in ms
	// Quarantined is the catalog time in ms at which the shard was disowned, 0 if it was not.
	Quarantined int64
}

// ShardWriter takes one shard. It is used by one goroutine at a time. Exactly
// one of Seal and Abort must be called; Abort after Seal is a no-op.
type ShardWriter interface {
	// Write takes whole frames (payload and checksum), at most 1 MiB a call.
	// It may overwrite p while it runs and keeps no reference afterwards.
	// Every frame's checksum is verified; a bad one is ErrCorrupt, of this call
	// or of a later one, and poisons the writer.
	Write(p []byte) (int, error)
	// Seal checks the counts, writes the seal and syncs. On nil the shard
	// survives power loss and is readable; on error it does not exist after
	// the next restart, and may or may not be readable until then.
	Seal(ctx context.Context, s Seal) error
	// Abort discards what was written and frees it.
	Abort()
}

// Renewer is what a ShardWriter may be too. Renew replaces the ticket, before
// Seal, by a renewed one of the same blob and operation: its expiry is what
// the seal writes into the shard's header. A writer that is no Renewer, or
// whose Renew fails, keeps the expiry it was created under, and a commit must
// carry the lowest expiry of its shards (SAFETY A2).
type Renewer interface {
	Renew(t *Ticket) error
}

// ShardReader reads frames. One goroutine at a time.
type ShardReader interface {
	// ReadFrames fills p with whole stored frames in order, as many as fit,
	// and returns the number of bytes; io.EOF after the last frame asked for.
	// Frames are NOT verified: the reader's end does that.
	ReadFrames(p []byte) (int, error)
	io.Closer
}

// IDRange is a range of blob ids, From inclusive, To exclusive; a zero To is
// no bound.
type IDRange struct{ From, To BlobID }

// Digest sums up the sealed, not quarantined shards of a range.
type Digest struct {
	Count uint64
	XOR   uint64 // XOR of erasure/frame.Name(blob, index, generation)
}

// Source is where a rebuild may read shard Index of the blob.
type Source struct {
	Index uint8
	Placement
}

// Rebuild asks a node to make a shard of its own from other nodes' shards.
type Rebuild struct {
	Ticket  Ticket // OpRepair, names the receiving node
	Target  ShardID
	Scheme  erasure.Scheme
	Length  int64 // of the blob
	Sources []Source
}

// Status is what a node says in its heartbeat.
type Status struct {
	Node        NodeID
	Dir         string
	Total, Free int64 // bytes of the file system; Free excludes the reserve
	Used        int64 // bytes of sealed shards
	Shards      int64
	Quarantined int64
	Syncs       uint64 // data syncs since start
	Writes      uint64 // shards sealed since start
	ReadErrors  uint64
	// InFlight is the bytes of shards being written; LatencyMicros the recent
	// mean of a data sync, 0 if unknown. The scheduler weighs both.
	InFlight      int64
	LatencyMicros int64
	ScrubbedAt    time.Time // end of the last whole scrub pass
	Bad           uint64    // bad shards found by scrub and reads since start
	ReadOnly      bool      // full, failing, or told so
	Err           string    // why the node takes no writes, for people
	// Incarnation is the catalog's that the node follows. Frozen says that it
	// faces another, or was told to disown too much, and deletes nothing until
	// Adopt.
	Incarnation string
	Frozen      bool
	// SentBytes and ReceivedBytes are of shards over the network since start.
	SentBytes, ReceivedBytes uint64
}

// Damage is a shard that a reader or the scrubber found missing or bad.
type Damage struct {
	Shard  ShardID
	Node   NodeID
	Reason string
}

// Shards is one node's data API. Implementations are safe for concurrent use;
// every call honours ctx until its durable step and finishes after it.
type Shards interface {
	// Node returns the node's id.
	Node() NodeID
	// Create starts a shard. t must name this node for id.Blob (OpWrite or
	// OpRepair). size is the stored length if known, else -1: a hint, never
	// trusted. ErrExists if the shard is sealed or being written, ErrNoSpace
	// under the reserve.
	Create(ctx context.Context, t *Ticket, id ShardID, size int64) (ShardWriter, error)
	// Open reads frames [first, first+n) of a sealed shard, all from first if
	// n < 0. A quarantined shard is readable. ErrNotHere if there is none.
	Open(ctx context.Context, id ShardID, first, n int64) (ShardReader, error)
	// Stat describes a sealed shard.
	Stat(ctx context.Context, id ShardID) (ShardInfo, error)
	// Delete removes shards the catalog has dropped. Durable on nil;
	// deleting what is not here is no error. Space is freed later, when
	// readers that entered before have left.
	Delete(ctx context.Context, ids []ShardID) error
	// Disown quarantines shards that no reference names: they are kept, and
	// readable, until the quarantine ends, and Revive brings them back.
	// ErrMassDisown when it exceeds what a node may be told within an hour.
	Disown(ctx context.Context, ids []ShardID, now time.Time) error
	// Revive ends the quarantine of shards that are referenced after all.
	Revive(ctx context.Context, ids []ShardID) error
	// Digest sums up a range.
	Digest(ctx context.Context, r IDRange) (Digest, error)
	// List returns up to limit sealed shards of the range in name order,
	// quarantined ones included, after the given shard (zero: from the start).
	List(ctx context.Context, r IDRange, after ShardID, limit int) ([]ShardInfo, error)
	// Rebuild makes and seals Target from Sources, reading it back before it
	// returns. The bytes come straight from the other nodes.
	Rebuild(ctx context.Context, r *Rebuild) (Seal, error)
	// Adopt makes the node follow an incarnation of the catalog and go on
	// where it stopped because it was told to disown too much (SAFETY A3). A
	// person has confirmed that. Durable on nil.
	Adopt(ctx context.Context, incarnation string) error
	// Status reports space, load and health.
	Status(ctx context.Context) (Status, error)
}

// Nodes finds the data API of a node.
type Nodes interface {
	// Shards returns the node's API, ErrOffline if it cannot be reached now.
	Shards(id NodeID) (Shards, error)
}
