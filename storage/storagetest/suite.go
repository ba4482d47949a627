package storagetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
	"holdfast/storage"
)

func testDelete(t *testing.T, open Open) {
	f := newFixture(t, open)
	var ids []storage.ShardID
	runs := map[storage.ShardID][]byte{}
	for n := range uint64(20) {
		id := ID(n)
		ids = append(ids, id)
		runs[id] = f.put(id, Payload(n, 1+int(n)*40000))
	}
	// A reader that entered before keeps its shard.
	for _, n := range []int{1, 19} {
		r, err := f.Shards.Open(f.ctx, ids[n], 0, -1)
		f.must(err)
		defer r.Close()
		defer func() {
			got, err := ReadAll(r)
			f.must(err)
			if !bytes.Equal(got, runs[ids[n]]) {
				t.Error("bytes changed under a reader")
			}
		}()
	}
	gone := append(slices.Clone(ids[:10]), ids[19], ID(1000), ids[3])
	f.must(f.Shards.Delete(f.ctx, gone))
	f.must(f.Shards.Delete(f.ctx, gone))
	f.must(f.Shards.Delete(f.ctx, nil))
	f.EndQuarantine(time.UnixMilli(1 << 41)) // frees space
	for _, id := range gone {
		f.gone(id)
	}
	var used int64
	for _, id := range ids[10:19] {
		f.holds(id, runs[id])
		used += int64(len(runs[id]))
	}
	st, err := f.Shards.Status(f.ctx)
	f.must(err)
	if st.Shards != 9 || st.Used != used {
		f.Fatalf("status %+v", st)
	}
	// Another index or generation of the blob is another shard.
	other := ids[12]
	other.Gen++
	f.must(f.Shards.Delete(f.ctx, []storage.ShardID{other}))
	f.holds(ids[12], runs[ids[12]])
	run := f.put(ids[5], Payload(77, 5000))
	f.holds(ids[5], run)
}

func testQuarantine(t *testing.T, open Open) {
	f := newFixture(t, open)
	now := time.UnixMilli(1 << 40)
	var ids []storage.ShardID
	runs := map[storage.ShardID][]byte{}
	for n := range uint64(6) {
		ids = append(ids, ID(n))
		runs[ids[n]] = f.put(ids[n], Payload(n, 3000))
	}
	before, err := f.Shards.Digest(f.ctx, storage.IDRange{})
	f.must(err)
	f.must(f.Shards.Disown(f.ctx, append(slices.Clone(ids[:4]), ID(99)), now))
	f.must(f.Shards.Disown(f.ctx, ids[:1], now.Add(20*time.Hour))) // does not begin again
	for _, id := range ids {
		f.holds(id, runs[id])
		info, err := f.Shards.Stat(f.ctx, id)
		f.must(err)
		want := int64(0)
		if slices.Contains(ids[:4], id) {
			want = now.UnixMilli()
		}
		if info.Quarantined != want {
			f.Fatalf("%s: quarantined %d, want %d", id, info.Quarantined, want)
		}
	}
	d, err := f.Shards.Digest(f.ctx, storage.IDRange{})
	f.must(err)
	if d.Count != 2 {
		f.Fatalf("digest %+v", d)
	}
	_, err = f.Shards.Create(f.ctx, f.ticket(ids[0]), ids[0], 5)
	f.is(err, storage.ErrExists)
	f.must(f.Shards.Revive(f.ctx, append(slices.Clone(ids[1:3]), ids[5], ID(99))))
	f.EndQuarantine(now.Add(24*time.Hour - time.Millisecond))
	f.holds(ids[0], runs[ids[0]])
	f.EndQuarantine(now.Add(24 * time.Hour))
	for n, id := range ids {
		if n == 0 || n == 3 {
			f.gone(id)
		} else {
			f.holds(id, runs[id])
		}
	}
	st, err := f.Shards.Status(f.ctx)
	f.must(err)
	if st.Quarantined != 0 || st.Shards != 4 {
		f.Fatalf("status %+v", st)
	}
	f.put(ids[0], Payload(0, 3000))
	f.put(ids[3], Payload(3, 3000))
	if after, err := f.Shards.Digest(f.ctx, storage.IDRange{}); err != nil || after != before {
		f.Fatalf("digest %+v, want %+v, %v", after, before, err)
	}
}

func testList(t *testing.T, open Open) {
	f := newFixture(t, open)
	var ids []storage.ShardID
	for n := range uint64(40) {
		for i := range uint8(2) {
			id := storage.ShardID{Blob: storage.MakeBlobID(1, 1, n*n, n), Index: i, Gen: uint32(i + 1)}
			f.put(id, Payload(n, int(n)+1))
			ids = append(ids, id)
		}
	}
	for _, r := range []storage.IDRange{{}, {From: ids[20].Blob}, {To: ids[41].Blob}, {From: ids[4].Blob, To: ids[60].Blob}, {From: ids[4].Blob, To: ids[4].Blob}} {
		var want []storage.ShardID
		var digest storage.Digest
		for _, id := range ids {
			if bytes.Compare(id.Blob[:], r.From[:]) >= 0 && (r.To == (storage.BlobID{}) || bytes.Compare(id.Blob[:], r.To[:]) < 0) {
				want = append(want, id)
				digest.Count++
				digest.XOR ^= frame.Name(id.Blob, id.Index, id.Gen)
			}
		}
		for _, limit := range []int{1, 7, 1000} {
			var got []storage.ShardID
			var after storage.ShardID
			for {
				page, err := f.Shards.List(f.ctx, r, after, limit)
				f.must(err)
				if len(page) == 0 {
					break
				}
				if len(page) > limit {
					f.Fatalf("%d in a page of %d", len(page), limit)
				}
				for _, i := range page {
					got = append(got, i.ID)
				}
				after = got[len(got)-1]
			}
			if !slices.Equal(got, want) {
				f.Fatalf("list %v: %d, want %d", r, len(got), len(want))
			}
		}
		if d, err := f.Shards.Digest(f.ctx, r); err != nil || d != digest {
			f.Fatalf("digest %v: %+v, want %+v, %v", r, d, digest, err)
		}
	}
}

func testReopen(t *testing.T, open Open) {
	f := newFixture(t, open)
	if f.Reopen == nil {
		t.Skip("keeps nothing")
	}
	runs := map[storage.ShardID][]byte{}
	for n, size := range sizes {
		id := ID(uint64(n))
		runs[id] = f.put(id, Payload(uint64(n), size))
	}
	f.must(f.Shards.Delete(f.ctx, []storage.ShardID{ID(1), ID(17)}))
	f.must(f.Shards.Disown(f.ctx, []storage.ShardID{ID(2)}, time.UnixMilli(5)))
	before, err := f.Shards.Status(f.ctx)
	f.must(err)
	w, err := f.Shards.Create(f.ctx, f.ticket(ID(500)), ID(500), 10)
	f.must(err)
	defer w.Abort()
	f.Shards = f.Reopen()
	delete(runs, ID(1))
	delete(runs, ID(17))
	f.gone(ID(1))
	f.gone(ID(17))
	f.gone(ID(500))
	for id, run := range runs {
		f.holds(id, run)
	}
	after, err := f.Shards.Status(f.ctx)
	f.must(err)
	if after.Shards != before.Shards || after.Used != before.Used || after.Quarantined != 1 {
		f.Fatalf("status %+v, was %+v", after, before)
	}
	info, err := f.Shards.Stat(f.ctx, ID(2))
	f.must(err)
	if info.Quarantined != 5 {
		t.Error("quarantine is forgotten")
	}
	f.put(ID(500), Payload(1, 10))
}

// testConcurrent runs random operations from many goroutines, each on shards
// of its own, beside a model.
func testConcurrent(t *testing.T, open Open) {
	f := newFixture(t, open)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	models := make([]map[storage.ShardID][]byte, 16)
	for g := range models {
		models[g] = map[storage.ShardID][]byte{}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			if err := f.worker(rng, models[g], uint64(g)); err != nil {
				t.Errorf("goroutine %d: %v", g, err)
			}
		})
	}
	stop, cancel := context.WithCancel(f.ctx)
	var maint sync.WaitGroup
	maint.Go(func() {
		for stop.Err() == nil {
			f.EndQuarantine(time.UnixMilli(1000))
		}
	})
	wg.Wait()
	cancel()
	maint.Wait()
	if t.Failed() {
		return
	}
	var want storage.Digest
	for _, m := range models {
		for id, run := range m {
			f.holds(id, run)
			want.Count++
			want.XOR ^= frame.Name(id.Blob, id.Index, id.Gen)
		}
	}
	if d, err := f.Shards.Digest(f.ctx, storage.IDRange{}); err != nil || d != want {
		t.Errorf("digest %+v, want %+v, %v", d, want, err)
	}
}

func (f *fixture) worker(rng *rand.Rand, model map[storage.ShardID][]byte, g uint64) error {
	for step := range uint64(60) {
		ids := slices.SortedFunc(maps.Keys(model), func(a, b storage.ShardID) int { return bytes.Compare(a.Blob[:], b.Blob[:]) })
		switch k := rng.IntN(10); {
		case k < 5 || len(ids) == 0:
			id := ID(g<<32 | step)
			size := rng.IntN(60000)
			if k == 0 {
				size = rng.IntN(2 << 20)
			}
			run, seal := Frames(id, Payload(rng.Uint64(), size))
			if err := PutRun(f.ctx, f.Shards, f.ticket(id), id, run, seal, seal.Length); err != nil {
				return err
			}
			model[id] = run
		case k < 8:
			id := ids[rng.IntN(len(ids))]
			got, err := Get(f.ctx, f.Shards, id, 0, -1)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, model[id]) {
				return errors.New("bytes differ")
			}
		default:
			id := ids[rng.IntN(len(ids))]
			if err := f.Shards.Delete(f.ctx, []storage.ShardID{id}); err != nil {
				return err
			}
			delete(model, id)
			if _, err := f.Shards.Stat(f.ctx, id); !errors.Is(err, storage.ErrNotHere) {
				return errors.New("deleted shard is there")
			}
		}
	}
	return nil
}

// peers are the nodes of a rebuild.
type peers map[storage.NodeID]storage.Shards

func (p peers) Shards(id storage.NodeID) (storage.Shards, error) {
	if s := p[id]; s != nil {
		return s, nil
	}
	return nil, storage.ErrOffline
}

func testRebuild(t *testing.T, open Open) {
	for _, scheme := range []erasure.Scheme{erasure.Replicated(3), {Data: 4, Parity: 2}} {
		for _, length := range []int{0, 10, 300000, 5 << 20} {
			t.Run(scheme.String(), func(t *testing.T) {
				t.Parallel()
				rebuildOne(t, open, scheme, length)
			})
		}
	}
}

func rebuildOne(t *testing.T, open Open, scheme erasure.Scheme, length int) {
	all := peers{}
	width := scheme.Width()
	blob := storage.MakeBlobID(1, 1, 5, uint64(length))
	shards := Encode(t, scheme, blob, Payload(3, length))
	var sources []storage.Source
	for i := range width {
		f := &fixture{t, open(t, storage.NodeID(i+1), nil), t.Context()}
		all[f.Shards.Node()] = f.Shards
		id := storage.ShardID{Blob: blob, Index: uint8(i), Gen: 1}
		n, _ := frame.Count(int64(len(shards[i])))
		seal := storage.Seal{Frames: n, Length: int64(len(shards[i])), Sum: frame.SumRun(shards[i])}
		f.must(PutRun(f.ctx, f.Shards, f.ticket(id), id, shards[i], seal, -1))
		if i > 0 {
			sources = append(sources, storage.Source{Index: uint8(i), Placement: storage.Placement{Node: f.Shards.Node(), Gen: 1}})
		}
	}
	f := &fixture{t, open(t, 50, all), t.Context()}
	target := storage.ShardID{Blob: blob, Index: 0, Gen: 2}
	want := Reseed(shards[0], target)
	r := storage.Rebuild{Ticket: *Ticket(blob, storage.OpRepair, 50, f.Epoch), Target: target, Scheme: scheme, Length: int64(length), Sources: sources}
	bad := r
	bad.Ticket.Op = storage.OpWrite
	_, err := f.Shards.Rebuild(f.ctx, &bad)
	f.is(err, storage.ErrTicket)
	if length > 0 {
		bad = r
		bad.Sources = []storage.Source{{Index: 1, Placement: storage.Placement{Node: 99, Gen: 1}}}
		_, err = f.Shards.Rebuild(f.ctx, &bad)
		f.is(err, erasure.ErrTooFew)
		f.gone(target)
	}
	// One source too many is away.
	r.Sources = append([]storage.Source{{Index: 1, Placement: storage.Placement{Node: 99, Gen: 1}}}, sources...)
	for range 2 { // the second finds what the first made
		seal, err := f.Shards.Rebuild(f.ctx, &r)
		f.must(err)
		if seal.Length != scheme.ShardSize(int64(length)) || seal.Sum != frame.SumRun(want) {
			f.Fatalf("seal %+v", seal)
		}
	}
	f.holds(target, want)
}

// Encode returns the stored frames of all shards of a blob, at generation 1.
func Encode(t *testing.T, scheme erasure.Scheme, blob storage.BlobID, payload []byte) [][]byte {
	t.Helper()
	codec, err := stripe.NewCodecs().Codec(scheme)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, scheme.Width())
	enc := codec.NewEncoder(int64(len(payload)))
	for i := range out {
		enc.Shard(blob, uint8(i), 1)
	}
	src, b := bytes.NewReader(payload), codec.NewBatch(4)
	for last := false; !last; {
		if last, err = enc.Fill(src, b); err != nil {
			t.Fatal(err)
		}
		for i := range out {
			out[i] = append(out[i], b.Shard(i)...)
		}
	}
	return out
}

// Reseed gives a shard's frames the checksums of another shard.
func Reseed(run []byte, to storage.ShardID) []byte {
	out := bytes.Clone(run)
	seed := frame.SeedOf(to.Blob, to.Index, to.Gen)
	for n, rest := int64(0), out; len(rest) > 0; n++ {
		k := min(len(rest), frame.Stride)
		seed.Put(n, rest[:k])
		rest = rest[k:]
	}
	return out
}
