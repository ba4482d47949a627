// Package consensus replicates commands: hashicorp/raft over Pebble. It owns
// the voters, their logs and their state stores, and knows nothing of what a
// command means. Raft's types stay in this package and in raftlog.
//
// There are two ways to run a group: Local, all voters in this process, and
// Replica, one voter whose others are in other processes.
//
// On disk a voter's directory holds log (see raftlog), state (the state store,
// named state-N after a state was taken over in band), ballast,
// checkpoint-N while a copy is lent or sent, and seed while one is received.
package consensus

import (
	"context"

	"holdfast/tracker/kv"
)

// Machine gives commands their meaning. It must be deterministic: the same
// state and commands give the same writes and results on every voter; it
// reads no clock and no randomness.
type Machine interface {
	// Apply judges cmds in order against txn and writes their effects to it.
	// The results answer the proposers, one for each command: an error value
	// is a refusal that changed nothing. index is the log index of the entry
	// that carried them. A returned error is fatal: the voter stops.
	Apply(txn kv.Txn, index uint64, cmds [][]byte) (results []any, err error)
}

// Log is what the tracker's service needs of a Raft group: it proposes
// commands and reads under the lease.
type Log interface {
	// Propose commits a command and returns what Machine.Apply said of it.
	// Many proposals share a log entry and a sync. tracker.ErrNotLeader if
	// nothing was proposed, tracker.ErrUncertain if it is not known whether
	// the command took effect, tracker.ErrTooLarge over 4 MiB,
	// tracker.ErrCatalogFull when growth is set and a voter's disk is nearly
	// full (the check is the proposer's; deletes and garbage pass with growth false).
	// After an error cmd may still be on its way and must not be changed.
	Propose(ctx context.Context, cmd []byte, growth bool) (any, error)
	// Read returns a linearizable view under the leader's lease;
	// release must be called once the view is no longer used.
	Read(ctx context.Context) (r kv.Reader, release func(), err error)
	// LeaderEpoch returns (term, true) while this process leads and has
	// applied all earlier entries; workers run only then.
	LeaderEpoch() (uint64, bool)
}
