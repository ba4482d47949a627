package checksum

import (
	"bytes"
	"crypto/md5"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestManyStreams has more streams at once than a server of lanes has buffers,
// each stopping within a block and going on once all have, as slow clients do.
// A server with too many hangs only now and then, so they are counted too.
func TestManyStreams(t *testing.T) {
	const streams = 200
	p := NewMD5Pool()
	defer p.Close()
	all := make([]byte, streams*1000+200_000)
	rand.NewChaCha8([32]byte{1}).Read(all)
	for round := range 3 { // those cut short in one round must not hold up the next
		var wg, head sync.WaitGroup
		head.Add(streams)
		for i := range streams {
			body := all[i*1000:][:100_000+i]
			wg.Go(func() {
				h := p.New(-1)
				defer h.Close()
				h.Write(body[:1])
				head.Done()
				head.Wait()
				p.mu.Lock()
				for _, s := range p.server {
					if s.streams > maxStreams {
						t.Errorf("%d streams in one server", s.streams)
					}
				}
				p.mu.Unlock()
				if i%3 == round { // cut off: never summed
					h.Write(body[1:64])
					return
				}
				for rest := body[1:]; len(rest) > 0; {
					n := min(len(rest), 777*(1+i%50))
					h.Write(rest[:n])
					rest = rest[n:]
				}
				if want := md5.Sum(body); !bytes.Equal(h.Sum(nil), want[:]) {
					t.Errorf("stream %d has another MD5", i)
				}
			})
		}
		wg.Wait()
	}
}

// TestStreamsLeaveNothing: what a stream took is used by those after it.
func TestStreamsLeaveNothing(t *testing.T) {
	p := NewMD5Pool()
	defer p.Close()
	some := func(n int) {
		for range n {
			var hs [2 * crowd]*MD5Hash
			for i := range hs {
				hs[i] = p.New(-1)
				hs[i].Write(make([]byte, 200))
			}
			for i, h := range hs {
				if i%2 == 0 {
					h.Sum(nil)
				}
				h.Close()
			}
		}
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	some(10)
	before := heap()
	some(1000)
	if after := heap(); after > before+100<<10 {
		t.Errorf("8,000 streams left %d bytes", after-before)
	}
}
