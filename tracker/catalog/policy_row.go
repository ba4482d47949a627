package catalog

import (
	"encoding/binary"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

func keyPolicy(dst []byte, b tracker.BucketID, class string) []byte {
	return append(be64(append(dst[:0], rowMap, 'p'), uint64(b)), class...)
}

// policyRow is the value of row 02 p, whose key has the bucket (0 for every
// one) and the class (none for every one): version u8, 1; kind u8 (1 balance,
// 2 round-robin, 3 pinned); group u16, 0 unless it is pinned.
func appendPolicyRow(dst []byte, p *tracker.Policy) []byte {
	return le16(append(dst, 1, byte(p.Kind)), p.GroupID)
}

func decodePolicyRow(key, v []byte) (p tracker.Policy, err error) {
	d := dec{p: v}
	d.version(1)
	p.Kind, p.GroupID = tracker.PolicyKind(d.u8()), d.u16()
	if len(key) < 10 || !d.done() || p.Kind == 0 || !goodPolicy(&p) {
		return p, badRow("placement policy")
	}
	p.BucketID, p.Class = tracker.BucketID(binary.BigEndian.Uint64(key[2:])), string(key[10:])
	return p, nil
}

// Policies reads all placement policies: the cluster's, those of classes, then
// those of buckets. They carry no names of buckets and groups.
func Policies(r kv.Reader) (policies []tracker.Policy, err error) {
	err = eachRow(r, []byte{rowMap, 'p'}, func(k, v []byte) error {
		p, err := decodePolicyRow(k, v)
		policies = append(policies, p)
		return err
	})
	return policies, err
}

// NamedPolicies is Policies with the names of buckets and groups.
func NamedPolicies(r kv.Reader) ([]tracker.Policy, error) {
	groups, err := Groups(r)
	if err != nil {
		return nil, err
	}
	policies, err := Policies(r)
	if err != nil {
		return nil, err
	}
	for i := range policies {
		p := &policies[i]
		for _, g := range groups {
			if g.ID == p.GroupID {
				p.Group = g.Name
			}
		}
		if p.BucketID != 0 {
			core, err := readCore(r, p.BucketID)
			if err != nil {
				return nil, err
			}
			p.Bucket = core.name
		}
	}
	return policies, nil
}
