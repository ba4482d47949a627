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

// BenchmarkWriteStream is BenchmarkWrite with a source that is not in memory.
func BenchmarkWriteStream(b *testing.B) {
	for _, scheme := range []string{"rep-1", "rs-2+2"} {
		for _, size := range []int{16 << 10, 2 << 20, 10 << 20, 64 << 20} {
			b.Run(fmt.Sprintf("%s/%d", scheme, size), func(b *testing.B) {
				c := newCluster(6)
				g, src := c.grant(scheme), bytes.NewReader(content(size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					_, _ = src.Seek(0, io.SeekStart)
					if _, _, err := c.writer.Write(b.Context(), g, nullNodes{}, struct{ io.Reader }{src}, int64(size)); err != nil {
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

// pausing is a source that stops after some bytes until it is let go on.
type pausing struct {
	data   []byte
	at     int
	pause  int
	paused *sync.WaitGroup
	gate   chan struct{}
}

func (p *pausing) Read(b []byte) (int, error) {
	switch {
	case p.at == p.pause:
		p.pause = -1
		p.paused.Done()
		<-p.gate
	case p.at == len(p.data):
		return 0, io.EOF
	}
	end := len(p.data)
	if p.pause >= 0 {
		end = p.pause
	}
	n := copy(b, p.data[p.at:end])
	p.at += n
	return n, nil
}

// TestMemoryOfSlowStreams: a stream holds memory for the bytes that came, not
// for those that were announced.
func TestMemoryOfSlowStreams(t *testing.T) {
	const streams = 50
	data := content(3 << 20)
	for _, scheme := range []string{"rep-1", "rs-8+4"} {
		for _, size := range []int{len(data), 100_000, -1} {
			for _, pause := range []int{0, 1000, 20_000, 90_000, 400_000} {
				if size >= 0 && pause > size {
					continue
				}
				name := fmt.Sprintf("%s, %d of %d bytes", scheme, pause, size)
				c := newCluster(mustScheme(scheme).Width())
				sent := data
				if size >= 0 {
					sent = data[:size]
				}
				before := heap()
				gate := make(chan struct{})
				var wg, paused sync.WaitGroup
				paused.Add(streams)
				for range streams {
					g := c.grant(scheme)
					wg.Go(func() {
						src := &pausing{data: sent, pause: pause, paused: &paused, gate: gate}
						b, _, err := c.writer.Write(t.Context(), g, nullNodes{}, src, int64(size))
						if err != nil || b.Length != int64(len(sent)) {
							t.Errorf("%s: %d bytes, %v", name, b.Length, err)
						}
					})
				}
				paused.Wait()
				each := (heap() - before) / streams
				if limit := int64(5*pause + 8<<10); each > limit {
					t.Errorf("%s: %d bytes of heap each, want at most %d", name, each, limit)
				}
				close(gate)
				wg.Wait()
			}
		}
	}
}

// heap is the number of bytes on the heap without what pools keep.
func heap() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
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
