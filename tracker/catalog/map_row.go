package catalog

import (
	"encoding/binary"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// nodeRow is the value of row 02 n:
//
//	version u8, 1; group u16; state u8; epoch u32; flags u8 (1: read-only);
//	zone, rack, host and address blocks
func appendNodeRow(dst []byte, n *tracker.Node) []byte {
	dst = le16(append(dst, 1), n.Group)
	dst = le32(append(dst, byte(n.State)), n.Epoch)
	flags := byte(0)
	if n.Role == tracker.RoleReadOnly {
		flags = 1
	}
	dst = append(dst, flags)
	return block(block(block(block(dst, n.Domain.Zone), n.Domain.Rack), n.Domain.Host), n.Addr)
}

func decodeNodeRow(key, v []byte) (n tracker.Node, err error) {
	d := dec{p: v}
	d.version(1)
	n.Group, n.State, n.Epoch = d.u16(), tracker.NodeState(d.u8()), d.u32()
	if d.u8() == 1 {
		n.Role, n.ReadOnly = tracker.RoleReadOnly, true
	}
	n.Domain = tracker.Domain{Zone: d.text(), Rack: d.text(), Host: d.text()}
	n.Addr = d.text()
	if len(key) != 6 || !d.done() {
		return n, badRow("node")
	}
	n.ID = storage.NodeID(binary.BigEndian.Uint32(key[2:]))
	return n, nil
}

// groupRow is the value of row 02 g: version u8, 1; scheme data u8, parity u8;
// name and class blocks.
func appendGroupRow(dst []byte, g *tracker.Group) []byte {
	return block(block(append(dst, 1, g.Scheme.Data, g.Scheme.Parity), g.Name), g.Class)
}

func decodeGroupRow(key, v []byte) (g tracker.Group, err error) {
	d := dec{p: v}
	d.version(1)
	g.Scheme = erasure.Scheme{Data: d.u8(), Parity: d.u8()}
	g.Name, g.Class = d.text(), d.text()
	if len(key) != 4 || !d.done() {
		return g, badRow("group")
	}
	g.ID = binary.BigEndian.Uint16(key[2:])
	return g, nil
}

// Nodes reads all nodes, by id. They carry no load.
func Nodes(r kv.Reader) (nodes []tracker.Node, err error) {
	err = eachRow(r, []byte{rowMap, 'n'}, func(k, v []byte) error {
		n, err := decodeNodeRow(k, v)
		nodes = append(nodes, n)
		return err
	})
	return nodes, err
}

// Groups reads all storage groups, by id.
func Groups(r kv.Reader) (groups []tracker.Group, err error) {
	err = eachRow(r, []byte{rowMap, 'g'}, func(k, v []byte) error {
		g, err := decodeGroupRow(k, v)
		groups = append(groups, g)
		return err
	})
	return groups, err
}

// eachRow calls f for each row with a prefix.
func eachRow(r kv.Reader, prefix []byte, f func(key, val []byte) error) (err error) {
	it, err := r.Iter(prefix, keyAfter(nil, prefix))
	if err != nil {
		return err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return nil
}
