package catalog

import (
	"fmt"

	"holdfast/tracker"
)

// SetPolicy sets the placement policy of a scope; Kind 0 takes it away, and
// does nothing where none is set. Under Pinned the group must carry the class,
// or tracker.DefaultClass where only a bucket is named, or every class there
// is where neither is. tracker.ErrNoSuchBucket, ErrNoSuchGroup, ErrNoSuchClass,
// ErrWrongClass, ErrTooManyPolicies. Result: nil.
//
//	bucket u64, kind u8, group u16, class to the end
type SetPolicy struct{ *tracker.Policy }

func (SetPolicy) op() op { return opSetPolicy }

func (c SetPolicy) append(dst []byte) []byte {
	dst = append(le64(dst, uint64(c.BucketID)), byte(c.Kind))
	return append(le16(dst, c.GroupID), c.Class...)
}

// maxPolicies bounds the policies, all of which whoever leads keeps in memory.
const maxPolicies = 10_000

func (b *batch) setPolicy(c *command) any {
	p := tracker.Policy{BucketID: tracker.BucketID(c.body.u64()), Kind: tracker.PolicyKind(c.body.u8()), GroupID: c.body.u16()}
	p.Class = string(c.body.p)
	if c.body.bad || len(p.Class) > 255 || !goodPolicy(&p) {
		return tracker.ErrInvalid
	}
	var known resultRow
	if b.recall(0, registryKey, c.req, &known) {
		return nil
	}
	if err := b.expired(c); err != nil {
		return err
	}
	if p.Kind != 0 {
		if err := b.allows(&p); err != nil {
			return err
		}
	}
	b.key = keyPolicy(b.key, p.BucketID, p.Class)
	if p.Kind == 0 {
		b.delete(b.key)
	} else {
		b.row = appendPolicyRow(b.row[:0], &p)
		b.set(b.key, b.row)
	}
	b.rememberID(0, registryKey, c, uint64(p.BucketID))
	return nil
}

// goodPolicy tells whether a policy says something that can be meant.
func goodPolicy(p *tracker.Policy) bool {
	return p.Kind <= tracker.Pinned && (p.GroupID != 0) == (p.Kind == tracker.Pinned)
}

// allows judges a policy by the bucket, the groups and the others there are.
func (b *batch) allows(p *tracker.Policy) error {
	if p.BucketID != 0 && b.bucket(p.BucketID) == nil {
		return tracker.ErrNoSuchBucket
	}
	var groups []tracker.Group
	b.walk([]byte{rowMap, 'g'}, []byte{rowMap, 'g' + 1}, func(k, v []byte) bool {
		g, err := decodeGroupRow(k, v)
		b.fail(err)
		groups = append(groups, g)
		return err == nil
	})
	if err := fitsGroups(p, groups); err != nil {
		return err
	}
	b.key = keyPolicy(b.key, p.BucketID, p.Class)
	if _, ok := b.get(b.key, &b.val); ok {
		return nil
	}
	count := 0
	b.walk([]byte{rowMap, 'p'}, []byte{rowMap, 'p' + 1}, func([]byte, []byte) bool {
		count++
		return count < maxPolicies
	})
	if count >= maxPolicies {
		return tracker.ErrTooManyPolicies
	}
	return nil
}

// dropPolicies takes the policies of a bucket away, which goes.
func (b *batch) dropPolicies(id tracker.BucketID) {
	from := keyPolicy(nil, id, "")
	var keys [][]byte
	b.walk(from, keyAfter(nil, from), func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return true
	})
	for _, k := range keys {
		b.delete(k)
	}
}

// fitsGroups judges a policy by the groups there are: what it names must be
// there, and a pinned group must carry the class of the objects that it is for.
func fitsGroups(p *tracker.Policy, groups []tracker.Group) error {
	var pin *tracker.Group
	carried := p.Class == ""
	for i := range groups {
		g := &groups[i]
		carried = carried || classOf(g) == p.Class
		if p.Kind == tracker.Pinned && g.ID == p.GroupID {
			pin = g
		}
	}
	switch {
	case !carried:
		return fmt.Errorf("class %s: %w", p.Class, tracker.ErrNoSuchClass)
	case p.Kind != tracker.Pinned:
		return nil
	case pin == nil:
		return fmt.Errorf("group %d: %w", p.GroupID, tracker.ErrNoSuchGroup)
	case p.Class != "" && classOf(pin) != p.Class:
		return fmt.Errorf("group %s carries class %s, not %s: %w", pin.Name, classOf(pin), p.Class, tracker.ErrWrongClass)
	case p.Class == "" && p.BucketID != 0 && classOf(pin) != tracker.DefaultClass:
		return fmt.Errorf("group %s carries class %s, and objects that name none are %s; pin that class of the bucket alone, or another group: %w",
			pin.Name, classOf(pin), tracker.DefaultClass, tracker.ErrWrongClass)
	case p.Class != "" || p.BucketID != 0:
		return nil
	}
	for i := range groups {
		if g := &groups[i]; classOf(g) != classOf(pin) {
			return fmt.Errorf("group %s carries class %s, and there are groups of %s; pin a class: %w", pin.Name, classOf(pin), classOf(g), tracker.ErrWrongClass)
		}
	}
	return nil
}

func classOf(g *tracker.Group) string {
	if g.Class == "" {
		return tracker.DefaultClass
	}
	return g.Class
}
