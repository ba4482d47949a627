package service

import (
	"context"
	"errors"
	"testing"

	"holdfast/storage"
	"holdfast/tracker"
)

// stranger is a heartbeat of a node of another catalog.
func stranger(id storage.NodeID, shards int64) storage.Status {
	return storage.Status{Node: id, Incarnation: "the old one", Shards: shards, Used: shards * 1000, Total: 1 << 40, Free: 1 << 39}
}

// TestHold: a new catalog that meets nodes with data answers nobody, over a
// change of leaders too, until a person gives them up; then their ids are
// nobody else's.
func TestHold(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0, "rep-2", nil)
	var adopted []bool
	r.SetOperations(Operations{Fsck: func(_ context.Context, adopt bool) (*tracker.Fsck, error) {
		adopted = append(adopted, adopt)
		return &tracker.Fsck{}, nil
	}})
	if why := r.tell(t, stranger(4, 0)); why == "" {
		t.Error("a stranger is served")
	}
	if err := r.Held(t.Context()); err != nil {
		t.Error("held for a node without data:", err)
	}
	if why := r.tell(t, stranger(7, 12)); why == "" {
		t.Error("a stranger is served")
	}
	check := func() {
		t.Helper()
		if _, err := r.RegisterNode(t.Context(), tracker.Node{Group: 1}); !errors.Is(err, tracker.ErrHeld) {
			t.Error("a held catalog took a node:", err)
		}
		if _, err := r.RegisterGroup(t.Context(), tracker.Group{Name: "new"}); !errors.Is(err, tracker.ErrHeld) {
			t.Error("a held catalog took a group:", err)
		}
		if err := r.Held(t.Context()); !errors.Is(err, tracker.ErrHeld) {
			t.Error("not held:", err)
		}
		if st, err := r.Status(t.Context()); err != nil || !st.Held {
			t.Error("the status does not say it:", err)
		}
	}
	check()
	r.lead.term.Store(2)
	check()
	st, err := r.Status(t.Context())
	if err != nil || len(st.Strangers) != 0 {
		t.Error("a new leader has heard of strangers:", st.Strangers, err)
	}
	r.tell(t, stranger(4, 0))
	r.tell(t, stranger(7, 12))
	f, err := r.Fsck(t.Context(), false)
	if err != nil || len(f.Strangers) != 2 || f.Strangers[1] != (tracker.Stranger{Node: 7, Incarnation: "the old one", Shards: 12, Bytes: 12_000}) {
		t.Errorf("fsck: %+v, %v", f, err)
	}
	check()
	if _, err := r.Fsck(t.Context(), true); err != nil || len(adopted) != 2 || !adopted[1] {
		t.Fatal(err, adopted)
	}
	if err := r.Held(t.Context()); err != nil {
		t.Error("held after a person has decided:", err)
	}
	n, err := r.RegisterNode(t.Context(), tracker.Node{Group: 1})
	if err != nil || n.ID != 8 {
		t.Errorf("the next node is %d, %v; want 8", n.ID, err)
	}
	if why := r.tell(t, stranger(7, 12)); why == "" {
		t.Error("a node that was given up is served")
	}
	if st, err := r.Status(t.Context()); err != nil || st.Held || len(st.Strangers) != 0 {
		t.Errorf("a node that was given up is a stranger again: %+v, %v", st, err)
	}
}

// TestFewStrangers: a process that was given the trackers of another cluster
// does not stop it.
func TestFewStrangers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "rep-2", nil)
	r.alive(t)
	for id := range storage.NodeID(2) {
		if why := r.tell(t, stranger(10+id, 5)); why == "" {
			t.Error("a stranger is served")
		}
	}
	st, err := r.Status(t.Context())
	if err != nil || st.Held || len(st.Strangers) != 2 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := r.Held(t.Context()); err != nil {
		t.Error(err)
	}
	// Its id is given to nobody else: two directories would have it.
	r.tell(t, stranger(4, 0))
	if _, err := r.RegisterNode(t.Context(), tracker.Node{Group: 1}); !errors.Is(err, tracker.ErrConflict) {
		t.Error("a new node was given a stranger's id:", err)
	}
	r.tell(t, stranger(12, 5))
	if err := r.Held(t.Context()); !errors.Is(err, tracker.ErrHeld) {
		t.Error("three nodes with data of three are strangers:", err)
	}
	// An id that no cluster reaches is no reason to pass over millions.
	r.tell(t, stranger(1<<30, 5))
	r.SetOperations(Operations{Fsck: func(context.Context, bool) (*tracker.Fsck, error) { return &tracker.Fsck{}, nil }})
	if _, err := r.Fsck(t.Context(), true); !errors.Is(err, tracker.ErrConflict) {
		t.Error(err)
	}
}
