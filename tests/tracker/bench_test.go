package tracker

import (
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"holdfast/erasure"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/storage/memory"
	"holdfast/tracker"
	"holdfast/tracker/catalog/catalogtest"
	"holdfast/tracker/service"
	"holdfast/tracker/worker"
)

// BenchmarkCensus reads every blob's row of a catalog once.
func BenchmarkCensus(b *testing.B) {
	const blobs = 20_000
	log, clk := catalogtest.New(b), clock.NewManual(begin)
	cat := service.NewCatalog(log, clk)
	cfg := service.Default()
	cfg.Poll = false
	fl := &fleet{nodes: map[storage.NodeID]*memory.Node{}}
	svc, err := service.New(cfg, cat, cat, cat, fl, clk, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	g, err := svc.RegisterGroup(b.Context(), tracker.Group{Name: "default", Scheme: erasure.Scheme{Data: 4, Parity: 2}})
	if err != nil {
		b.Fatal(err)
	}
	for range 8 {
		if _, err := svc.RegisterNode(b.Context(), tracker.Node{Group: g.ID}); err != nil {
			b.Fatal(err)
		}
	}
	bucket, err := cat.CreateBucket(b.Context(), &tracker.CreateBucket{Name: "bucket"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range blobs {
		gr, err := svc.Place(b.Context(), &tracker.PlaceRequest{Size: 4096})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := cat.PutObject(b.Context(), &tracker.PutObject{Bucket: bucket.ID, Key: fmt.Sprint(i), Meta: tracker.Meta{ETag: "0123456789abcdef0123456789abcdef", Size: 4096},
			Blobs: []tracker.NewBlob{{Blob: tracker.Blob{ID: gr.Blob, Scheme: gr.Scheme, Length: 4096, Shards: gr.Shards}, Expiry: gr.Ticket.Expiry}}}); err != nil {
			b.Fatal(err)
		}
	}
	w, err := worker.New(worker.Default(), svc, worker.NewStore(cat, worker.DefaultRetention()), fl, clk, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Begin(1)
		for {
			wait, err := w.Step(b.Context(), "census")
			if err != nil {
				b.Fatal(err)
			}
			if wait > 0 {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/blobs, "ns/blob")
}
