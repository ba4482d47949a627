package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// buckets is a catalog that knows buckets by their names alone.
type buckets struct {
	tracker.Catalog
	ids map[string]tracker.BucketID
}

func (b buckets) Bucket(_ context.Context, name string) (*tracker.Bucket, error) {
	if id := b.ids[name]; id != 0 {
		return &tracker.Bucket{ID: id, Name: name}, nil
	}
	return nil, tracker.ErrNoSuchBucket
}

// threeGroups is a rig of two groups of class STANDARD, 1 and 2, and one of
// class STANDARD_IA, 3, each of two nodes and rep-2.
func threeGroups(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, 2, "rep-2", nil)
	r.Service.Catalog = buckets{ids: map[string]tracker.BucketID{"a": 11, "b": 12}}
	for _, g := range []tracker.Group{{Name: "second"}, {Name: "rare", Class: "STANDARD_IA"}} {
		g.Scheme = erasure.Replicated(2)
		g, err := r.RegisterGroup(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := r.RegisterNode(t.Context(), tracker.Node{Group: g.ID}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

func (r *rig) policy(t *testing.T, bucket, class string, k tracker.PolicyKind, group string) {
	t.Helper()
	if _, err := r.SetPolicy(t.Context(), &tracker.SetPolicy{Bucket: bucket, Class: class, Kind: k, Group: group}); err != nil {
		t.Fatal(err)
	}
}

// groups are where so many blobs of a bucket and a class go.
func (r *rig) groups(t *testing.T, bucket tracker.BucketID, class string, n int) (out []uint16) {
	t.Helper()
	for range n {
		g, err := r.Place(t.Context(), &tracker.PlaceRequest{Bucket: bucket, Class: class, Size: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g.Blob.Group())
	}
	return out
}

// TestNarrowestPolicy sets policies from the widest scope to the narrowest and
// takes them away again.
func TestNarrowestPolicy(t *testing.T) {
	t.Parallel()
	r := threeGroups(t)
	want := func(bucket tracker.BucketID, class string, want ...uint16) {
		t.Helper()
		if got := r.groups(t, bucket, class, len(want)); !slices.Equal(got, want) {
			t.Errorf("bucket %d, class %q: groups %v, want %v", bucket, class, got, want)
		}
	}
	r.policy(t, "", "", tracker.RoundRobin, "")
	want(11, "", 1, 2, 1, 2)
	want(12, "STANDARD_IA", 3, 3) // has turns of its own
	want(12, "STANDARD", 1, 2)
	r.policy(t, "", "STANDARD", tracker.Pinned, "second")
	want(11, "", 2, 2, 2)
	want(12, "STANDARD_IA", 3)
	r.policy(t, "a", "", tracker.Pinned, "default")
	want(11, "", 1, 1, 1)
	want(12, "", 2, 2, 2)
	if _, err := r.Place(t.Context(), &tracker.PlaceRequest{Bucket: 11, Class: "STANDARD_IA"}); !errors.Is(err, tracker.ErrWrongClass) {
		t.Error("another class in a pinned bucket:", err)
	}
	r.policy(t, "a", "STANDARD_IA", tracker.Balance, "")
	want(11, "STANDARD_IA", 3)
	r.policy(t, "b", "", tracker.RoundRobin, "")
	for range 3 { // buckets take turns apart from each other
		want(12, "", 1)
		want(11, "", 1)
		want(12, "", 2)
		if err := r.SetNodeState(t.Context(), 5, tracker.NodeSuspect); err != nil { // another map, the same turns
			t.Fatal(err)
		}
	}
	r.policy(t, "a", "", 0, "")
	want(11, "", 2, 2)
	r.policy(t, "", "STANDARD", 0, "")
	want(11, "STANDARD", 1, 2)
	list, err := r.Policies(t.Context())
	if err != nil || len(list) != 3 {
		t.Error(list, err)
	}
	// Whoever leads next reads them.
	r.lead.term.Store(2)
	r.policy(t, "", "STANDARD", tracker.Pinned, "default")
	r.lead.term.Store(3)
	want(11, "", 1, 1, 1)
}

// source is a catalog that has one object, in a blob of a group.
type source struct {
	tracker.Catalog
	ref    tracker.Ref
	group  uint16
	copies int
}

func (s *source) Extents(_ context.Context, ref tracker.Ref, _ int64, _ int) ([]tracker.Extent, error) {
	if ref != s.ref {
		return nil, tracker.ErrNoSuchKey
	}
	return []tracker.Extent{{Length: 1, Blob: tracker.Blob{ID: storage.MakeBlobID(0, s.group, 1, 1)}}}, nil
}

func (s *source) PutObject(context.Context, *tracker.PutObject) (*tracker.PutResult, error) {
	s.copies++
	return &tracker.PutResult{}, nil
}

// TestCopyIntoPinnedBucket shares data by reference only where it lies in the
// group that the destination is pinned to.
func TestCopyIntoPinnedBucket(t *testing.T) {
	t.Parallel()
	r := threeGroups(t)
	r.policy(t, "a", "", tracker.Pinned, "second")
	r.policy(t, "a", "STANDARD_IA", tracker.Balance, "")
	src := &source{ref: tracker.Ref{Bucket: 12, Key: "k", Seq: 5}, group: 1}
	r.Service.Catalog = src
	for _, x := range []struct {
		bucket tracker.BucketID
		class  string
		group  uint16
		want   error
	}{{12, "", 1, nil}, {11, "", 1, tracker.ErrPinnedElsewhere}, {11, "STANDARD", 1, tracker.ErrPinnedElsewhere}, {11, "", 2, nil}, {11, "STANDARD_IA", 3, nil}} {
		src.group, src.copies = x.group, 0
		p := &tracker.PutObject{Bucket: x.bucket, Key: "copy", Source: &src.ref}
		p.Class = x.class
		if _, err := r.PutObject(t.Context(), p); !errors.Is(err, x.want) || (src.copies == 0) != (x.want != nil) {
			t.Errorf("%+v: %v, %d copies", x, err, src.copies)
		}
	}
	if _, err := r.PutObject(t.Context(), &tracker.PutObject{Bucket: 11, Key: "plain"}); err != nil {
		t.Error(err)
	}
	if _, err := r.PutObject(t.Context(), &tracker.PutObject{Bucket: 11, Source: &tracker.Ref{}}); !errors.Is(err, tracker.ErrNoSuchKey) {
		t.Error("a source that is gone:", err)
	}
}

func TestPinnedGoesNowhereElse(t *testing.T) {
	t.Parallel()
	r := threeGroups(t)
	r.policy(t, "a", "", tracker.Pinned, "second")
	r.alive(t)
	for id := storage.NodeID(3); id <= 4; id++ {
		r.tell(t, storage.Status{Node: id, Total: 1 << 40, ReadOnly: true, Err: "full"})
	}
	raised := r.man.Now()
	if err := r.beat(t.Context(), &raised); err != nil {
		t.Fatal(err)
	}
	if g, err := r.Place(t.Context(), &tracker.PlaceRequest{Bucket: 11}); !errors.Is(err, tracker.ErrNoPlacement) {
		t.Error("the group of the pin is full:", g, err)
	}
	if got := r.groups(t, 12, "", 3); slices.Contains(got, 2) {
		t.Error("another bucket goes to a full group:", got)
	}
	for name, x := range map[string]struct {
		r    tracker.SetPolicy
		want error
	}{
		"no bucket":       {tracker.SetPolicy{Bucket: "c", Kind: tracker.Balance}, tracker.ErrNoSuchBucket},
		"no group":        {tracker.SetPolicy{Kind: tracker.Pinned, Group: "third"}, tracker.ErrNoSuchGroup},
		"no group named":  {tracker.SetPolicy{Kind: tracker.Pinned}, tracker.ErrInvalid},
		"a group for all": {tracker.SetPolicy{Kind: tracker.Balance, Group: "second"}, tracker.ErrInvalid},
		"no kind":         {tracker.SetPolicy{Kind: 9}, tracker.ErrInvalid},
	} {
		if _, err := r.SetPolicy(t.Context(), &x.r); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.lead.term.Store(0)
	if _, err := r.SetPolicy(t.Context(), &tracker.SetPolicy{Kind: tracker.Balance}); !errors.Is(err, tracker.ErrNotLeader) {
		t.Error(err)
	}
}

func TestRole(t *testing.T) {
	t.Parallel()
	const ro, rw = tracker.RoleReadOnly, tracker.RoleReadWrite
	r := newRig(t, 4, "rep-3", nil)
	old, err := r.Place(t.Context(), &tracker.PlaceRequest{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.SetNodeRole(t.Context(), 2, ro, false)
	if err != nil || n.Role != ro || !n.ReadOnly || n.Epoch != 2 {
		t.Fatal(n, err)
	}
	// It survives what else happens to the node, and a change of leaders.
	r.alive(t)
	for _, s := range []tracker.NodeState{tracker.NodeDown, tracker.NodeActive} {
		if err := r.SetNodeState(t.Context(), 2, s); err != nil {
			t.Fatal(err)
		}
	}
	r.lead.term.Store(2)
	m, err := r.Map(t.Context())
	if err != nil || m.Node(2).Role != ro || !m.Node(2).ReadOnly || m.Node(1).ReadOnly {
		t.Fatal(m, err)
	}
	for range 50 {
		g, err := r.Place(t.Context(), &tracker.PlaceRequest{Size: 1})
		if err != nil || len(g.Ticket.Nodes) != 3 || slices.ContainsFunc(g.Ticket.Nodes, func(n storage.Grantee) bool { return n.Node == 2 }) {
			t.Fatal(g, err)
		}
	}
	if _, err := r.Renew(t.Context(), &old.Ticket); slices.ContainsFunc(old.Ticket.Nodes, func(n storage.Grantee) bool { return n.Node == 2 }) != errors.Is(err, storage.ErrStaleEpoch) {
		t.Errorf("renewal of a ticket of before (%v): %v", old.Ticket.Nodes, err)
	}
	// Two of three would be left.
	if _, err := r.SetNodeRole(t.Context(), 3, ro, false); !errors.Is(err, tracker.ErrTooFewNodes) {
		t.Error(err)
	}
	if err := r.SetNodeState(t.Context(), 3, tracker.NodeDraining); !errors.Is(err, tracker.ErrNoPlacement) {
		t.Error("a drain that leaves too few:", err)
	}
	if _, err := r.SetNodeRole(t.Context(), 3, ro, true); err != nil {
		t.Error(err)
	}
	if g, err := r.Place(t.Context(), &tracker.PlaceRequest{}); err != nil || len(g.Ticket.Nodes) != 2 {
		t.Error("not with the quorum:", g, err)
	}
	if _, err := r.SetNodeRole(t.Context(), 4, ro, true); err != nil {
		t.Error(err)
	}
	if _, err := r.Place(t.Context(), &tracker.PlaceRequest{}); !errors.Is(err, tracker.ErrNoPlacement) {
		t.Error("one node of three takes writes:", err)
	}
	for id := storage.NodeID(2); id <= 4; id++ {
		if n, err := r.SetNodeRole(t.Context(), id, rw, false); err != nil || n.ReadOnly {
			t.Error(n, err)
		}
	}
	writes := r.rows.mu.writes
	if n, err := r.SetNodeRole(t.Context(), 2, rw, false); err != nil || n.Role != rw || r.rows.mu.writes != writes {
		t.Error("what it is already:", n, err)
	}
	if _, err := r.SetNodeRole(t.Context(), 9, ro, false); !errors.Is(err, tracker.ErrNoSuchNode) {
		t.Error(err)
	}
	if err := r.SetNodeState(t.Context(), 1, tracker.NodeGone); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetNodeRole(t.Context(), 1, rw, false); !errors.Is(err, tracker.ErrConflict) {
		t.Error(err)
	}
}

// TestGroupNames: a group is there for ever, so one whose name or class nobody
// can say, or that would swell every gateway's map, is not made.
func TestGroupNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "rep-2", nil)
	long := strings.Repeat("C", 64)
	for _, g := range []tracker.Group{{Name: ""}, {Name: long}, {Name: "a b"}, {Name: "a\n"}, {Name: "b", Class: long}, {Name: "b", Class: "not a class"}, {Name: "b", Class: "é"}} {
		g.Scheme = erasure.Replicated(2)
		if out, err := r.RegisterGroup(t.Context(), g); !errors.Is(err, tracker.ErrInvalid) {
			t.Errorf("%+v: %+v, %v", g, out, err)
		}
	}
	if g, err := r.RegisterGroup(t.Context(), tracker.Group{Name: long[:63], Class: "INTELLIGENT-TIERING_2", Scheme: erasure.Replicated(2)}); err != nil || g.Class != "INTELLIGENT-TIERING_2" {
		t.Errorf("%+v, %v", g, err)
	}
}
