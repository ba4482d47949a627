// Package tracker tests the tracker's background work over the real catalog
// and nodes in memory, step by step under a clock that stands still.
package tracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/erasure"
	"holdfast/erasure/stripe"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/storage/memory"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/catalog/catalogtest"
	"holdfast/tracker/kv"
	"holdfast/tracker/service"
	"holdfast/tracker/worker"
)

const ticketLife = 2 * time.Hour

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// fleet is the nodes of a rig.
type fleet struct {
	mu    sync.Mutex
	nodes map[storage.NodeID]*memory.Node
	wrap  func(storage.Shards) storage.Shards
}

func (f *fleet) Shards(id storage.NodeID) (storage.Shards, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[id]
	switch {
	case n == nil:
		return nil, storage.ErrOffline
	case f.wrap != nil:
		return f.wrap(n), nil
	}
	return n, nil
}

// rig is a tracker with its nodes.
type rig struct {
	*testing.T
	clk    *clock.Manual
	log    *catalogtest.Log
	cat    *service.Catalog
	svc    *service.Service
	fleet  *fleet
	cfg    worker.Config
	w      *worker.Workers
	term   uint64
	group  tracker.Group
	bucket tracker.BucketID
	codecs *stripe.Codecs
	rng    *rand.Rand
	data   map[string][]byte // by key
	blobs  map[storage.BlobID][]byte
}

func newRig(t *testing.T, scheme string, nodes int) *rig {
	t.Helper()
	s, err := erasure.ParseScheme(scheme)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &rig{T: t, clk: clock.NewManual(begin), log: catalogtest.New(t), fleet: &fleet{nodes: map[storage.NodeID]*memory.Node{}}, codecs: stripe.NewCodecs(),
		rng: rand.New(rand.NewPCG(seed, 0)), data: map[string][]byte{}, blobs: map[storage.BlobID][]byte{}, cfg: worker.Default(), term: 1}
	r.cfg.Repair.Width, r.cfg.Reconcile.Batch, r.cfg.Census.Batch = 1, 16, 16
	r.cat = service.NewCatalog(r.log, r.clk)
	cfg := service.Default()
	cfg.TicketLife, cfg.Poll, cfg.ClockTrusted = ticketLife, false, func() bool { return true }
	if r.svc, err = service.New(cfg, r.cat, r.cat, r.cat, r.fleet, r.clk, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	r.svc.Watch(func(m *tracker.Map) {
		r.fleet.mu.Lock()
		defer r.fleet.mu.Unlock()
		for _, n := range m.Nodes {
			if f := r.fleet.nodes[n.ID]; f != nil {
				f.SetEpoch(n.Epoch)
			}
		}
	})
	r.must(r.svc.Raise(t.Context()))
	r.group, err = r.svc.RegisterGroup(t.Context(), tracker.Group{Name: "default", Scheme: s})
	r.must(err)
	for range nodes {
		r.addNode()
	}
	b, err := r.cat.CreateBucket(t.Context(), &tracker.CreateBucket{Name: "bucket", Owner: "root"})
	r.must(err)
	r.bucket = b.ID
	r.restart()
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) addNode() storage.NodeID {
	r.Helper()
	n, err := r.svc.RegisterNode(r.Context(), tracker.Node{Group: r.group.ID})
	r.must(err)
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	r.fleet.nodes[n.ID] = memory.New(n.ID, r.fleet)
	return n.ID
}

// restart makes new workers, as a new leader has.
func (r *rig) restart() {
	r.Helper()
	var err error
	r.w, err = worker.New(r.cfg, r.svc, worker.NewStore(r.cat, worker.DefaultRetention()), r.fleet, r.clk, zerolog.Nop())
	r.must(err)
	r.w.Begin(r.term)
}

// raise moves the clock and raises catalog time and the fence to it.
func (r *rig) raise(d time.Duration) {
	r.Helper()
	r.clk.Advance(d)
	r.must(r.svc.Raise(r.Context()))
}

// step takes steps of a worker until it would wait.
func (r *rig) step(name string) {
	r.Helper()
	for range 10_000 {
		wait, err := r.w.Step(r.Context(), name)
		r.must(err)
		if wait > r.cfg.Reconcile.Pace {
			return
		}
	}
	r.Fatalf("%s never rests", name)
}

// settle runs census and repair until nothing is left to do now.
func (r *rig) settle() {
	r.Helper()
	for range 20 {
		r.clk.Advance(r.cfg.Census.Poll)
		r.step("census")
		r.step("repair")
	}
}

// grant places a blob and returns it with its bytes.
func (r *rig) grant(size int) (*tracker.Grant, []byte) {
	r.Helper()
	g, err := r.svc.Place(r.Context(), &tracker.PlaceRequest{Size: int64(size)})
	r.must(err)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(r.rng.Uint32())
	}
	return g, data
}

// frames encodes one shard.
func (r *rig) frames(s erasure.Scheme, id storage.ShardID, data []byte) ([]byte, storage.Seal) {
	r.Helper()
	codec, err := r.codecs.Codec(s)
	r.must(err)
	e := codec.NewEncoder(int64(len(data)))
	e.Shard(id.Blob, id.Index, id.Gen)
	b := codec.NewBatch(4)
	src := bytes.NewReader(data)
	var out []byte
	for last := false; !last; {
		last, err = e.Fill(src, b)
		r.must(err)
		if b.Stripes > 0 {
			out = append(out, b.Shard(int(id.Index))...)
		}
	}
	return out, storage.Seal{Frames: e.Frames(), Length: e.Stored(), Sum: e.Sum(int(id.Index))}
}

// send writes and seals one shard of a grant.
func (r *rig) send(g *tracker.Grant, index int, data []byte) {
	r.Helper()
	p := g.Shards[index]
	id := storage.ShardID{Blob: g.Blob, Index: uint8(index), Gen: p.Gen}
	frames, seal := r.frames(g.Scheme, id, data)
	api, err := r.fleet.Shards(p.Node)
	r.must(err)
	w, err := api.Create(r.Context(), &g.Ticket, id, seal.Length)
	r.must(err)
	for len(frames) > 0 {
		n, err := w.Write(frames[:min(len(frames), 13*(erasure.FrameSize+erasure.SumSize))])
		r.must(err)
		frames = frames[n:]
	}
	r.must(w.Seal(r.Context(), seal))
}

// commit puts an object of a grant; holes are indexes left out of the map.
func (r *rig) commit(key string, g *tracker.Grant, data []byte, holes ...int) error {
	r.Helper()
	shards := slices.Clone(g.Shards)
	for _, h := range holes {
		shards[h] = storage.Placement{}
	}
	_, err := r.cat.PutObject(r.Context(), &tracker.PutObject{Bucket: r.bucket, Key: key, Meta: tracker.Meta{ETag: "0123456789abcdef0123456789abcdef", Size: int64(len(data))},
		Blobs: []tracker.NewBlob{{Blob: tracker.Blob{ID: g.Blob, Scheme: g.Scheme, Length: int64(len(data)), Shards: shards}, Expiry: g.Ticket.Expiry}}})
	if err == nil {
		r.data[key], r.blobs[g.Blob] = data, data
	}
	return err
}

// put writes an object; the shards at holes are not written.
func (r *rig) put(key string, size int, holes ...int) storage.BlobID {
	r.Helper()
	g, data := r.grant(size)
	for i, p := range g.Shards {
		if p.Node != 0 && !slices.Contains(holes, i) {
			r.send(g, i, data)
		}
	}
	r.must(r.commit(key, g, data, holes...))
	return g.Blob
}

func (r *rig) del(key string) {
	r.Helper()
	_, err := r.cat.DeleteObject(r.Context(), &tracker.DeleteObject{Bucket: r.bucket, Key: key})
	r.must(err)
	delete(r.data, key)
}

// rows reads all blob rows.
func (r *rig) rows() (out []catalog.BlobState) {
	r.Helper()
	r.must(r.cat.View(r.Context(), func(v kv.Reader) error {
		return catalog.Blobs(v, storage.IDRange{}, func(b *catalog.BlobState) bool {
			out = append(out, *b)
			return true
		})
	}))
	return out
}

func (r *rig) row(id storage.BlobID) catalog.BlobState {
	r.Helper()
	for _, b := range r.rows() {
		if b.ID == id {
			return b
		}
	}
	r.Fatalf("no blob %s", id)
	return catalog.BlobState{}
}

// state is a node in memory.
func (r *rig) node(id storage.NodeID) *memory.Node {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	return r.fleet.nodes[id]
}

func (r *rig) setState(id storage.NodeID, s tracker.NodeState) {
	r.Helper()
	r.must(r.svc.SetNodeState(r.Context(), id, s))
}

// readShard reads a whole stored shard.
func (r *rig) readShard(p storage.Placement, id storage.ShardID) ([]byte, error) {
	api, err := r.fleet.Shards(p.Node)
	if err != nil {
		return nil, err
	}
	rd, err := api.Open(context.Background(), id, 0, -1)
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	var out []byte
	buf := make([]byte, 1<<20)
	for {
		n, err := rd.ReadFrames(buf)
		out = append(out, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// damaged counts, for every live blob, the placements that do not hold the
// right bytes, and fails where a blob has fewer good ones than it needs.
func (r *rig) damaged() (n int) {
	r.Helper()
	for _, b := range r.rows() {
		if b.Dying {
			continue
		}
		good := 0
		for i, p := range b.Shards {
			id := storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}
			want, _ := r.frames(b.Scheme, id, r.blobs[b.ID])
			if p.Node == 0 {
				n++
			} else if got, err := r.readShard(p, id); err != nil || !bytes.Equal(got, want) {
				n++
			} else {
				good++
			}
		}
		if good < int(b.Scheme.Data) {
			r.Errorf("blob %s has %d good shards of %d: %+v", b.ID, good, b.Scheme.Data, b.Shards)
		}
	}
	return n
}

// whole fails unless every object is there with all its shards, and, if exact,
// no node holds anything else that is not in quarantine.
func (r *rig) whole(exact bool) {
	r.Helper()
	if n := r.damaged(); n > 0 {
		r.Errorf("%d placements are not whole", n)
	}
	if n := r.w.Below(); n > 0 {
		r.Errorf("%d blobs below their target by count", n)
	}
	for key, data := range r.data {
		o, err := r.cat.GetObject(r.Context(), &tracker.GetObject{Bucket: r.bucket, Key: key, Data: true})
		if err != nil || len(o.Extents) != 1 || !bytes.Equal(r.blobs[o.Extents[0].Blob.ID], data) {
			r.Errorf("object %s: %v", key, err)
		}
	}
	if !exact {
		return
	}
	want := map[worker.Shard]bool{}
	for _, b := range r.rows() {
		for i, p := range b.Shards {
			want[worker.Shard{Node: p.Node, ID: storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}}] = true
		}
	}
	for id, s := range r.stored() {
		if !want[id] && s.Quarantined == 0 {
			r.Errorf("node %d holds %s, which nothing refers to", id.Node, id.ID)
		}
	}
}

// stored lists what all nodes hold.
func (r *rig) stored() map[worker.Shard]storage.ShardInfo {
	r.Helper()
	out := map[worker.Shard]storage.ShardInfo{}
	r.fleet.mu.Lock()
	nodes := make([]*memory.Node, 0, len(r.fleet.nodes))
	for _, n := range r.fleet.nodes {
		nodes = append(nodes, n)
	}
	r.fleet.mu.Unlock()
	for _, n := range nodes {
		list, err := n.List(r.Context(), storage.IDRange{}, storage.ShardID{}, 1<<20)
		r.must(err)
		for _, s := range list {
			out[worker.Shard{Node: n.Node(), ID: s.ID}] = s
		}
	}
	return out
}

func (r *rig) fill(n int) {
	r.Helper()
	for i := range n {
		r.put(fmt.Sprintf("key-%03d", i), 1+r.rng.IntN(300<<10))
	}
}
