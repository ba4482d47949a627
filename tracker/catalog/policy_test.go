package catalog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/erasure"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

// policies are what is set, by name.
func (w *world) policies() (out []string) {
	w.t.Helper()
	list, err := catalog.NamedPolicies(w.log.Store)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range list {
		text := fmt.Sprintf("%s: %s", p.Scope(), p.Kind)
		if p.Group != "" {
			text += " to " + p.Group
		}
		out = append(out, text)
	}
	return out
}

func (w *world) group(name, class string) uint16 {
	w.t.Helper()
	return w.must(catalog.AddGroup{Group: &tracker.Group{Name: name, Class: class, Scheme: erasure.Replicated(2)}}).(*tracker.Group).ID
}

func policy(b tracker.BucketID, class string, k tracker.PolicyKind, group uint16) catalog.SetPolicy {
	return catalog.SetPolicy{Policy: &tracker.Policy{BucketID: b, Class: class, Kind: k, GroupID: group}}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(catalog.RaiseLevel{To: catalog.Level})
	fast := w.group("fast", "STANDARD")
	w.must(policy(0, "", tracker.Pinned, fast)) // as long as there is but one class
	cold := w.group("cold", "GLACIER_IR")
	b, other := w.bucket("b"), w.bucket("other")
	for name, x := range map[string]struct {
		c    catalog.SetPolicy
		want error
	}{
		"no kind":                      {policy(0, "", 9, 0), tracker.ErrInvalid},
		"group without a pin":          {policy(0, "", tracker.Balance, fast), tracker.ErrInvalid},
		"pin without a group":          {policy(0, "", tracker.Pinned, 0), tracker.ErrInvalid},
		"group that is not there":      {policy(0, "STANDARD", tracker.Pinned, 9), tracker.ErrNoSuchGroup},
		"bucket that is not there":     {policy(9, "", tracker.Balance, 0), tracker.ErrNoSuchBucket},
		"class that nobody carries":    {policy(0, "STANDARD_IA", tracker.RoundRobin, 0), tracker.ErrNoSuchClass},
		"class of another group":       {policy(0, "STANDARD", tracker.Pinned, cold), tracker.ErrWrongClass},
		"bucket's class":               {policy(b, "GLACIER_IR", tracker.Pinned, fast), tracker.ErrWrongClass},
		"bucket's objects are usual":   {policy(b, "", tracker.Pinned, cold), tracker.ErrWrongClass},
		"cluster of more than a class": {policy(0, "", tracker.Pinned, fast), tracker.ErrWrongClass},
	} {
		before := w.dump()
		if err, _ := w.do(x.c).(error); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
		if d := cmp.Diff(before, w.dump()); d != "" {
			t.Errorf("%s is refused and changes rows: %s", name, d)
		}
	}
	w.must(policy(other, "", tracker.RoundRobin, 0))
	w.must(policy(b, "", tracker.Pinned, fast))
	w.must(policy(b, "GLACIER_IR", tracker.Pinned, cold))
	w.must(policy(0, "GLACIER_IR", tracker.Balance, 0))
	w.must(policy(0, "", tracker.RoundRobin, 0)) // in the place of the pin
	want := []string{"the cluster: round-robin", "class GLACIER_IR: balance",
		"bucket b: pinned to fast", "bucket b, class GLACIER_IR: pinned to cold", "bucket other: round-robin"}
	if d := cmp.Diff(want, w.policies()); d != "" {
		t.Error(d)
	}
	w.fine()

	// What is set for a bucket goes with it, and what is not set may be cleared.
	w.must(policy(0, "GLACIER_IR", 0, 0))
	w.must(policy(0, "STANDARD", 0, 0))
	w.must(catalog.DeleteBucket{Name: "b"})
	w.bucket("b")
	if d := cmp.Diff([]string{want[0], want[4]}, w.policies()); d != "" {
		t.Error(d)
	}
	w.fine()
}

// TestPolicyOnce repeats a request whose answer was lost after another one
// has changed the same policy: it takes effect once.
func TestPolicyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(catalog.RaiseLevel{To: catalog.Level})
	h := w.header()
	for range 2 {
		if r := w.with(h, policy(0, "", tracker.RoundRobin, 0)); r != nil {
			t.Fatal(r)
		}
		w.must(policy(0, "", tracker.Balance, 0))
	}
	if d := cmp.Diff([]string{"the cluster: balance"}, w.policies()); d != "" {
		t.Error(d)
	}
	w.fine()
}
