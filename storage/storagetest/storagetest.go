// Package storagetest is the conformance suite of storage.Shards: the real
// node, the fake and the remote client all must pass it. It also holds the
// helpers that make and read shards, for other tests.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/storage"
)

// Target is what is tested: a fresh, empty node.
type Target struct {
	Shards storage.Shards
	Epoch  uint32
	// SetEpoch raises the epoch that tickets must name.
	SetEpoch func(uint32)
	// EndQuarantine ends the quarantine of what was disowned 24 h before now.
	EndQuarantine func(now time.Time)
	// Reopen closes the node and opens it again; nil if it cannot be.
	Reopen func() storage.Shards
}

// Open makes a Target with the given node id, whose rebuilds find other nodes
// through nodes.
type Open func(t *testing.T, id storage.NodeID, nodes storage.Nodes) Target

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"WriteRead":  testWriteRead,
		"Ranges":     testRanges,
		"Tickets":    testTickets,
		"Renew":      testRenew,
		"Exists":     testExists,
		"BadFrames":  testBadFrames,
		"BadSeal":    testBadSeal,
		"Abort":      testAbort,
		"Cancel":     testCancel,
		"Delete":     testDelete,
		"Quarantine": testQuarantine,
		"List":       testList,
		"Reopen":     testReopen,
		"Concurrent": testConcurrent,
		"Rebuild":    testRebuild,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

// ID returns a shard id that differs for each n.
func ID(n uint64) storage.ShardID {
	return storage.ShardID{Blob: storage.MakeBlobID(1, 2, n>>16, n), Index: uint8(n % 5), Gen: uint32(1 + n%3)}
}

// Ticket returns a ticket for one node.
func Ticket(blob storage.BlobID, op storage.Operation, node storage.NodeID, epoch uint32) *storage.Ticket {
	return &storage.Ticket{Blob: blob, Op: op, Expiry: 1 << 41, Nodes: []storage.Grantee{{Node: node, Epoch: epoch}}}
}

// Payload returns n bytes that differ for each seed.
func Payload(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 99))
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	for i := n &^ 7; i < n; i++ {
		b[i] = byte(seed) + byte(i)
	}
	return b
}

// Frames cuts a payload into the stored frames of a shard, and returns its
// seal.
func Frames(id storage.ShardID, payload []byte) ([]byte, storage.Seal) {
	var run []byte
	seed := frame.SeedOf(id.Blob, id.Index, id.Gen)
	for n := int64(0); len(payload) > 0; n++ {
		k, at := min(len(payload), erasure.FrameSize), len(run)
		run = append(append(run, payload[:k]...), make([]byte, erasure.SumSize)...)
		seed.Put(n, run[at:])
		payload = payload[k:]
	}
	n, _ := frame.Count(int64(len(run)))
	return run, storage.Seal{Frames: n, Length: int64(len(run)), Sum: frame.SumRun(run)}
}

// Put writes and seals a shard in pieces of up to 4 frames, telling its size.
func Put(ctx context.Context, s storage.Shards, t *storage.Ticket, id storage.ShardID, payload []byte) error {
	run, seal := Frames(id, payload)
	return PutRun(ctx, s, t, id, run, seal, seal.Length)
}

// PutRun writes stored frames and seals them.
func PutRun(ctx context.Context, s storage.Shards, t *storage.Ticket, id storage.ShardID, run []byte, seal storage.Seal, size int64) error {
	w, err := s.Create(ctx, t, id, size)
	if err != nil {
		return err
	}
	defer w.Abort()
	scratch := make([]byte, 4*frame.Stride)
	for len(run) > 0 {
		k := copy(scratch, run) // Write may overwrite what it is given
		if _, err := w.Write(scratch[:k]); err != nil {
			return err
		}
		run = run[k:]
	}
	return w.Seal(ctx, seal)
}

// Get reads frames [first, first+n) of a shard.
func Get(ctx context.Context, s storage.Shards, id storage.ShardID, first, n int64) ([]byte, error) {
	r, err := s.Open(ctx, id, first, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return ReadAll(r)
}

// ReadAll reads a reader to its end.
func ReadAll(r storage.ShardReader) ([]byte, error) {
	var out []byte
	buf := make([]byte, 3*frame.Stride+100)
	for {
		n, err := r.ReadFrames(buf)
		out = append(out, buf[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if n == 0 {
			return out, io.ErrNoProgress
		}
	}
}

// fixture is a target and what most tests need.
type fixture struct {
	*testing.T
	Target
	ctx context.Context
}

func newFixture(t *testing.T, open Open) *fixture {
	return &fixture{t, open(t, 7, nil), t.Context()}
}

func (f *fixture) ticket(id storage.ShardID) *storage.Ticket {
	return Ticket(id.Blob, storage.OpWrite, f.Shards.Node(), f.Epoch)
}

func (f *fixture) put(id storage.ShardID, payload []byte) []byte {
	f.Helper()
	run, seal := Frames(id, payload)
	f.must(PutRun(f.ctx, f.Shards, f.ticket(id), id, run, seal, seal.Length))
	return run
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) is(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("error %v, want %v", err, want)
	}
}

func (f *fixture) holds(id storage.ShardID, run []byte) {
	f.Helper()
	got, err := Get(f.ctx, f.Shards, id, 0, -1)
	if err != nil {
		f.Fatalf("shard %s: %v", id, err)
	}
	if !bytes.Equal(got, run) {
		f.Fatalf("shard %s: %d bytes differ from %d written", id, len(got), len(run))
	}
}

func (f *fixture) gone(id storage.ShardID) {
	f.Helper()
	_, err := f.Shards.Open(f.ctx, id, 0, -1)
	f.is(err, storage.ErrNotHere)
	_, err = f.Shards.Stat(f.ctx, id)
	f.is(err, storage.ErrNotHere)
	infos, err := f.Shards.List(f.ctx, storage.IDRange{}, storage.ShardID{}, 10000)
	f.must(err)
	for _, i := range infos {
		if i.ID == id {
			f.Fatalf("shard %s is listed", id)
		}
	}
}

// sizes are payload lengths around every limit there is.
var sizes = []int{0, 1, 8, 100, 3900, 4096, 4097, 16384, 65535, 65536, 65537, 200000,
	1<<20 - 200, 1<<20 - 128, 1<<20 - 127, 1 << 20, 1<<20 + 1, 3<<20 + 77}

func testWriteRead(t *testing.T, open Open) {
	f := newFixture(t, open)
	var used, shards int64
	n := uint64(0)
	for _, size := range sizes {
		for _, hint := range []int64{-1, int64(size), 1, 2 << 20} {
			n++
			id := ID(n)
			run, seal := Frames(id, Payload(n, size))
			f.must(PutRun(f.ctx, f.Shards, f.ticket(id), id, run, seal, hint))
			f.holds(id, run)
			info, err := f.Shards.Stat(f.ctx, id)
			f.must(err)
			if want := (storage.ShardInfo{ID: id, Seal: seal, Expiry: 1 << 41}); info != want {
				f.Fatalf("stat %+v, want %+v", info, want)
			}
			used += seal.Length
			shards++
		}
	}
	st, err := f.Shards.Status(f.ctx)
	f.must(err)
	if st.Node != f.Shards.Node() || st.Used != used || st.Shards != shards || st.Writes != uint64(shards) || st.ReadOnly || st.Bad != 0 {
		f.Fatalf("status %+v, want %d bytes in %d shards", st, used, shards)
	}
	f.gone(ID(n + 1))
}

func testRanges(t *testing.T, open Open) {
	f := newFixture(t, open)
	for n, size := range []int{0, 50, 5*erasure.FrameSize + 10, 40 * erasure.FrameSize} {
		id := ID(uint64(n))
		run := f.put(id, Payload(9, size))
		frames, _ := frame.Count(int64(len(run)))
		for first := int64(0); first <= frames+1; first += 1 + frames/7 {
			for _, k := range []int64{-1, 0, 1, 2, frames, frames + 5, 1 << 40} {
				from := min(first*frame.Stride, int64(len(run)))
				to := int64(len(run))
				if k >= 0 && k < 1<<20 {
					to = min(to, from+k*frame.Stride)
				}
				got, err := Get(f.ctx, f.Shards, id, first, k)
				f.must(err)
				if !bytes.Equal(got, run[from:to]) {
					f.Fatalf("frames %d and %d on of %d: %d bytes, want %d", first, k, frames, len(got), to-from)
				}
			}
		}
	}
	r, err := f.Shards.Open(f.ctx, ID(2), 0, -1)
	f.must(err)
	defer r.Close()
	if n, err := r.ReadFrames(make([]byte, frame.Stride-1)); n != 0 || err == nil || err == io.EOF {
		f.Fatalf("half a frame: %d, %v", n, err)
	}
	if n, err := r.ReadFrames(make([]byte, 2*frame.Stride-1)); n != frame.Stride || err != nil {
		f.Fatalf("room for one frame: %d, %v", n, err)
	}
}

func testTickets(t *testing.T, open Open) {
	f := newFixture(t, open)
	id, node := ID(1), f.Shards.Node()
	for name, c := range map[string]struct {
		ticket *storage.Ticket
		want   error
	}{
		"none":        {nil, storage.ErrTicket},
		"other node":  {Ticket(id.Blob, storage.OpWrite, node+1, f.Epoch), storage.ErrTicket},
		"other blob":  {Ticket(ID(2).Blob, storage.OpWrite, node, f.Epoch), storage.ErrTicket},
		"read":        {Ticket(id.Blob, storage.OpRead, node, f.Epoch), storage.ErrTicket},
		"old epoch":   {Ticket(id.Blob, storage.OpWrite, node, f.Epoch-1), storage.ErrStaleEpoch},
		"later epoch": {Ticket(id.Blob, storage.OpWrite, node, f.Epoch+1), storage.ErrStaleEpoch},
	} {
		if _, err := f.Shards.Create(f.ctx, c.ticket, id, 10); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.must(Put(f.ctx, f.Shards, Ticket(id.Blob, storage.OpRepair, node, f.Epoch), id, Payload(1, 10)))
	f.SetEpoch(f.Epoch + 1)
	err := Put(f.ctx, f.Shards, f.ticket(ID(3)), ID(3), Payload(1, 10))
	f.is(err, storage.ErrStaleEpoch)
	f.Epoch++
	f.put(ID(3), Payload(1, 10))
}

func testExists(t *testing.T, open Open) {
	f := newFixture(t, open)
	for n, size := range []int{100, 2 << 20} {
		id := ID(uint64(n))
		run, seal := Frames(id, Payload(1, size))
		w, err := f.Shards.Create(f.ctx, f.ticket(id), id, seal.Length)
		f.must(err)
		_, err = f.Shards.Create(f.ctx, f.ticket(id), id, seal.Length)
		f.is(err, storage.ErrExists)
		for i := 0; i < len(run); i += frame.Stride {
			_, err = w.Write(bytes.Clone(run[i:min(len(run), i+frame.Stride)]))
			f.must(err)
		}
		f.must(w.Seal(f.ctx, seal))
		w.Abort()
		f.is(w.Seal(f.ctx, seal), storage.ErrSeal)
		if _, err := w.Write(run[:min(len(run), frame.Stride)]); err == nil {
			t.Fatal("written after the seal")
		}
		_, err = f.Shards.Create(f.ctx, f.ticket(id), id, seal.Length)
		f.is(err, storage.ErrExists)
		f.holds(id, run)
		other := id
		other.Gen++
		f.put(other, Payload(2, size))
		f.holds(id, run)
	}
}

func testBadFrames(t *testing.T, open Open) {
	f := newFixture(t, open)
	id := ID(1)
	good, seal := Frames(id, Payload(1, 3*erasure.FrameSize+500))
	wrong, _ := Frames(ID(2), Payload(1, 3*erasure.FrameSize+500))
	flipped := bytes.Clone(good)
	flipped[2*frame.Stride+17] ^= 4
	swapped := append(bytes.Clone(good[frame.Stride:2*frame.Stride]), good[:frame.Stride]...)
	for name, runs := range map[string][][]byte{
		"flipped":     {flipped},
		"other shard": {wrong},
		"swapped":     {swapped},
		"cut":         {good[:len(good)-1]},
		"half":        {good[:frame.Stride/2], good[frame.Stride/2 : frame.Stride]},
		"after short": {good, good[:frame.Stride]},
		"no payload":  {good[:frame.Stride], good[:8]},
	} {
		for _, hint := range []int64{seal.Length, 4 << 20} {
			w, err := f.Shards.Create(f.ctx, f.ticket(id), id, hint)
			f.must(err)
			for _, run := range append(runs, good) { // good, so that the writer is seen to be poisoned
				if _, werr := w.Write(bytes.Clone(run)); err == nil {
					err = werr
				}
			}
			serr := w.Seal(f.ctx, seal)
			if err == nil {
				err = serr
			}
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
			if serr == nil {
				t.Errorf("%s: sealed", name)
			}
			f.gone(id)
		}
	}
	f.put(id, Payload(1, 10))
}

func testBadSeal(t *testing.T, open Open) {
	f := newFixture(t, open)
	id := ID(1)
	for _, size := range []int{0, 300, 70000, 2 << 20} {
		run, seal := Frames(id, Payload(1, size))
		for _, bad := range []storage.Seal{
			{Frames: seal.Frames + 1, Length: seal.Length, Sum: seal.Sum},
			{Frames: seal.Frames, Length: seal.Length + 1, Sum: seal.Sum},
			{Frames: seal.Frames, Length: seal.Length, Sum: seal.Sum + 1},
		} {
			f.is(PutRun(f.ctx, f.Shards, f.ticket(id), id, run, bad, -1), storage.ErrSeal)
			f.gone(id)
		}
		if size > 0 { // a body that was cut at a frame's end
			f.is(PutRun(f.ctx, f.Shards, f.ticket(id), id, run[:(seal.Frames-1)*frame.Stride], seal, -1), storage.ErrSeal)
			f.gone(id)
		}
	}
}

func testAbort(t *testing.T, open Open) {
	f := newFixture(t, open)
	for n, size := range []int{100, 2 << 20} {
		id := ID(uint64(n))
		run, seal := Frames(id, Payload(1, size))
		for _, written := range []int{0, min(len(run), frame.Stride)} {
			w, err := f.Shards.Create(f.ctx, f.ticket(id), id, seal.Length)
			f.must(err)
			if written > 0 {
				_, err = w.Write(bytes.Clone(run[:written]))
				f.must(err)
			}
			w.Abort()
			w.Abort()
			f.is(w.Seal(f.ctx, seal), storage.ErrSeal)
			f.gone(id)
		}
		f.put(id, Payload(3, size))
	}
}

func testCancel(t *testing.T, open Open) {
	f := newFixture(t, open)
	done, cancel := context.WithCancel(f.ctx)
	cancel()
	id := ID(1)
	if _, err := f.Shards.Create(done, f.ticket(id), id, 10); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	run, seal := Frames(id, Payload(1, 1000))
	w, err := f.Shards.Create(f.ctx, f.ticket(id), id, 10)
	f.must(err)
	_, err = w.Write(bytes.Clone(run))
	f.must(err)
	if err := w.Seal(done, seal); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	f.gone(id)
	f.put(id, Payload(1, 1000))
	for name, call := range map[string]func() error{
		"open":   func() error { _, err := f.Shards.Open(done, id, 0, -1); return err },
		"stat":   func() error { _, err := f.Shards.Stat(done, id); return err },
		"delete": func() error { return f.Shards.Delete(done, []storage.ShardID{id}) },
		"disown": func() error { return f.Shards.Disown(done, []storage.ShardID{id}, time.UnixMilli(1)) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.holds(id, run)
}
