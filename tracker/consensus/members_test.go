package consensus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"holdfast/tracker"
)

// eventually waits for a condition with a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// dump returns a voter's rows, its own ones left out.
func dump(t testing.TB, v *voter) map[string]string {
	t.Helper()
	h := v.fsm.state.Load()
	it, err := h.Iter([]byte{2}, []byte{0xff})
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for ok := it.First(); ok; ok = it.Next() {
		rows[string(it.Key())] = string(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// checkEqual waits until all running voters have applied the same and
// compares their rows.
func checkEqual(t testing.TB, l *Local) {
	t.Helper()
	mustPropose(t, l, "check")
	lead := l.lead.Load()
	target := lead.fsm.applied.Load()
	for _, v := range l.voters() {
		if !v.runs() {
			continue
		}
		eventually(t, "voters are equal", func() bool { return v.fsm.applied.Load() >= target })
		if d := cmp.Diff(dump(t, lead), dump(t, v)); d != "" {
			t.Fatalf("voter %s differs from %s: %s", v.ID, lead.ID, d)
		}
	}
}

func fill(t testing.TB, l *Local, prefix string, n int) {
	t.Helper()
	for i := range n {
		mustPropose(t, l, fmt.Sprintf("%s.%d", prefix, i))
	}
}

func checkFilled(t testing.TB, l *Local, prefix string, n int) {
	t.Helper()
	for i := range n {
		key := fmt.Sprintf("%s.%d", prefix, i)
		if got := lookup(t, l, key); got != key {
			t.Fatalf("%s is %q", key, got)
		}
	}
}

func TestLostDirectoryIsFilledAgain(t *testing.T) {
	t.Parallel()
	for lost := range 3 {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			cfg := group(t, 3, oneFS(fs))
			cfg.Bootstrap = true
			l := mustOpen(t, cfg)
			fill(t, l, "a", 100)
			mustClose(t, l)
			if err := fs.RemoveAll(cfg.Voters[lost].Dir); err != nil {
				t.Fatal(err)
			}
			cfg.Bootstrap = false
			l = mustOpen(t, cfg)
			st := l.Status()
			if d := cmp.Diff([]string{cfg.Voters[lost].ID}, st.Empty); d != "" || !st.Quorum {
				t.Fatalf("status: %+v", st)
			}
			checkFilled(t, l, "a", 100)
			fill(t, l, "b", 10)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := l.ReplaceVoter(ctx, cfg.Voters[lost].ID, cfg.Voters[lost]); err != nil {
				t.Fatal(err)
			}
			fill(t, l, "c", 10)
			checkEqual(t, l)
			mustClose(t, l)
			// The new one counts: another may be lost now.
			if err := fs.RemoveAll(cfg.Voters[(lost+1)%3].Dir); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, cfg)
			defer mustClose(t, l)
			checkFilled(t, l, "a", 100)
			checkFilled(t, l, "b", 10)
			checkFilled(t, l, "c", 10)
			fill(t, l, "d", 10)
			checkEqual(t, l)
		})
	}
}

func TestGrowAndMove(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	cfg := group(t, 3, oneFS(fs))
	all := cfg.Voters
	cfg.Voters, cfg.Bootstrap = all[:1], true
	l := mustOpen(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i := 1; i < 3; i++ {
		fill(t, l, fmt.Sprint(i), 20)
		if err := l.ReplaceVoter(ctx, "", all[i]); err != nil {
			t.Fatal(err)
		}
	}
	// Move the leader to another directory.
	moved := all[0]
	moved.Dir = "/other/catalog"
	if err := l.ReplaceVoter(ctx, moved.ID, moved); err != nil {
		t.Fatal(err)
	}
	fill(t, l, "3", 20)
	checkEqual(t, l)
	mustClose(t, l)

	// The old directory is not taken for the voter any more.
	cfg.Voters, cfg.Bootstrap = all, false
	l = mustOpen(t, cfg)
	if st := l.Status(); st.Voters[0].Err == "" || len(st.Empty) != 0 || !st.Quorum {
		t.Fatalf("status: %+v", st)
	}
	mustClose(t, l)
	cfg.Voters = []Voter{moved, all[1], all[2]}
	l = mustOpen(t, cfg)
	defer mustClose(t, l)
	for i := 1; i < 4; i++ {
		checkFilled(t, l, fmt.Sprint(i), 20)
	}
}

func TestTwoVotersOneLost(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			cfg := group(t, 2, oneFS(fs))
			cfg.Bootstrap = true
			l := mustOpen(t, cfg)
			fill(t, l, "a", 50)
			cfg.Bootstrap = false
			if running {
				lead := l.lead.Load()
				lead.fail(errors.New("test"))
				eventually(t, "reads only", func() bool { return l.Status().ReadOnly })
			} else {
				mustClose(t, l)
				if err := fs.RemoveAll(cfg.Voters[0].Dir); err != nil {
					t.Fatal(err)
				}
				l = mustOpen(t, cfg)
			}
			checkFilled(t, l, "a", 50)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if _, err := l.Propose(ctx, []byte("x"), false); !errors.Is(err, tracker.ErrUnavailable) {
				t.Fatalf("propose without a majority: %v", err)
			}
			if err := l.RecoverAlone(ctx, false); err != nil {
				t.Fatal(err)
			}
			fill(t, l, "b", 50)
			checkFilled(t, l, "a", 50)
			if err := l.RecoverAlone(ctx, false); err == nil {
				t.Fatal("recovered a group that has a majority")
			}
			mustClose(t, l)
			// A left-out voter that turns up again is not let in.
			l = mustOpen(t, cfg)
			checkFilled(t, l, "a", 50)
			checkFilled(t, l, "b", 50)
			lost := 0
			if l.voters()[1].cause() != nil {
				lost = 1
			}
			if l.voters()[lost].cause() == nil {
				t.Fatalf("status: %+v", l.Status())
			}
			// It is filled once it was emptied.
			v := cfg.Voters[lost]
			if running {
				if err := l.ReplaceVoter(ctx, v.ID, v); err == nil {
					t.Fatal("a directory with a voter was overwritten")
				}
				if err := fs.RemoveAll(v.Dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.ReplaceVoter(ctx, v.ID, v); err != nil {
				t.Fatal(err)
			}
			fill(t, l, "c", 50)
			checkEqual(t, l)
			mustClose(t, l)
			l = mustOpen(t, cfg)
			defer mustClose(t, l)
			checkFilled(t, l, "c", 50)
			checkEqual(t, l)
		})
	}
}

// TestSecondOfTwoAlone loses the first of two voters as soon as the second is
// admitted.
func TestSecondOfTwoAlone(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	cfg := group(t, 2, oneFS(fs))
	all := cfg.Voters
	cfg.Voters, cfg.Bootstrap = all[:1], true
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	fill(t, l, "a", 50)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.ReplaceVoter(ctx, "", all[1]); err != nil {
		t.Fatal(err)
	}

	left := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := left.RemoveAll(all[0].Dir); err != nil {
		t.Fatal(err)
	}
	cfg = group(t, 2, oneFS(left))
	l2 := mustOpen(t, cfg)
	defer mustClose(t, l2)
	eventually(t, "reads only", func() bool { return l2.Status().ReadOnly })
	checkFilled(t, l2, "a", 50)
}

func TestAdmitted(t *testing.T) {
	conf := func(voters ...string) (c raft.Configuration) {
		for _, id := range voters {
			s := raft.Server{ID: raft.ServerID(strings.TrimPrefix(id, "-")), Suffrage: raft.Voter}
			if strings.HasPrefix(id, "-") {
				s.Suffrage = raft.Nonvoter
			}
			c.Servers = append(c.Servers, s)
		}
		return c
	}
	for _, tc := range []struct {
		name         string
		before, last raft.Configuration
		want         bool
	}{
		{"to a pair", conf("a"), conf("a", "me"), true},
		{"from nonvoter", conf("a", "-me"), conf("me", "a"), true},
		{"not yet a voter", conf("a"), conf("a", "-me"), false},
		{"left out", conf("a", "me"), conf("a"), false},
		{"replaced by another", conf("a", "me"), conf("a", "b"), false},
		{"alone", conf("a", "me"), conf("me"), false},
		{"one of three", conf("a", "me"), conf("a", "b", "me"), false},
		{"was three", conf("a", "b", "me"), conf("a", "me"), false},
	} {
		if got := admitted(tc.before, tc.last, "me"); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestForeignAndMissing(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	cfg := group(t, 2, oneFS(fs))
	ctx := context.Background()
	if l, err := OpenLocal(ctx, cfg); err == nil {
		_ = l.Close()
		t.Fatal("opened empty directories")
	}
	cfg.Bootstrap = true
	mustClose(t, mustOpen(t, cfg))
	if l, err := OpenLocal(ctx, cfg); err == nil {
		_ = l.Close()
		t.Fatal("bootstrapped over a catalog")
	}
	cfg.Bootstrap, cfg.ClusterID = false, "other"
	if l, err := OpenLocal(ctx, cfg); err == nil {
		_ = l.Close()
		t.Fatal("opened another cluster's catalog")
	}
}

// Close ends a change of membership, at whatever point, and the group can be
// opened again and the change made.
func TestCloseWhileReplacing(t *testing.T) {
	t.Parallel()
	for delay := range 12 {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			t.Parallel()
			cfg := group(t, 3, oneFS(vfs.NewMem()))
			all := cfg.Voters
			cfg.Voters, cfg.Bootstrap = all[:2], true
			l := mustOpen(t, cfg)
			fill(t, l, "a", 20)
			done := make(chan error, 1)
			go func() { done <- l.ReplaceVoter(context.Background(), "", all[2]) }()
			<-time.After(time.Duration(delay*delay) * 200 * time.Microsecond)
			mustClose(t, l)
			t.Logf("replace: %v", <-done)
			cfg.Voters, cfg.Bootstrap = all, false
			l = mustOpen(t, cfg)
			defer mustClose(t, l)
			checkFilled(t, l, "a", 20)
			for _, id := range l.Status().Empty {
				if err := l.ReplaceVoter(context.Background(), id, all[2]); err != nil {
					t.Fatal(err)
				}
			}
			fill(t, l, "b", 20)
			checkEqual(t, l)
		})
	}
}
