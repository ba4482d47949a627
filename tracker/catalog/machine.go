package catalog

import (
	"fmt"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// resultLife is how long the result of a request is kept at least, in ms.
const resultLife = 10 * 60 * 1000

// MaxPatience bounds how far a command's NotAfter may lie over its stamp, in
// ms. It is well under resultLife, so that a request is refused as too late
// before its result is forgotten.
const MaxPatience = 5 * 60 * 1000

// Machine applies commands. It implements consensus.Machine and serves one
// goroutine. It keeps nothing between calls but memory to work in.
type Machine struct {
	b    batch
	open uint64 // commands up to this level need no level in the state
}

// NewMachine returns a machine.
func NewMachine() *Machine {
	return &Machine{batch{buckets: make(map[tracker.BucketID]*bucketState)}, openLevel}
}

// Apply judges cmds in order and writes their effects to txn. A result is an
// error for a refusal that changed nothing, else of the type its command
// tells. A returned error means that the state cannot be read, or that it or a
// command is of a newer release: nothing of txn may be committed then.
func (m *Machine) Apply(txn kv.Txn, index uint64, cmds [][]byte) ([]any, error) {
	b := &m.b
	b.begin(txn, index)
	results := make([]any, len(cmds))
	for i, p := range cmds {
		var c command
		if !c.decode(p) {
			if len(p) >= 2 && p[1] > commandVersion {
				return nil, fmt.Errorf("command version %d is of a newer release", p[1])
			}
			results[i] = tracker.ErrInvalid
			continue
		}
		if c.level > max(b.level, m.open) {
			results[i] = ErrLevel
			continue
		}
		results[i] = b.apply(&c)
		if b.err != nil {
			return nil, fmt.Errorf("apply operation %d at %d: %w", c.op, index, b.err)
		}
	}
	return results, b.end()
}

// apply gives a command to its operation.
func (b *batch) apply(c *command) any {
	b.ct = bound(c.at, b.now)
	switch c.op {
	case opPut:
		return b.put(c)
	case opDelete:
		return b.deleteOne(c)
	case opDeleteMany:
		return b.deleteMany(c)
	case opCreateBucket:
		return b.createBucket(c)
	case opDeleteBucket:
		return b.deleteBucket(c)
	case opSetVersioning:
		return b.setVersioning(c)
	}
	return b.applyMore(c)
}

// expired refuses a command that came too late, or that asks for more time
// than results are kept.
func (b *batch) expired(c *command) error {
	switch {
	case c.notAfter == 0:
		return nil
	case max(b.now, b.ct) > c.notAfter:
		return tracker.ErrExpired
	case c.notAfter > c.at+MaxPatience:
		return tracker.ErrInvalid
	}
	return nil
}
