package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"holdfast/storage"
)

// Delete implements storage.Shards.
func (n *Node) Delete(ctx context.Context, ids []storage.ShardID) error {
	if err := n.enter(ctx); err != nil || len(ids) == 0 {
		return err
	}
	if err := n.checkIncarnation(); err != nil {
		return err
	}
	if err := n.index.Delete(ids); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	select {
	case n.kick <- struct{}{}:
	default:
	}
	return nil
}

// Disown implements storage.Shards.
func (n *Node) Disown(ctx context.Context, ids []storage.ShardID, now time.Time) error {
	if err := n.enter(ctx); err != nil || len(ids) == 0 {
		return err
	}
	if err := n.checkIncarnation(); err != nil {
		return err
	}
	n.guard.serial.Lock() // over I/O: what one call is allowed another must see
	defer n.guard.serial.Unlock()
	var fresh []storage.ShardID
	var bytes int64
	seen := make(map[storage.ShardID]bool, len(ids))
	for _, id := range ids {
		e, ok, err := n.index.Get(id)
		if err != nil {
			return fmt.Errorf("disown: %w", err)
		}
		if ok && e.Quarantined == 0 && !seen[id] {
			seen[id] = true
			fresh = append(fresh, id)
			bytes += e.Seal.Length
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := n.allowDisown(int64(len(fresh)), bytes, now); err != nil {
		return err
	}
	if err := n.index.Quarantine(fresh, now.UnixMilli()); err != nil {
		return fmt.Errorf("disown: %w", err)
	}
	return nil
}

// Revive implements storage.Shards.
func (n *Node) Revive(ctx context.Context, ids []storage.ShardID) error {
	if err := n.enter(ctx); err != nil || len(ids) == 0 {
		return err
	}
	if err := n.index.Revive(ids); err != nil {
		return fmt.Errorf("revive: %w", err)
	}
	return nil
}

// ConfirmDisown lets a node that stopped with storage.ErrMassDisown take
// disowns again, with a new hour. A person has decided it. Durable on nil.
func (n *Node) ConfirmDisown(ctx context.Context) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	n.guard.serial.Lock()
	defer n.guard.serial.Unlock()
	return n.setGuard(nil, false)
}

// disownGuard bounds what a node may be told to disown within an hour, since
// an empty or restored catalog disowns everything. Once the bound is met the
// node stops taking disowns, over restarts too, until a person confirms.
type disownGuard struct {
	serial sync.Mutex // one Disown at a time
	mu     struct {
		sync.Mutex
		minutes []disowned // of the last hour, oldest first
		tripped bool
	}
}

type disowned struct {
	minute        int64 // since 1970, catalog time
	shards, bytes int64
}

const (
	guardRow     = "disown"
	guardVersion = 1
	guardMinutes = 60
)

func (g *disownGuard) stopped() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.tripped {
		return storage.ErrMassDisown
	}
	return nil
}

// allowDisown counts shards to be disowned, durably, or trips the guard. With
// n.guard.serial held.
func (n *Node) allowDisown(shards, bytes int64, now time.Time) error {
	g := &n.guard
	if err := g.stopped(); err != nil {
		return fmt.Errorf("node %d: %w", n.cfg.Node, err)
	}
	minute := now.UnixMilli() / 60_000
	var keep []disowned
	allShards, allBytes := shards, bytes
	g.mu.Lock()
	for _, d := range g.mu.minutes {
		if d.minute > minute-guardMinutes {
			keep = append(keep, d)
			allShards += d.shards
			allBytes += d.bytes
		}
	}
	g.mu.Unlock()
	limit := max(n.limits.DisownBytes, n.index.Totals().Bytes/100)
	if allShards > n.limits.DisownShards || allBytes > limit {
		n.log.Error().Int64("shards", allShards).Int64("bytes", allBytes).Msg("told to disown too much within an hour; confirm with holdfast fsck --adopt")
		if err := n.setGuard(keep, true); err != nil {
			return err
		}
		return fmt.Errorf("node %d: %d shards, %d bytes: %w", n.cfg.Node, allShards, allBytes, storage.ErrMassDisown)
	}
	if k := len(keep); k > 0 && keep[k-1].minute == minute {
		keep[k-1].shards += shards
		keep[k-1].bytes += bytes
	} else {
		keep = append(keep, disowned{minute, shards, bytes})
	}
	return n.setGuard(keep, false)
}

// setGuard stores the guard's state as an index row: version (1 byte), tripped
// (1), then minute, shards and bytes (8 each, little-endian) of each minute.
func (n *Node) setGuard(minutes []disowned, tripped bool) error {
	b := []byte{guardVersion, 0}
	if tripped {
		b[1] = 1
	}
	for _, d := range minutes {
		for _, v := range []int64{d.minute, d.shards, d.bytes} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	if err := n.index.SetMeta(guardRow, b); err != nil {
		return fmt.Errorf("disown: %w", err)
	}
	n.guard.mu.Lock()
	defer n.guard.mu.Unlock()
	n.guard.mu.minutes, n.guard.mu.tripped = minutes, tripped
	return nil
}

func (n *Node) loadGuard(context.Context) error {
	b, err := n.index.Meta(guardRow)
	if err != nil || b == nil {
		return err
	}
	if len(b) < 2 || (len(b)-2)%24 != 0 || b[0] != guardVersion {
		return fmt.Errorf("disown row of %d bytes: %w", len(b), storage.ErrCorrupt)
	}
	n.guard.mu.tripped = b[1] == 1
	for b = b[2:]; len(b) > 0; b = b[24:] {
		n.guard.mu.minutes = append(n.guard.mu.minutes, disowned{
			int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint64(b[16:]))})
	}
	return nil
}
