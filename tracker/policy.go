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
