package consensus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"holdfast/tracker"
)

// TestVotersComeBack lets the disks of some voters fail, or their process have
// no descriptors, for a while: the voters stop, and run again once that is
// over, without a restart; a group that had lost its majority serves again.
func TestVotersComeBack(t *testing.T) {
	t.Parallel()
	descriptors := func(op errorfs.Op) error {
		if path.Ext(op.Path) == ".log" && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) {
			return &os.PathError{Op: "open", Path: op.Path, Err: syscall.EMFILE}
		}
		return nil
	}
	disk := func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errorfs.ErrInjected
		}
		return nil
	}
	for _, tc := range []struct {
		name   string
		fault  func(errorfs.Op) error
		voters int
		broken []int
	}{
		{"no descriptors, one of one", descriptors, 1, []int{0}},
		{"a failing disk, one of one", disk, 1, []int{0}},
		{"no descriptors, one of three", descriptors, 3, []int{1}},
		{"a failing disk, one of three", disk, 3, []int{2}},
		{"no descriptors, all of three", descriptors, 3, []int{0, 1, 2}},
		{"failing disks, two of three", disk, 3, []int{0, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var broken [3]atomic.Bool
			cfg := group(t, tc.voters, func(i int) vfs.FS {
				return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if broken[i].Load() {
						return tc.fault(op)
					}
					return nil
				}))
			})
			cfg.Bootstrap, cfg.SnapshotBytes, cfg.reviveRest = true, 64<<10, 10*time.Millisecond
			cfg.Logger = zerolog.Nop() // Raft's calls of a voter that is away end after the test
			var stopped atomic.Int64
			cfg.OnStop = func(string, error, bool) { stopped.Add(1) }
			l := mustOpen(t, cfg)
			defer mustClose(t, l)
			var acked []string
			for round := range 3 {
				stopped.Store(0)
				for _, i := range tc.broken {
					broken[i].Store(true)
				}
				pad := make([]byte, 4000)
				// Of three, the last writes nothing once two have stopped.
				for i := 0; stopped.Load() < int64(min(len(tc.broken), 2)); i++ {
					key := fmt.Sprintf("%-16s", fmt.Sprintf("%d.%d", round, i))
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					_, err := l.Propose(ctx, append([]byte(key), pad...), false)
					cancel()
					switch {
					case err == nil:
						acked = append(acked, key)
					case !errors.Is(err, tracker.ErrUncertain) && !errors.Is(err, tracker.ErrNotLeader) && !errors.Is(err, tracker.ErrUnavailable):
						t.Fatal(err)
					}
				}
				for _, i := range tc.broken {
					broken[i].Store(false)
				}
				eventually(t, "all voters run", func() bool {
					for _, v := range l.Status().Voters {
						if v.Err != "" {
							return false
						}
					}
					return l.Status().Quorum
				})
				eventually(t, "the group serves", func() bool {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					_, err := l.Propose(ctx, fmt.Appendf(nil, "served.%d", round), false)
					return err == nil
				})
				checkAcked(t, l, acked)
				checkEqual(t, l)
			}
		})
	}
}

// TestReplacedVoterStaysAway does not open a voter anew whose directory was
// given to another.
func TestReplacedVoterStaysAway(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	cfg := group(t, 3, func(i int) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if i == 1 && broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return errorfs.ErrInjected
			}
			return nil
		}))
	})
	cfg.Bootstrap, cfg.reviveRest, cfg.Logger = true, 10*time.Millisecond, zerolog.Nop()
	stopped := make(chan string, 8)
	cfg.OnStop = func(id string, _ error, _ bool) { stopped <- id }
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	fill(t, l, "a", 20)
	broken.Store(true)
	fill(t, l, "b", 5)
	<-stopped
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	old := l.byID(cfg.Voters[1].ID)
	if err := l.Vacate(ctx, cfg.Voters[1].Dir); err != nil {
		t.Fatal(err)
	}
	broken.Store(false)
	if over, err := l.tryRevive(old); !over || err != nil {
		t.Fatalf("a voter whose directory was vacated would be opened anew: %v, %v", over, err)
	}
	if err := cfg.Voters[1].FS.RemoveAll(cfg.Voters[1].Dir); err != nil {
		t.Fatal(err)
	}
	if err := l.ReplaceVoter(ctx, cfg.Voters[1].ID, cfg.Voters[1]); err != nil {
		t.Fatal(err)
	}
	checkFilled(t, l, "b", 5)
	checkEqual(t, l)
}
