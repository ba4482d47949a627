package catalog

import (
	"fmt"

	"holdfast/storage"
	"holdfast/tracker"
)

// RaiseFence raises the fence, at most to destructive time: no command that
// carries a ticket which expired by then takes effect any more. A lower one is
// no error. Result: int64, the fence.
//
//	ms u64
type RaiseFence struct{ To int64 }

func (RaiseFence) op() op                     { return opRaiseFence }
func (c RaiseFence) append(dst []byte) []byte { return le64(dst, uint64(c.To)) }

// RaiseTime raises destructive time. How far is for the proposer to judge; a
// lower time is no error. Result: int64, destructive time.
//
//	ms u64
type RaiseTime struct{ To int64 }

func (RaiseTime) op() op                     { return opRaiseTime }
func (c RaiseTime) append(dst []byte) []byte { return le64(dst, uint64(c.To)) }

// latest bounds times so that a sequence can hold them.
const latest = 1<<43 - 1

func (b *batch) raise(c *command) any {
	to := int64(c.body.u64())
	if !c.body.done() || to < 0 || to > latest {
		return tracker.ErrInvalid
	}
	if c.op == opRaiseTime {
		if to > b.now {
			b.now = to
			b.setStateNumber(stateNow, uint64(to))
		}
		return b.now
	}
	if to = min(to, b.now); to > b.fence {
		b.fence = to
		b.setStateNumber(stateFence, uint64(to))
	}
	return b.fence
}

// RaiseLevel raises the feature level, once every member knows it: a voter
// that does not know the level stops. A lower one is no error. Result: uint64,
// the level.
//
//	level u64
type RaiseLevel struct{ To uint64 }

func (RaiseLevel) op() op                     { return opRaiseLevel }
func (c RaiseLevel) append(dst []byte) []byte { return le64(dst, c.To) }

func (b *batch) raiseLevel(c *command) any {
	to := c.body.u64()
	if !c.body.done() {
		return tracker.ErrInvalid
	}
	if to > Level {
		b.fail(newerLevel(to))
		return nil
	}
	if to > b.level {
		b.level = to
		b.setStateNumber(stateLevel, to)
	}
	return b.level
}

func newerLevel(level uint64) error {
	return fmt.Errorf("feature level %d is of a newer release, this one knows %d", level, Level)
}

// SetIdentity names the cluster, once and for all, and the catalog's
// incarnation. tracker.ErrConflict if the cluster has another name. Result: nil.
//
//	cluster block, incarnation block
type SetIdentity struct{ Cluster, Incarnation string }

func (SetIdentity) op() op { return opSetIdentity }

func (c SetIdentity) append(dst []byte) []byte { return block(block(dst, c.Cluster), c.Incarnation) }

func (b *batch) setIdentity(c *command) any {
	cluster, incarnation := c.body.block(), c.body.block()
	if !c.body.done() || len(cluster) == 0 || len(incarnation) == 0 {
		return tracker.ErrInvalid
	}
	b.key = keyState(b.key, stateCluster)
	if v, ok := b.get(b.key, &b.val); ok && string(v) != string(cluster) {
		return tracker.ErrConflict
	}
	b.set(b.key, cluster)
	b.key = keyState(b.key, stateIncarnation)
	b.set(b.key, incarnation)
	return nil
}

// AddNode gives a new node an id, which no node ever had. Result: *tracker.Node.
//
//	the value of row 02 n
type AddNode struct{ *tracker.Node }

func (AddNode) op() op                     { return opAddNode }
func (c AddNode) append(dst []byte) []byte { return appendNodeRow(dst, c.Node) }

// registryKey stands for a key where results of the cluster's own commands
// are remembered, under bucket 0.
var registryKey = []byte{0xFF}

func (b *batch) addNode(c *command) any {
	n, err := decodeNodeRow(keyNode(nil, 0), c.body.p)
	if err != nil {
		return tracker.ErrInvalid
	}
	var known resultRow
	if b.recall(0, registryKey, c.req, &known) {
		return b.node(storage.NodeID(known.seq))
	}
	if err := b.expired(c); err != nil {
		return err
	}
	id := max(b.stateNumber(stateNextNode), 1)
	b.setStateNumber(stateNextNode, id+1)
	n.ID = storage.NodeID(id)
	b.setNode(&n)
	b.rememberID(0, registryKey, c, id)
	return &n
}

func (b *batch) setNode(n *tracker.Node) {
	b.key = keyNode(b.key, n.ID)
	b.row = appendNodeRow(b.row[:0], n)
	b.set(b.key, b.row)
}

// node reads a node's row.
func (b *batch) node(id storage.NodeID) any {
	b.key = keyNode(b.key, id)
	v, ok := b.get(b.key, &b.val)
	if !ok {
		return tracker.ErrNoSuchNode
	}
	n, err := decodeNodeRow(b.key, v)
	b.fail(err)
	return &n
}

// SetNode replaces the row of a node that is at the epoch Was.
// tracker.ErrNoSuchNode, tracker.ErrConflict at another epoch. Result:
// *tracker.Node.
//
//	id u32, was u32, the value of row 02 n
type SetNode struct {
	Node *tracker.Node
	Was  uint32
}

func (SetNode) op() op { return opSetNode }

func (c SetNode) append(dst []byte) []byte {
	return appendNodeRow(le32(le32(dst, uint32(c.Node.ID)), c.Was), c.Node)
}

func (b *batch) changeNode(c *command) any {
	id, was := storage.NodeID(c.body.u32()), c.body.u32()
	n, err := decodeNodeRow(keyNode(nil, id), c.body.p)
	if c.body.bad || err != nil || n.Epoch < was {
		return tracker.ErrInvalid
	}
	var known resultRow
	if b.recall(0, registryKey, c.req, &known) {
		return b.node(id)
	}
	if err := b.expired(c); err != nil {
		return err
	}
	old, ok := b.node(id).(*tracker.Node)
	if !ok {
		return tracker.ErrNoSuchNode
	}
	if old.Epoch != was {
		return tracker.ErrConflict
	}
	b.setNode(&n)
	b.rememberID(0, registryKey, c, uint64(id))
	return &n
}

// AddGroup makes a storage group with a new id, or finds the one of that
// name. Result: *tracker.Group.
//
//	the value of row 02 g
type AddGroup struct{ *tracker.Group }

func (AddGroup) op() op                     { return opAddGroup }
func (c AddGroup) append(dst []byte) []byte { return appendGroupRow(dst, c.Group) }

func (b *batch) addGroup(c *command) any {
	g, err := decodeGroupRow(keyGroup(nil, 0), c.body.p)
	if err != nil || g.Name == "" || g.Scheme.Width() < 1 || g.Scheme.Width() > 32 || g.Scheme.Data < 1 {
		return tracker.ErrInvalid
	}
	var found *tracker.Group
	b.walk([]byte{rowMap, 'g'}, []byte{rowMap, 'g' + 1}, func(k, v []byte) bool {
		old, err := decodeGroupRow(k, v)
		b.fail(err)
		if old.Name == g.Name {
			found = &old
		}
		return found == nil && err == nil
	})
	if found != nil {
		return found
	}
	if err := b.expired(c); err != nil {
		return err
	}
	id := max(b.stateNumber(stateNextGroup), 1)
	if id > 0xFFFF {
		return tracker.ErrInvalid
	}
	b.setStateNumber(stateNextGroup, id+1)
	g.ID = uint16(id)
	b.key = keyGroup(b.key, g.ID)
	b.row = appendGroupRow(b.row[:0], &g)
	b.set(b.key, b.row)
	return &g
}

// SetCursor notes how far a consumer of the change log has come. A zero Index
// forgets the consumer. Result: nil.
//
//	consumer block, index u64, sub u32
type SetCursor struct {
	Consumer string
	Index    uint64
	Sub      uint32
}

func (SetCursor) op() op { return opSetCursor }

func (c SetCursor) append(dst []byte) []byte {
	return le32(le64(block(dst, c.Consumer), c.Index), c.Sub)
}

func (b *batch) setCursor(c *command) any {
	consumer, index, sub := c.body.block(), c.body.u64(), c.body.u32()
	if !c.body.done() || len(consumer) == 0 || len(consumer) > 255 {
		return tracker.ErrInvalid
	}
	b.key = append(append(b.key[:0], rowCursor), consumer...)
	if index == 0 {
		b.delete(b.key)
		return nil
	}
	b.row = le32(le64(append(b.row[:0], 1), index), sub)
	b.set(b.key, b.row)
	return nil
}

// SetJob saves the state of a long job; an empty state forgets it. Result: nil.
//
//	id block, state to the end
type SetJob struct {
	ID    string
	State []byte
}

func (SetJob) op() op { return opSetJob }

func (c SetJob) append(dst []byte) []byte { return append(block(dst, c.ID), c.State...) }

func (b *batch) setJob(c *command) any {
	id := c.body.block()
	if c.body.bad || len(id) == 0 || len(id) > 255 {
		return tracker.ErrInvalid
	}
	b.key = append(append(b.key[:0], rowJob), id...)
	if len(c.body.p) == 0 {
		b.delete(b.key)
		return nil
	}
	b.row = append(append(b.row[:0], 1), c.body.p...)
	b.set(b.key, b.row)
	return nil
}
