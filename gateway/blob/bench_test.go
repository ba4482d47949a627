package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"holdfast/storage"
)

// nullNode takes shards and forgets them at no cost.
type nullNode struct{ storage.Shards }

type nullWriter struct{}

func (nullNode) Create(context.Context, *storage.Ticket, storage.ShardID, int64) (storage.ShardWriter, error) {
	return nullWriter{}, nil
}
func (nullWriter) Write(p []byte) (int, error)              { return len(p), nil }
func (nullWriter) Seal(context.Context, storage.Seal) error { return nil }
func (nullWriter) Abort()                                   {}

type nullNodes struct{}

func (nullNodes) Shards(storage.NodeID) (storage.Shards, error) { return nullNode{}, nil }

func BenchmarkWrite(b *testing.B) {
	for _, scheme := range []string{"rep-1", "rep-2", "rs-2+2", "rs-4+2"} {
		for _, size := range []int{16 << 10, 10 << 20} {
			b.Run(fmt.Sprintf("%s/%d", scheme, size), func(b *testing.B) {
				c := newCluster(6)
				g, src := c.grant(scheme), bytes.NewReader(content(size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					_, _ = src.Seek(0, io.SeekStart)
					if _, _, err := c.writer.Write(b.Context(), g, nullNodes{}, src, int64(size)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, scheme := range []string{"rep-1", "rep-2", "rs-2+2", "rs-4+2", "rs-4+2 degraded"} {
		for _, size := range []int{16 << 10, 10 << 20} {
			b.Run(fmt.Sprintf("%s/%d", scheme, size), func(b *testing.B) {
				c := newCluster(6)
				name, degraded := scheme, false
				if len(name) > 6 {
					name, degraded = name[:6], true
				}
				blob := c.write(b, name, content(size))
				if degraded {
					blob.Shards[1] = storage.Placement{}
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s, err := c.reader.Open(b.Context(), blob, 0, -1, Options{Nodes: c})
					if err != nil {
						b.Fatal(err)
					}
					if n, err := s.WriteTo(discard{}); err != nil || n != int64(size) {
						b.Fatal(n, err)
					}
					_ = s.Close()
				}
			})
		}
	}
}

// discard is a writer that io.Discard's shortcuts do not see.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// zeros is a source of n bytes.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.n)
	z.n -= n
	return int(n), nil
}

// TestMemory: 16 uploads of 128 MiB beside 16 downloads under rs-2+2, one node
// missing, hold a few MiB each.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 4 GiB")
	}
	const streams = 16
	c := newCluster(4)
	blob := c.write(t, "rs-2+2", content(16<<20))
	blob.Shards[1] = storage.Placement{}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for i := range streams {
		g := c.grant("rs-2+2")
		g.Shards[i%4] = storage.Placement{}
		wg.Go(func() {
			if _, _, err := c.writer.Write(t.Context(), g, nullNodes{}, &zeros{128 << 20}, 128<<20); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for range 8 {
				s, err := c.reader.Open(t.Context(), blob, 0, -1, Options{Nodes: c})
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := s.WriteTo(discard{}); err != nil || n != 16<<20 {
					t.Error(n, err)
				}
				_ = s.Close()
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapSys+after.StackSys) - int64(before.HeapSys+before.StackSys)
	t.Logf("heap grew by %d MiB, %d MiB allocated", grown>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
	if grown > 160<<20 {
		t.Errorf("heap grew by %d MiB for %d streams", grown>>20, 2*streams)
	}
	c.idle(t)
}
