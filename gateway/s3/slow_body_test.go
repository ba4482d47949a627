package s3

import (
	"io"
	"runtime"
	"sync"
	"testing"

	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/gateway/route"
	"holdfast/gateway/s3err"
)

// slowOverhead is what the heap holds for a slow body beside its bytes: the
// call, what the test itself makes for it, and the first piece, with a reader
// of 2 KiB where the body comes in chunks.
const slowOverhead = 6 << 10

// halfSent is a request body that stops after n bytes until it is cut.
type halfSent struct {
	n      int
	paused *sync.WaitGroup
	cut    chan struct{}
}

func (h *halfSent) Read(p []byte) (int, error) {
	if h.n == 0 {
		h.paused.Done()
		<-h.cut
		return 0, io.ErrUnexpectedEOF
	}
	n := min(h.n, len(p))
	clear(p[:n])
	h.n -= n
	return n, nil
}

func (h *halfSent) Close() error { return nil }

// TestMemoryOfSlowBodies: what a client announces takes no memory before it
// comes, whatever the body is for.
func TestMemoryOfSlowBodies(t *testing.T) {
	const clients = 50
	s := &Server{cfg: gateway.DefaultConfig(), blobs: newDataPath(gateway.Deps{Scheduler: noScheduler{}}, nil)}
	for range 4 { // so that the lanes, which all share, are there
		defer s.blobs.md5.New(-1).Close()
	}
	put := func(c *call) error {
		b, err := c.openBody(bodyOptions{max: gateway.MaxPut, etag: true})
		if err == nil {
			defer b.close()
			_, err = c.store(b, 1, "", s.cfg.InlineLimit)
		}
		return err
	}
	framed := func(c *call) error {
		c.auth.Payload, c.auth.DecodedLength = sigv4.UnsignedTrailer, 100_000
		return put(c)
	}
	document := func(c *call) error {
		_, err := c.readDocument(gateway.MaxLargeXML)
		return err
	}
	for _, tc := range []struct {
		name   string
		do     func(*call) error
		length int64
		sent   []int
	}{
		{"small object", put, 4096, []int{0, 500, 2000}},
		{"framed object", framed, 100_000, []int{0, 200}},
		{"inline object", put, 8 << 10, []int{0, 1000, 5000}},
		{"packed object", put, 100_000, []int{0, 1000, 5000, 20_000, 70_000}},
		{"large object", put, maxHeld, []int{0, 1000, 5000, 20_000, 70_000, 300_000}},
		{"object of unknown length", put, -1, []int{0, 1000, 5000}},
		{"document", document, gateway.MaxLargeXML, []int{0, 1000, 20_000, 300_000}},
		{"document of unknown length", document, -1, []int{0, 1000, 20_000, 300_000}},
	} {
		for _, n := range tc.sent {
			before := heapInUse()
			cut := make(chan struct{})
			var wg, paused sync.WaitGroup
			paused.Add(clients)
			for range clients {
				wg.Go(func() {
					c := headerCall(nil)
					c.s, c.op = s, &route.Operation{Name: "DeleteObjects"}
					c.r.ContentLength, c.r.Body = tc.length, &halfSent{n, &paused, cut}
					if err := tc.do(c); s3err.From(err).Code != s3err.IncompleteBody {
						t.Errorf("%s, %d of %d bytes: %v", tc.name, n, tc.length, err)
					}
				})
			}
			paused.Wait()
			each := (heapInUse() - before) / clients
			if limit := int64(5*n + slowOverhead); each > limit {
				t.Errorf("%s, %d of %d bytes: %d bytes of heap each, want at most %d", tc.name, n, tc.length, each, limit)
			}
			close(cut)
			wg.Wait()
		}
	}
}

// heapInUse is the number of bytes on the heap without what pools keep.
func heapInUse() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
