package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage"
)

func benchNode(tb testing.TB) *Node {
	tb.Helper()
	dir := tb.TempDir()
	if err := Format(vfs.OS(), dir, Identity{Cluster: "bench", Node: 1}); err != nil {
		tb.Fatal(err)
	}
	n, err := Open(context.Background(), Config{Dir: dir, Cluster: "bench", Node: 1, Epoch: 1, Logger: zerolog.Nop(), Reserve: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}

// put writes one shard of a single size as the gateway does.
func put(n *Node, blob uint64, payload []byte) error {
	w, seal, err := begin(n, blob, payload)
	if err != nil {
		return err
	}
	return w.Seal(context.Background(), seal)
}

// begin is put but for the seal.
func begin(n *Node, blob uint64, payload []byte) (storage.ShardWriter, storage.Seal, error) {
	id := storage.ShardID{Blob: storage.MakeBlobID(1, 1, blob>>20, blob), Gen: 1}
	t := &storage.Ticket{Blob: id.Blob, Op: storage.OpWrite, Nodes: []storage.Grantee{{Node: 1, Epoch: 1}}}
	seed := frame.SeedOf(id.Blob, 0, 1)
	run := make([]byte, 0, len(payload)+(len(payload)/erasure.FrameSize+1)*erasure.SumSize)
	for i := int64(0); len(payload) > 0; i++ {
		k := min(len(payload), erasure.FrameSize)
		at := len(run)
		run = append(append(run, payload[:k]...), make([]byte, erasure.SumSize)...)
		seed.Put(i, run[at:])
		payload = payload[k:]
	}
	frames, _ := frame.Count(int64(len(run)))
	seal := storage.Seal{Frames: frames, Length: int64(len(run)), Sum: frame.SumRun(run)}
	w, err := n.Create(context.Background(), t, id, int64(len(run)))
	if err == nil {
		_, err = w.Write(run)
	}
	return w, seal, err
}

func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10, 256 << 10, 4 << 20} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%dK/%d", size>>10, writers), func(b *testing.B) {
				n := benchNode(b)
				payload := make([]byte, size)
				var next atomic.Uint64
				var wg sync.WaitGroup
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				start := cpu()
				for range writers {
					wg.Go(func() {
						for i := next.Add(1); i <= uint64(b.N); i = next.Add(1) {
							if err := put(n, i, payload); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(cpu()-start)/float64(b.N)/1e3, "cpu-us/op")
				s, _ := n.Status(context.Background())
				b.ReportMetric(float64(s.Syncs)/float64(s.Writes), "syncs/op")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			n := benchNode(b)
			for i := range uint64(200) {
				if err := put(n, i, make([]byte, size)); err != nil {
					b.Fatal(err)
				}
			}
			buf := make([]byte, size+size/erasure.FrameSize*8+16)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				i = (i + 1) % 200
				r, err := n.Open(context.Background(), storage.ShardID{Blob: storage.MakeBlobID(1, 1, i>>20, i), Gen: 1}, 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				if k, err := r.ReadFrames(buf); err != nil || k < size {
					b.Fatal(k, err)
				}
				r.Close()
			}
		})
	}
}
