package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"holdfast/internal/clock"
)

// Voter is one copy of the log and the state: a directory on a file system.
// Its log is in DIR/log, its state in DIR/state.
type Voter struct {
	ID  string // unique in the group, without a dot, for ever the same for this disk
	FS  vfs.FS
	Dir string
}

// LocalConfig says how a group whose voters are all in this process is run.
// Zero values of the fields after Logger are the defaults.
type LocalConfig struct {
	// Voters are 1, 2 or 3, on different disks where there are.
	Voters []Voter
	// ClusterID is kept in each voter; another cluster's voter is refused.
	ClusterID string
	// Bootstrap makes a new group of all voters, whose directories must be
	// empty. A bootstrap that was cut short is finished by the next.
	Bootstrap bool
	// Machine makes the machine of the i-th voter; voters that are added
	// later count on.
	Machine func(i int) Machine
	Logger  zerolog.Logger

	// Clock drives the watchdog. Default: the system's.
	Clock clock.Clock
	// CacheBytes is the block cache that the voters share. Default 64 MiB.
	CacheBytes int64
	// HeartbeatTimeout is Raft's, also its election timeout. Failures that
	// this process sees do not wait for it. Default 5 s.
	HeartbeatTimeout time.Duration
	// Strict makes each read wait for a commit that began after it.
	Strict bool
	// SnapshotBytes is how much log is written between flushes. Default 64 MiB.
	SnapshotBytes uint64
	// KeepBytes is how much log stays behind a flush where there is more than
	// one voter. Default 256 MiB.
	KeepBytes uint64
	// SlowWrite is how long a write may hang until the voter steps aside,
	// DeadWrite until it is stopped. Defaults 2 s and 30 s.
	SlowWrite, DeadWrite time.Duration
	// Space tells the free and all bytes of a voter's disk. Default: what its
	// file system says; nothing is refused where that is unknown.
	Space func(Voter) (free, total uint64, err error)
	// MinFree is the least free bytes for growth, beside 3 % of the disk. Default 2 GiB.
	MinFree uint64
	// BallastBytes is the size of a file that is kept in each voter's
	// directory to be given up when the disk is full. None on disks under 16
	// GiB and where the size is unknown. Default 64 MiB; negative for none.
	BallastBytes int64
	// OnStop is called once for each voter that stops by an error, with
	// whether the others go on.
	OnStop func(id string, err error, quorum bool)

	// commitTimeout is how soon followers hear of a commit when no other
	// follows it. Nobody reads from them, so it is long, for idle processors.
	commitTimeout time.Duration
	// patience bounds how long a call waits for a leader.
	patience time.Duration
	// reviveRest is how long a voter that stopped rests before it is tried.
	reviveRest time.Duration
}

func (c *LocalConfig) setDefaults() {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Space == nil {
		c.Space = diskSpace
	}
	if c.OnStop == nil {
		c.OnStop = func(string, error, bool) {}
	}
	for _, f := range []struct {
		p   *uint64
		def uint64
	}{{&c.SnapshotBytes, 64 << 20}, {&c.KeepBytes, 256 << 20}, {&c.MinFree, 2 << 30}} {
		if *f.p == 0 {
			*f.p = f.def
		}
	}
	for _, f := range []struct {
		p   *time.Duration
		def time.Duration
	}{{&c.HeartbeatTimeout, 5 * time.Second}, {&c.SlowWrite, 2 * time.Second}, {&c.DeadWrite, 30 * time.Second},
		{&c.commitTimeout, time.Second}, {&c.reviveRest, reviveRest}} {
		if *f.p == 0 {
			*f.p = f.def
		}
	}
	if c.patience == 0 {
		c.patience = leaderPatience
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	if c.BallastBytes == 0 {
		c.BallastBytes = 64 << 20
	}
}

// settings is what a voter needs of its group's configuration; the fields are
// those of LocalConfig and ReplicaConfig.
type settings struct {
	ClusterID                       string
	Logger                          zerolog.Logger
	Clock                           clock.Clock
	HeartbeatTimeout, commitTimeout time.Duration
	SnapshotBytes                   uint64
	SlowWrite, DeadWrite            time.Duration
	Space                           func(Voter) (free, total uint64, err error)
	MinFree                         uint64
	BallastBytes                    int64
}

func (c *LocalConfig) settings() settings {
	return settings{
		ClusterID: c.ClusterID, Logger: c.Logger, Clock: c.Clock, HeartbeatTimeout: c.HeartbeatTimeout,
		commitTimeout: c.commitTimeout, SnapshotBytes: c.SnapshotBytes, SlowWrite: c.SlowWrite, DeadWrite: c.DeadWrite,
		Space: c.Space, MinFree: c.MinFree, BallastBytes: c.BallastBytes,
	}
}

func (c *LocalConfig) validate() error {
	if n := len(c.Voters); n < 1 || n > 3 {
		return fmt.Errorf("consensus: Voters: %d given, 1 to 3 allowed", n)
	}
	if c.ClusterID == "" || c.Machine == nil {
		return errors.New("consensus: ClusterID and Machine must be set")
	}
	if c.DeadWrite < c.SlowWrite {
		return fmt.Errorf("consensus: DeadWrite is %v, at least SlowWrite (%v) allowed", c.DeadWrite, c.SlowWrite)
	}
	seen := make(map[string]bool)
	for _, v := range c.Voters {
		if err := v.validate(); err != nil {
			return err
		}
		if seen[v.ID] {
			return fmt.Errorf("consensus: Voters: ID %q is given twice", v.ID)
		}
		seen[v.ID] = true
	}
	return nil
}

func (v *Voter) validate() error {
	if v.ID == "" || v.FS == nil || v.Dir == "" {
		return errors.New("consensus: Voter: ID, FS and Dir must be set")
	}
	for i := range len(v.ID) {
		if v.ID[i] == '.' {
			return fmt.Errorf("consensus: Voter: ID %q has a dot", v.ID)
		}
	}
	return nil
}
