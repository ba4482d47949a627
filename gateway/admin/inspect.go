package admin

import (
	"context"
	"sync"
	"time"

	"holdfast/gateway"
	"holdfast/storage"
	"holdfast/tracker"
)

// Inspector looks at objects down to their shards.
type Inspector struct {
	Catalog   tracker.Catalog
	Scheduler tracker.Scheduler
	Nodes     storage.Nodes
}

// maxExtents bounds the extents of one inspection.
const maxExtents = 1000

// statTimeout bounds the question to one node.
const statTimeout = 5 * time.Second

// Inspect tells where the bytes of an object are, and asks every node that
// should hold a shard of it. Version "" is the current one.
func (i *Inspector) Inspect(ctx context.Context, bucket, key, version string) (*gateway.Inspection, error) {
	b, err := i.Catalog.Bucket(ctx, bucket)
	if err != nil {
		return nil, err
	}
	o, err := i.Catalog.GetObject(ctx, &tracker.GetObject{Bucket: b.ID, Key: key, Version: version, Data: true})
	if err != nil {
		return nil, err
	}
	m, err := i.Scheduler.Map(ctx)
	if err != nil {
		return nil, err
	}
	out := &gateway.Inspection{Bucket: bucket, Key: key, Version: o.ID, ETag: o.ETag, Size: o.Size, Class: o.Class,
		Modified: time.UnixMilli(o.Modified).UTC(), Sequence: o.Seq, Inline: int64(len(o.Inline))}
	extents := o.Extents
	if !o.AllExtents {
		if extents, err = i.Catalog.Extents(ctx, tracker.Ref{Bucket: b.ID, Key: key, Seq: o.Seq}, 0, maxExtents); err != nil {
			return nil, err
		}
		out.Truncated = len(extents) == maxExtents
	}
	for _, e := range extents {
		out.Extents = append(out.Extents, i.extent(ctx, m, &e))
	}
	return out, nil
}

func (i *Inspector) extent(ctx context.Context, m *tracker.Map, e *tracker.Extent) gateway.ExtentInspection {
	x := gateway.ExtentInspection{Offset: e.Offset, Length: e.Length, Blob: e.Blob.ID.String(), BlobOffset: e.BlobOffset,
		BlobLength: e.Blob.Length, Scheme: e.Blob.Scheme.String(), Needed: int(e.Blob.Scheme.Data)}
	for _, g := range m.Groups {
		if g.ID == e.Blob.ID.Group() {
			x.Group = g.Name
		}
	}
	x.Shards = make([]gateway.ShardInspection, len(e.Blob.Shards))
	var wg sync.WaitGroup
	for index, p := range e.Blob.Shards {
		wg.Go(func() { x.Shards[index] = i.shard(ctx, m, e.Blob.ID, index, p) })
	}
	wg.Wait()
	for _, s := range x.Shards {
		if s.Found {
			x.Found++
		}
	}
	return x
}

func (i *Inspector) shard(ctx context.Context, m *tracker.Map, blob storage.BlobID, index int, p storage.Placement) gateway.ShardInspection {
	s := gateway.ShardInspection{Index: index, Node: p.Node, Generation: p.Gen}
	if p.Node == 0 {
		s.Problem = "a hole: it was not written, or is being repaired"
		return s
	}
	if n := m.Node(p.Node); n != nil {
		s.Addr, s.State = n.Addr, n.State.String()
	}
	ctx, cancel := context.WithTimeout(ctx, statTimeout)
	defer cancel()
	api, err := i.Nodes.Shards(p.Node)
	var info storage.ShardInfo
	if err == nil {
		info, err = api.Stat(ctx, storage.ShardID{Blob: blob, Index: uint8(index), Gen: p.Gen})
	}
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	s.Found, s.Bytes = true, info.Seal.Length
	if info.Quarantined != 0 {
		s.Problem = "in quarantine"
	}
	return s
}
