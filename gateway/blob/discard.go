package blob

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

const (
	// discardWait is how long Discard waits for nodes.
	discardWait = time.Second
	// discardLife is how long the deletions go on at most.
	discardLife = 10 * time.Second
)

// Discard deletes the shards of a blob that nothing refers to and nothing ever
// will: its commit was refused for good, and no attempt of it is under way.
// holes are what Write told of the blob: a node that was given up may have
// sealed its shard all the same. The end of ctx stops nothing.
//
// It is best effort, and a matter of space alone: it returns after at most a
// second, and what it leaves, told in the error, are orphans that the nodes
// get rid of once their tickets have expired.
func (w *Writer) Discard(ctx context.Context, nodes storage.Nodes, b *tracker.Blob, holes []storage.Damage) error {
	doomed := make([]storage.Damage, 0, len(b.Shards)+len(holes))
	for i, p := range b.Shards {
		if p.Node != 0 {
			doomed = append(doomed, storage.Damage{Shard: storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}, Node: p.Node})
		}
	}
	for _, h := range holes {
		if h.Node != 0 {
			doomed = append(doomed, h)
		}
	}
	return w.discard(ctx, nodes, doomed)
}

// discard deletes shards, each from its node.
func (w *Writer) discard(ctx context.Context, nodes storage.Nodes, doomed []storage.Damage) error {
	ctx = context.WithoutCancel(ctx)
	done := make(chan error, len(doomed)) // room for those that nobody waits for any more
	for _, d := range doomed {
		w.wg.Go(func() { done <- remove(ctx, nodes, d) })
	}
	late := w.clock.After(discardWait)
	var errs []error
	for left := len(doomed); left > 0; left-- {
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-late:
			return errors.Join(append(errs, fmt.Errorf("%d shards of blob %s: %w", left, doomed[0].Shard.Blob, ErrStalled))...)
		}
	}
	return errors.Join(errs...)
}

func remove(ctx context.Context, nodes storage.Nodes, d storage.Damage) error {
	ctx, cancel := context.WithTimeout(ctx, discardLife)
	defer cancel()
	n, err := nodes.Shards(d.Node)
	if err == nil {
		err = n.Delete(ctx, []storage.ShardID{d.Shard})
	}
	if err != nil {
		return fmt.Errorf("shard %s on node %d: %w", d.Shard, d.Node, err)
	}
	return nil
}

// fail gives the whole upload up, once its senders were told to end, and
// deletes what they have sealed, or may have. Those that have not ended do it
// themselves when they do.
func (u *upload) fail(ctx context.Context) {
	var doomed []storage.Damage
	u.mu.Lock()
	u.failed = true
	for i := range u.senders {
		if s := &u.senders[i]; s.exited && s.sealing {
			doomed = append(doomed, s.doomed())
		}
	}
	u.mu.Unlock()
	if len(doomed) > 0 {
		// What is left is told to nobody: the write's own error counts.
		_ = u.w.discard(ctx, u.nodes, doomed)
	}
}

func (s *sender) doomed() storage.Damage { return storage.Damage{Shard: s.id(), Node: s.place.Node} }

// seal seals the shard. From its call on the shard may exist, whatever the
// answer is.
func (s *sender) seal(ctx context.Context, w storage.ShardWriter, sum storage.Seal) error {
	s.u.mu.Lock()
	s.sealing = true
	s.u.mu.Unlock()
	return w.Seal(ctx, sum)
}
