package tracker

import "fmt"

// DefaultClass is the storage class of what names none.
const DefaultClass = "STANDARD"

// PolicyKind is how a group is chosen among those of a storage class. The
// values are in the catalog and never change.
type PolicyKind uint8

// The kinds of policies.
const (
	Balance    PolicyKind = 1 + iota // by free space and load
	RoundRobin                       // one after another
	Pinned                           // one group and no other
)

var policyNames = [...]string{Balance: "balance", RoundRobin: "round-robin", Pinned: "pinned"}

// ParsePolicy parses "balance", "round-robin" and "pinned".
func ParsePolicy(s string) (PolicyKind, error) {
	for k, name := range policyNames {
		if name != "" && name == s {
			return PolicyKind(k), nil
		}
	}
	return 0, fmt.Errorf("placement policy %q is not balance, round-robin or pinned: %w", s, ErrInvalid)
}

// String returns the kind's name, "" of none.
func (k PolicyKind) String() string {
	if int(k) < len(policyNames) {
		return policyNames[k]
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler: JSON has the kind's name.
func (k PolicyKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. A name of a newer release
// is the zero kind.
func (k *PolicyKind) UnmarshalText(b []byte) error {
	*k, _ = ParsePolicy(string(b))
	return nil
}

// Policy says how a group is chosen for new blobs of a bucket, of a storage
// class, of a class within a bucket, or, with neither, of the whole cluster.
// The narrowest that is set counts, a bucket's before a class's; where none is
// set it is Balance.
type Policy struct {
	BucketID BucketID // 0 for every bucket
	Bucket   string   // its name, for people
	Class    string   // "" for every class
	Kind     PolicyKind
	GroupID  uint16 // under Pinned
	Group    string // its name, for people
}

// Scope names what the policy is for, for people.
func (p *Policy) Scope() string {
	switch {
	case p.Bucket != "" && p.Class != "":
		return "bucket " + p.Bucket + ", class " + p.Class
	case p.Bucket != "":
		return "bucket " + p.Bucket
	case p.Class != "":
		return "class " + p.Class
	}
	return "the cluster"
}

// SetPolicy asks for a policy, by names. Kind 0 takes away what is set.
type SetPolicy struct {
	Bucket, Class string // "" for every one
	Kind          PolicyKind
	Group         string // under Pinned
}

// CheckPolicy judges a policy by the groups there are: what it names must be
// there, and a pinned group must carry the class of the objects that it is for.
func CheckPolicy(p *Policy, groups []Group) error {
	var pin *Group
	carried := p.Class == ""
	for i := range groups {
		g := &groups[i]
		carried = carried || g.class() == p.Class
		if p.Kind == Pinned && g.ID == p.GroupID {
			pin = g
		}
	}
	switch {
	case !carried:
		return fmt.Errorf("class %s: %w", p.Class, ErrNoSuchClass)
	case p.Kind != Pinned:
		return nil
	case pin == nil:
		return fmt.Errorf("group %d: %w", p.GroupID, ErrNoSuchGroup)
	case p.Class != "" && pin.class() != p.Class:
		return fmt.Errorf("group %s carries class %s, not %s: %w", pin.Name, pin.class(), p.Class, ErrWrongClass)
	case p.Class == "" && p.BucketID != 0 && pin.class() != DefaultClass:
		return fmt.Errorf("group %s carries class %s, and objects that name none are %s; pin that class of the bucket alone, or another group: %w",
			pin.Name, pin.class(), DefaultClass, ErrWrongClass)
	case p.Class != "" || p.BucketID != 0:
		return nil
	}
	for i := range groups {
		if g := &groups[i]; g.class() != pin.class() {
			return fmt.Errorf("group %s carries class %s, and there are groups of %s; pin a class: %w", pin.Name, pin.class(), g.class(), ErrWrongClass)
		}
	}
	return nil
}

func (g *Group) class() string {
	if g.Class == "" {
		return DefaultClass
	}
	return g.Class
}
