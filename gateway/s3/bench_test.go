package s3

import (
	"io"
	"net/http"
	"testing"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/gateway"
)

// discard is a ResponseWriter that keeps nothing but its header map.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkFront is what the front end adds to a request: routing, the
// signature, authorisation, metrics, and the access log where there is one.
func BenchmarkFront(b *testing.B) {
	keys, _ := auth.NewStatic(testUser, testSecret)
	cat := newFrontCatalog()
	cat.put("bucket")
	for _, c := range []struct {
		name string
		opts []Option
		part func(s *Server) http.Handler
	}{
		{"whole", nil, func(s *Server) http.Handler { return s.Handler() }},
		{"logged", []Option{WithAccessLog(io.Discard)}, func(s *Server) http.Handler { return s.Handler() }},
		{"no-mux", nil, func(s *Server) http.Handler { return s }},
		{"verify", nil, func(s *Server) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if _, err := s.verifier.Verify(r); err != nil {
					b.Fatal(err)
				}
			})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: cat, Scheduler: noScheduler{}, Keys: keys}, zerolog.Nop(), nil, c.opts...)
			if err != nil {
				b.Fatal(err)
			}
			req, _ := http.NewRequest("HEAD", "http://127.0.0.1:9000/bucket", nil)
			req.Header.Set("User-Agent", "aws-sdk-go-v2/1.0")
			req.Header.Set("Accept-Encoding", "identity")
			req.Header.Set("Amz-Sdk-Invocation-Id", "a-b-c")
			sign(b, req, nil)
			h := c.part(s)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(&discard{make(http.Header, 8)}, req)
			}
		})
	}
}
