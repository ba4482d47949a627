package blob

import (
	"bytes"
	"testing"

	"holdfast/storage"
	"holdfast/storage/memory"
)

// memoryNodes are the storage contract's own fakes.
type memoryNodes []*memory.Node

func (m memoryNodes) Shards(id storage.NodeID) (storage.Shards, error) { return m[id-1], nil }

// TestMemoryNodes goes the whole way with the contract's fake: write with a
// node down, rebuild what is missing there, and read over rot elsewhere.
func TestMemoryNodes(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"rep-3", "rs-2+2", "rs-4+2"} {
		s := mustScheme(scheme)
		nodes := make(memoryNodes, s.Width())
		for i := range nodes {
			nodes[i] = memory.New(storage.NodeID(i+1), &nodes)
		}
		c := newCluster(0)
		data := content(3<<20 + 7)
		nodes[1].SetOffline(true)
		g := c.grant(scheme)
		b, holes, err := c.writer.Write(t.Context(), g, nodes, bytes.NewReader(data), -1)
		if err != nil || len(holes) != 1 || holes[0].Node != 2 {
			t.Fatalf("%s: %v, %v", scheme, holes, err)
		}
		nodes[1].SetOffline(false)
		r := &storage.Rebuild{Ticket: g.Ticket, Target: storage.ShardID{Blob: b.ID, Index: 1, Gen: 2}, Scheme: s, Length: b.Length}
		r.Ticket.Op = storage.OpRepair
		for i, p := range b.Shards {
			if p.Node != 0 {
				r.Sources = append(r.Sources, storage.Source{Index: uint8(i), Placement: p})
			}
		}
		if _, err := nodes[1].Rebuild(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		b.Shards[1] = storage.Placement{Node: 2, Gen: 2}
		for i, p := range b.Shards {
			if i != 1 && i <= int(s.Parity) { // as many as may be lost, not the new one
				nodes[i].Rot(storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}, 100, 1)
			}
		}
		var got bytes.Buffer
		var damage int
		st, err := c.reader.Open(t.Context(), b.Blob, 0, -1, Options{Nodes: nodes, Damage: func(storage.Damage) { damage++ }})
		if err == nil {
			_, err = st.WriteTo(&got)
			_ = st.Close()
		}
		if err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%s: %d bytes, %v", scheme, got.Len(), err)
		}
		c.idle(t)
	}
}
