package worker

import (
	"context"
	"fmt"
	"strings"

	"holdfast/storage"
	"holdfast/tracker"
)

// fsckBatch is how many blobs are compared at once.
const fsckBatch = 4096

// maxUnreadable bounds the list of blobs that cannot be read.
const maxUnreadable = 1000

// fsck compares the catalog with the nodes. It is made for one comparison.
type fsck struct {
	w     *Workers
	nodes []tracker.Node
	apis  map[storage.NodeID]storage.Shards
	out   *tracker.Fsck
}

// Fsck implements what tracker.Administration says of it. It may run beside
// everything else; what is written and deleted meanwhile can show up as a
// difference that is none.
func (w *Workers) Fsck(ctx context.Context, adopt bool) (*tracker.Fsck, error) {
	_, m, err := w.cluster.Plan(ctx)
	if err != nil {
		return nil, err
	}
	view, err := w.store.View(ctx)
	if err != nil {
		return nil, err
	}
	f := &fsck{w: w, out: &tracker.Fsck{Incarnation: view.Incarnation}, apis: map[storage.NodeID]storage.Shards{}}
	f.reach(ctx, m)
	for _, g := range m.Groups {
		for from, done := storage.MakeBlobID(0, g.ID, 0, 0), false; !done; {
			if from, done, err = f.compare(ctx, g.ID, from); err != nil {
				return nil, err
			}
		}
	}
	if !adopt {
		return f.out, nil
	}
	for id, n := range f.apis {
		if err := n.Adopt(ctx, view.Incarnation); err != nil {
			return nil, fmt.Errorf("node %d: %w", id, err)
		}
	}
	f.out.Frozen = false
	return f.out, nil
}

// reach finds the nodes that answer.
func (f *fsck) reach(ctx context.Context, m *tracker.Map) {
	for _, n := range m.Nodes {
		if n.State == tracker.NodeGone {
			continue
		}
		api, err := f.w.nodes.Shards(n.ID)
		var st storage.Status
		if err == nil {
			st, err = api.Status(ctx)
		}
		if err != nil {
			f.out.Unreached = append(f.out.Unreached, unreached(n, err))
			continue
		}
		f.out.Frozen = f.out.Frozen || st.Frozen
		f.nodes, f.apis[n.ID] = append(f.nodes, n), api
	}
}

// compare compares one batch of a group's blobs with what the nodes hold
// between their ids, and says where the next begins.
func (f *fsck) compare(ctx context.Context, group uint16, from storage.BlobID) (next storage.BlobID, done bool, err error) {
	end := storage.MakeBlobID(0, group+1, 0, 0)
	blobs, _, err := f.w.store.Blobs(ctx, storage.IDRange{From: from, To: end}, fsckBatch)
	if err != nil {
		return end, true, err
	}
	to := end
	if len(blobs) == fsckBatch {
		to = blobs[len(blobs)-1].ID
		blobs = blobs[:len(blobs)-1]
	}
	have := map[storage.NodeID]map[storage.ShardID]int64{}
	for _, n := range f.nodes {
		if have[n.ID], err = shardsOf(ctx, f.apis[n.ID], storage.IDRange{From: from, To: to}); err != nil {
			return to, true, fmt.Errorf("node %d: %w", n.ID, err)
		}
	}
	var lost []storage.Damage
	for i := range blobs {
		lost = f.blob(&blobs[i], have, lost)
	}
	if err := f.w.cluster.ReportDamage(ctx, lost); err != nil {
		return to, true, err
	}
	for _, rest := range have {
		for _, size := range rest {
			f.out.Unknown++
			f.out.UnknownBytes += size
		}
	}
	return to, to == end, nil
}

// blob compares one blob and takes its shards out of have.
func (f *fsck) blob(b *Blob, have map[storage.NodeID]map[storage.ShardID]int64, lost []storage.Damage) []storage.Damage {
	good := 0
	for index, p := range b.Shards {
		id := storage.ShardID{Blob: b.ID, Index: uint8(index), Gen: p.Gen}
		_, ok := have[p.Node][id]
		delete(have[p.Node], id)
		switch {
		case ok:
			good++
		case b.Dying: // deleted, and on its way out
		case p.Node == 0:
			f.out.Holes++
		default:
			f.out.Missing++
			lost = append(lost, storage.Damage{Shard: id, Node: p.Node, Reason: "fsck found it missing"})
		}
	}
	if b.Dying {
		return lost
	}
	f.out.Blobs++
	if good < int(b.Scheme.Data) && len(f.out.Unreadable) < maxUnreadable {
		f.out.Unreadable = append(f.out.Unreadable, b.ID.String())
	}
	return lost
}

// shardsOf lists a node's shards of a range with their lengths.
func shardsOf(ctx context.Context, n storage.Shards, r storage.IDRange) (map[storage.ShardID]int64, error) {
	out := map[storage.ShardID]int64{}
	var after storage.ShardID
	for {
		page, err := n.List(ctx, r, after, fsckBatch)
		if err != nil {
			return nil, err
		}
		for i := range page {
			out[page[i].ID] = page[i].Seal.Length
			after = page[i].ID
		}
		if len(page) < fsckBatch {
			return out, nil
		}
	}
}

// unreached says why a node was not compared; the error may name it already.
func unreached(n tracker.Node, err error) string {
	who := fmt.Sprintf("node %d at %s: ", n.ID, n.Addr)
	return who + strings.TrimPrefix(err.Error(), who)
}
