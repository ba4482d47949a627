package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
)

// ReplicaConfig says how one voter of a group is run whose other voters are in
// other processes. Zero values of the fields after Logger are the defaults.
type ReplicaConfig struct {
	// Voter is the copy: ID is the tracker's, for ever the same.
	Voter
	// ClusterID is kept in the voter; another cluster's is refused.
	ClusterID string
	// Advertise is host:port under which the others reach this replica, for
	// Raft (Listener) and for control calls (Peer).
	Advertise string
	// Listener takes Raft's connections. What it accepts has been
	// authenticated. Close closes it.
	Listener net.Listener
	// Dial opens an authenticated connection to a peer's Raft.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Peer makes control calls to the replica at addr. It is asked often and
	// should share what it has.
	Peer func(addr string) Peer
	// Members are the replicas that are known beforehand; this one may be
	// among them. An empty directory is filled from them, and where the group
	// knows another address of a member, both are tried.
	Members []Member
	// Bootstrap lets this replica begin a new group of itself, which the
	// others then join. Nothing is begun unless the directory is empty and
	// every other member has answered that its directory is empty too, so it
	// does no harm to leave it set, nor to set it at several: of those, the
	// one with the lowest ID begins.
	Bootstrap bool
	// Machine is this voter's.
	Machine Machine
	Logger  zerolog.Logger

	// Clock drives leases, watchdog and waiting. Default: the system's.
	Clock clock.Clock
	// CacheBytes is the size of the state's block cache. Default 64 MiB.
	CacheBytes int64
	// HeartbeatTimeout is Raft's, also its election timeout, and must be equal
	// on all voters. Default 1 s, at least 200 ms.
	HeartbeatTimeout time.Duration
	// Strict makes each read wait for a commit that began after it, so that
	// no clock takes part.
	Strict bool
	// SnapshotBytes is how much log is written between flushes. Default 64 MiB.
	SnapshotBytes uint64
	// KeepBytes is how much log stays behind a flush for followers that were
	// away. Default 1 GiB.
	KeepBytes uint64
	// SlowWrite is how long a write may hang until the voter steps aside,
	// DeadWrite until it is stopped. Defaults 2 s and 30 s.
	SlowWrite, DeadWrite time.Duration
	// Space tells the free and all bytes of the voter's disk. Default: what
	// its file system says; nothing is refused where that is unknown.
	Space func(Voter) (free, total uint64, err error)
	// MinFree is the least free bytes for growth, beside 3 % of the disk. Default 2 GiB.
	MinFree uint64
	// BallastBytes is as LocalConfig's. Default 64 MiB; negative for none.
	BallastBytes int64
	// SeedRate bounds in bytes a second what this replica copies when it is
	// seeded. Default 0: no bound.
	SeedRate int64
	// OnStop is called once if the replica stops for good by itself: its disk
	// failed or hung for DeadWrite, or the group removed it (ErrRemoved,
	// ErrLeftOut). It answers tracker.ErrUnavailable from then on. The process
	// should end.
	OnStop func(err error)

	// trustStale serves reads without a lease, for a test that must notice.
	trustStale bool
	// commitTimeout is how soon followers hear of a commit when no other
	// follows it. Default 50 ms.
	commitTimeout time.Duration
}

// minHeartbeat leaves room for the margin of a lease.
const minHeartbeat = 4 * leaseMargin

func (c *ReplicaConfig) setDefaults() {
	l := LocalConfig{
		Clock: c.Clock, CacheBytes: c.CacheBytes, HeartbeatTimeout: c.HeartbeatTimeout, SnapshotBytes: c.SnapshotBytes, KeepBytes: c.KeepBytes,
		SlowWrite: c.SlowWrite, DeadWrite: c.DeadWrite, Space: c.Space, MinFree: c.MinFree, BallastBytes: c.BallastBytes,
		commitTimeout: c.commitTimeout,
	}
	// Where a network is between, these are others than in one process.
	if l.HeartbeatTimeout == 0 {
		l.HeartbeatTimeout = time.Second
	}
	if l.KeepBytes == 0 {
		l.KeepBytes = 1 << 30
	}
	if l.commitTimeout == 0 {
		l.commitTimeout = 50 * time.Millisecond
	}
	l.setDefaults()
	c.Clock, c.CacheBytes, c.HeartbeatTimeout, c.SnapshotBytes, c.KeepBytes = l.Clock, l.CacheBytes, l.HeartbeatTimeout, l.SnapshotBytes, l.KeepBytes
	c.SlowWrite, c.DeadWrite, c.Space, c.MinFree, c.BallastBytes = l.SlowWrite, l.DeadWrite, l.Space, l.MinFree, l.BallastBytes
	c.commitTimeout = l.commitTimeout
	if c.OnStop == nil {
		c.OnStop = func(error) {}
	}
}

func (c *ReplicaConfig) settings() settings {
	return settings{
		ClusterID: c.ClusterID, Logger: c.Logger, Clock: c.Clock, HeartbeatTimeout: c.HeartbeatTimeout,
		commitTimeout: c.commitTimeout, SnapshotBytes: c.SnapshotBytes, SlowWrite: c.SlowWrite, DeadWrite: c.DeadWrite,
		Space: c.Space, MinFree: c.MinFree, BallastBytes: c.BallastBytes,
	}
}

func (c *ReplicaConfig) validate() error {
	switch {
	case c.ClusterID == "" || c.Machine == nil:
		return errors.New("consensus: ClusterID and Machine must be set")
	case c.Advertise == "" || c.Listener == nil || c.Dial == nil || c.Peer == nil:
		return errors.New("consensus: Advertise, Listener, Dial and Peer must be set")
	case c.HeartbeatTimeout < minHeartbeat:
		return fmt.Errorf("consensus: HeartbeatTimeout is %v, at least %v allowed", c.HeartbeatTimeout, minHeartbeat)
	case c.DeadWrite < c.SlowWrite:
		return fmt.Errorf("consensus: DeadWrite is %v, at least SlowWrite (%v) allowed", c.DeadWrite, c.SlowWrite)
	}
	for i, m := range c.Members {
		if m.ID == "" || m.Addr == "" {
			return fmt.Errorf("consensus: Members: ID and Addr of entry %d must be set", i)
		}
		for _, n := range c.Members[:i] {
			if n.ID == m.ID || n.Addr == m.Addr {
				return fmt.Errorf("consensus: Members: %s (%s) and %s (%s) are the same", n.ID, n.Addr, m.ID, m.Addr)
			}
		}
	}
	return c.Voter.validate()
}
