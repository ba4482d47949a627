// Package rebuild makes a shard on a node from other nodes' shards: the
// receiver reads what it needs, decodes, writes, seals and reads back. Every
// node's Rebuild is this one. It starts no goroutines and keeps no files.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/storage"
)

// Run makes r.Target on node from r.Sources, found through nodes, and returns
// its seal once it was read back and verified. A target that is sealed there
// already, from an attempt whose answer was lost, is verified and counts. A
// shard that does not verify is deleted, and the error wraps
// storage.ErrCorrupt.
func Run(ctx context.Context, codecs *stripe.Codecs, node storage.Shards, nodes storage.Nodes, r *storage.Rebuild) (storage.Seal, error) {
	seal, err := build(ctx, codecs, node, nodes, r)
	if errors.Is(err, storage.ErrExists) {
		var info storage.ShardInfo
		if info, err = node.Stat(ctx, r.Target); err == nil {
			seal = info.Seal
		}
	}
	if err != nil {
		return storage.Seal{}, fmt.Errorf("rebuild %s: %w", r.Target, err)
	}
	if want := r.Scheme.ShardSize(r.Length); seal.Length != want {
		return storage.Seal{}, fmt.Errorf("rebuild %s: %d bytes, want %d: %w", r.Target, seal.Length, want, storage.ErrCorrupt)
	}
	if err := Verify(ctx, node, r.Target, seal); err != nil {
		if errors.Is(err, storage.ErrCorrupt) {
			del := node.Delete(context.WithoutCancel(ctx), []storage.ShardID{r.Target})
			err = errors.Join(err, del)
		}
		return storage.Seal{}, fmt.Errorf("rebuild %s: read back: %w", r.Target, err)
	}
	return seal, nil
}

func build(ctx context.Context, codecs *stripe.Codecs, node storage.Shards, nodes storage.Nodes, r *storage.Rebuild) (storage.Seal, error) {
	if r.Ticket.Op != storage.OpRepair || r.Ticket.Blob != r.Target.Blob {
		return storage.Seal{}, storage.ErrTicket
	}
	if nodes == nil {
		return storage.Seal{}, fmt.Errorf("no way to other nodes: %w", storage.ErrOffline)
	}
	codec, err := codecs.Codec(r.Scheme)
	if err != nil {
		return storage.Seal{}, err
	}
	w, err := node.Create(ctx, &r.Ticket, r.Target, r.Scheme.ShardSize(r.Length))
	if err != nil {
		return storage.Seal{}, err
	}
	defer w.Abort()
	target := stripe.Target{Blob: r.Target.Blob, Index: r.Target.Index, Gen: r.Target.Gen, Length: r.Length}
	built, err := stripe.Rebuild(ctx, codec, target, sources(nodes, r), func(run []byte) error {
		_, err := w.Write(run)
		return err
	})
	if err != nil {
		return storage.Seal{}, err
	}
	seal := storage.Seal{Frames: built.Frames, Length: built.Length, Sum: built.Sum}
	return seal, w.Seal(ctx, seal)
}

func sources(nodes storage.Nodes, r *storage.Rebuild) []stripe.Source {
	out := make([]stripe.Source, 0, len(r.Sources))
	for _, s := range r.Sources {
		id := storage.ShardID{Blob: r.Target.Blob, Index: s.Index, Gen: s.Gen}
		out = append(out, stripe.Source{Index: s.Index, Gen: s.Gen, Open: func(ctx context.Context, first, n int64) (stripe.Frames, error) {
			peer, err := nodes.Shards(s.Node)
			if err != nil {
				return nil, err
			}
			return peer.Open(ctx, id, first, n)
		}})
	}
	return out
}

// Verify reads a whole shard of a node and checks every frame, the counts and
// the sum. The error wraps storage.ErrCorrupt if they do not hold.
func Verify(ctx context.Context, node storage.Shards, id storage.ShardID, seal storage.Seal) error {
	rd, err := node.Open(ctx, id, 0, -1)
	if err != nil {
		return err
	}
	defer rd.Close()
	seed := frame.SeedOf(id.Blob, id.Index, id.Gen)
	var sum frame.Sealer
	buf := make([]byte, min(seal.Length, 4*frame.Stride))
	for sum.Length < seal.Length {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := rd.ReadFrames(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if _, err := seed.CheckRun(sum.Frames, buf[:n]); err != nil {
			return fmt.Errorf("shard %s: %w: %w", id, storage.ErrCorrupt, err)
		}
		sum.AddRun(buf[:n])
	}
	if own := (storage.Seal{Frames: sum.Frames, Length: sum.Length, Sum: sum.Sum()}); own != seal {
		return fmt.Errorf("shard %s: read %d frames of %d: %w", id, own.Frames, seal.Frames, storage.ErrCorrupt)
	}
	return nil
}
