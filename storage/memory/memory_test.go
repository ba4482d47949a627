package memory_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/memory"
	"holdfast/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, id storage.NodeID, nodes storage.Nodes) storagetest.Target {
		n := memory.New(id, nodes)
		return storagetest.Target{Shards: n, Epoch: 1, SetEpoch: n.SetEpoch,
			EndQuarantine: func(now time.Time) { n.EndQuarantine(now, 24*time.Hour) }}
	})
}

func TestInjection(t *testing.T) {
	t.Parallel()
	n, id := memory.New(1, nil), storagetest.ID(1)
	put := func(id storage.ShardID) error {
		return storagetest.Put(t.Context(), n, storagetest.Ticket(id.Blob, storage.OpWrite, 1, 1), id, storagetest.Payload(1, 100))
	}
	if err := put(id); err != nil {
		t.Fatal(err)
	}
	n.Fail(func(op string, got storage.ShardID) error {
		if op == "read" && got == id {
			return syscall.EIO
		}
		return nil
	})
	if _, err := storagetest.Get(t.Context(), n, id, 0, -1); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	n.Fail(nil)
	n.SetOffline(true)
	if _, err := n.Status(t.Context()); !errors.Is(err, storage.ErrOffline) {
		t.Error(err)
	}
	n.SetOffline(false)
	n.SetLimit(200)
	if err := put(storagetest.ID(2)); !errors.Is(err, storage.ErrNoSpace) {
		t.Error(err)
	}
	if !n.Rot(id, 3, 1) || n.Rot(id, 1000, 1) {
		t.Error("rot")
	}
	n.Lose(id)
	if _, err := n.Stat(t.Context(), id); !errors.Is(err, storage.ErrNotHere) {
		t.Error(err)
	}
}
