package storagetest

import (
	"errors"
	"testing"

	"holdfast/storage"
)

// testRenew: a renewed ticket's expiry is what the seal writes, for a packed
// shard and for one in a file of its own; a ticket for something else changes
// nothing.
func testRenew(t *testing.T, open Open) {
	target := open(t, 1, nil)
	for i, size := range []int{3000, 3 << 20} {
		id := ID(uint64(900 + i))
		run, seal := Frames(id, Payload(uint64(i), size))
		ticket := Ticket(id.Blob, storage.OpWrite, 1, target.Epoch)
		w, err := target.Shards.Create(t.Context(), ticket, id, seal.Length)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(run); at += 4 * (64<<10 + 8) {
			if _, err := w.Write(run[at:min(len(run), at+4*(64<<10+8))]); err != nil {
				t.Fatal(err)
			}
		}
		r, ok := w.(storage.Renewer)
		if !ok {
			t.Fatal("writer takes no renewed ticket")
		}
		longer := *ticket
		longer.Expiry += 1000
		if err := r.Renew(&longer); err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string]*storage.Ticket{
			"none": nil, "of another blob": Ticket(ID(1).Blob, storage.OpWrite, 1, target.Epoch),
			"of another operation": Ticket(id.Blob, storage.OpRepair, 1, target.Epoch), "of another node": Ticket(id.Blob, storage.OpWrite, 9, target.Epoch),
		} {
			if err := r.Renew(bad); !errors.Is(err, storage.ErrTicket) {
				t.Errorf("ticket %s: %v", name, err)
			}
		}
		if err := w.Seal(t.Context(), seal); err != nil {
			t.Fatal(err)
		}
		if err := r.Renew(&longer); !errors.Is(err, storage.ErrSeal) {
			t.Errorf("after the seal: %v", err)
		}
		info, err := target.Shards.Stat(t.Context(), id)
		if err != nil || info.Expiry != longer.Expiry {
			t.Errorf("%d bytes: expiry %d, want %d, %v", size, info.Expiry, longer.Expiry, err)
		}
	}
}
