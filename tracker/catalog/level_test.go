package catalog

import (
	"errors"
	"testing"

	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// levels applies entries to a machine that lets commands through up to the
// level open without one in the state.
type levels struct {
	t     *testing.T
	m     *Machine
	s     *kv.Store
	index uint64
}

func newLevels(t *testing.T, open uint64) *levels {
	s, err := kv.Open(vfs.NewMem(), "state", kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &levels{t: t, m: NewMachine(), s: s}
	l.m.open = open
	return l
}

func (l *levels) apply(cmds ...Command) ([]any, error) {
	l.t.Helper()
	l.index++
	enc := make([][]byte, len(cmds))
	for i, c := range cmds {
		enc[i] = Encode(nil, Header{At: 1_800_000_000_000}, c)
	}
	tx := l.s.Begin()
	r, err := l.m.Apply(tx, l.index, enc)
	if err != nil {
		tx.Close()
		return nil, err
	}
	if err := tx.Commit(false); err != nil {
		l.t.Fatal(err)
	}
	return r, nil
}

func (l *levels) level() uint64 {
	l.t.Helper()
	s, err := ReadState(l.s)
	if err != nil {
		l.t.Fatal(err)
	}
	return s.Level
}

// TestLevel refuses what is over the level in the state, until it is raised.
func TestLevel(t *testing.T) {
	t.Parallel()
	l := newLevels(t, plainLevel)
	r, err := l.apply(CreateBucket{&tracker.CreateBucket{Name: "b", Owner: "root"}})
	if err != nil {
		t.Fatal(err)
	}
	b := r[0].(*BucketResult).Bucket.ID
	inline := func(tags ...tracker.Field) Command {
		return Put{&tracker.PutObject{Bucket: b, Key: "k", Meta: tracker.Meta{ETag: "e", Size: 1, Tags: tags}, Inline: []byte("x")}}
	}
	tag := tracker.Field{Name: "n", Value: "v"}
	tags := SetTags{&tracker.SetTags{Bucket: b, Key: "k", Tags: []tracker.Field{tag}}}
	// The level counts from the command that raises it, within one entry too.
	r, err = l.apply(inline(), inline(tag), tags, RaiseLevel{To: plainLevel}, tags, RaiseLevel{To: tagsLevel}, tags, inline(tag))
	if err != nil {
		t.Fatal(err)
	}
	for i, refused := range []bool{false, true, true, false, true, false, false, false} {
		if err, _ := r[i].(error); errors.Is(err, ErrLevel) != refused || (err != nil) != refused {
			t.Errorf("command %d: %v", i, r[i])
		}
	}
	if !errors.Is(ErrLevel, tracker.ErrUnavailable) {
		t.Error("a caller cannot tell that it may ask again")
	}
	if l.level() != tagsLevel {
		t.Errorf("level %d", l.level())
	}
	if r, err = l.apply(tags, RaiseLevel{To: plainLevel}); err != nil || r[1] != uint64(tagsLevel) {
		t.Error("the level went down:", r, err)
	} else if err, refused := r[0].(error); refused {
		t.Error("refused in the next entry:", err)
	}
	// From level 3 on there is no command that is let through without it.
	policy := SetPolicy{&tracker.Policy{Kind: tracker.RoundRobin}}
	r, err = l.apply(policy, RaiseLevel{To: policyLevel}, policy)
	if err != nil {
		t.Fatal(err)
	}
	if err, _ := r[0].(error); !errors.Is(err, ErrLevel) || r[2] != nil {
		t.Error("a policy before and after its level:", r[0], r[2])
	}
	for _, line := range Check(l.s) {
		t.Error(line)
	}
}

// TestOpenLevel applies a log of a release that kept no level.
func TestOpenLevel(t *testing.T) {
	t.Parallel()
	l := newLevels(t, NewMachine().open)
	r, err := l.apply(CreateBucket{&tracker.CreateBucket{Name: "b", Owner: "root"}})
	if err != nil {
		t.Fatal(err)
	}
	p := &tracker.PutObject{Bucket: r[0].(*BucketResult).Bucket.ID, Key: "k", Meta: tracker.Meta{ETag: "e", Size: 1, Tags: []tracker.Field{{Name: "n"}}}, Inline: []byte("x")}
	if r, err = l.apply(Put{p}); err != nil {
		t.Fatal(err)
	}
	if err, refused := r[0].(error); refused || l.level() != plainLevel {
		t.Error(err, l.level())
	}
}

// TestNewerLevel: a voter stops before it judges by rules it does not know.
func TestNewerLevel(t *testing.T) {
	t.Parallel()
	l := newLevels(t, openLevel)
	if r, err := l.apply(RaiseLevel{To: Level + 1}); err == nil {
		t.Error("a newer level was taken:", r)
	}
	if l.level() != plainLevel {
		t.Errorf("level %d", l.level())
	}
	b := l.s.NewBatch(64)
	if err := errors.Join(b.Set(keyState(nil, stateLevel), le64([]byte{1}, Level+1)), b.Commit(false)); err != nil {
		t.Fatal(err)
	}
	if r, err := l.apply(RaiseTime{To: 1}); err == nil {
		t.Error("a state of a newer level was changed:", r)
	}
}
