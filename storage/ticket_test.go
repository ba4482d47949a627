package storage

import (
	"bytes"
	"fmt"
	"testing"

	"holdfast/internal/golden"
)

func testTicket(nodes int) *Ticket {
	t := &Ticket{Blob: MakeBlobID(1, 2, 3, 4), Op: OpWrite, Expiry: 1_800_000_000_123}
	for i := range nodes {
		t.Nodes = append(t.Nodes, Grantee{Node: NodeID(i + 1), Epoch: uint32(0x01020304 + i)})
	}
	return t
}

func testKey() []byte { return []byte("0123456789abcdef0123456789ABCDEF") }

// TestTicketGolden holds the MAC: a node and a tracker of two releases agree
// on it, or no shard is written until both are of one.
func TestTicketGolden(t *testing.T) {
	t.Parallel()
	var lines []golden.Line
	var tickets []*Ticket
	for _, op := range []Operation{OpWrite, OpRead, OpRepair} {
		for _, nodes := range []int{0, 1, 6, 64} {
			k := testTicket(nodes)
			k.Op = op
			tickets = append(tickets, k)
			k.Sign(testKey())
			lines = append(lines, golden.Line{Name: fmt.Sprintf("op-%d-nodes-%d", op, nodes), Bytes: k.MAC[:]})
		}
	}
	for i, l := range golden.Check(t, "testdata/ticket.golden", lines) {
		tickets[i].MAC = [32]byte(l.Bytes)
		if !tickets[i].Signed(testKey()) {
			t.Errorf("%s: the stored signature is refused", l.Name)
		}
	}
}

// TestTicketSigned changes every field of a signed ticket, and the key.
func TestTicketSigned(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Ticket){
		"blob":         func(k *Ticket) { k.Blob[15] ^= 1 },
		"operation":    func(k *Ticket) { k.Op = OpRepair },
		"expiry":       func(k *Ticket) { k.Expiry++ },
		"node":         func(k *Ticket) { k.Nodes[1].Node++ },
		"epoch":        func(k *Ticket) { k.Nodes[1].Epoch++ },
		"order":        func(k *Ticket) { k.Nodes[0], k.Nodes[1] = k.Nodes[1], k.Nodes[0] },
		"fewer nodes":  func(k *Ticket) { k.Nodes = k.Nodes[:1] },
		"more nodes":   func(k *Ticket) { k.Nodes = append(k.Nodes, Grantee{}) },
		"no nodes":     func(k *Ticket) { k.Nodes = nil },
		"first of MAC": func(k *Ticket) { k.MAC[0] ^= 1 },
		"last of MAC":  func(k *Ticket) { k.MAC[31] ^= 1 },
		"no MAC":       func(k *Ticket) { k.MAC = [32]byte{} },
	} {
		k := testTicket(2)
		k.Sign(testKey())
		if !k.Signed(testKey()) {
			t.Fatalf("%s: a signed ticket is refused", name)
		}
		if change(k); k.Signed(testKey()) {
			t.Errorf("%s: a ticket that was changed is taken", name)
		}
	}
	k := testTicket(2)
	k.Sign(testKey())
	other := testKey()
	other[31] ^= 1
	if k.Signed(other) || k.Signed(nil) {
		t.Error("a ticket under another key is taken")
	}
	if k.Sign(other); k.Signed(testKey()) || !k.Signed(other) {
		t.Error("a ticket that is signed again bears the old signature")
	}
}

// FuzzTicket parses what a client could send as a ticket.
func FuzzTicket(f *testing.F) {
	f.Add([]byte{})
	f.Add(testTicket(3).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseTicket(b)
		if err != nil {
			return
		}
		if !bytes.Equal(k.AppendBinary(nil), b) {
			t.Errorf("%x is read as a ticket that is written as another", b)
		}
	})
}
