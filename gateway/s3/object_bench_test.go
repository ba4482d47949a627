package s3

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/tracker"
)

// oneObject is a catalog of one bucket and one small object, which takes
// whatever is put.
type oneObject struct {
	tracker.Catalog
	b   tracker.Bucket
	obj tracker.Object
	res tracker.PutResult
}

func (o *oneObject) Bucket(context.Context, string) (*tracker.Bucket, error) {
	b := o.b
	return &b, nil
}

func (o *oneObject) GetObject(context.Context, *tracker.GetObject) (*tracker.Object, error) {
	obj := o.obj
	return &obj, nil
}

func (o *oneObject) PutObject(_ context.Context, r *tracker.PutObject) (*tracker.PutResult, error) {
	res := o.res
	res.ETag = r.ETag
	return &res, nil
}

// oneMap is a scheduler that only knows an empty map.
type oneMap struct{ noScheduler }

func (oneMap) Map(context.Context) (*tracker.Map, error) { return &tracker.Map{}, nil }

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	h      http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// benchObject measures the front end alone: routing, signature, headers,
// hashing; no network, no catalog.
func benchObject(b *testing.B, method string, body []byte) {
	keys, err := auth.NewStatic(testUser, testSecret)
	if err != nil {
		b.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), 4096)
	cat := &oneObject{b: tracker.Bucket{ID: 1, Name: "bucket", Owner: "root"}}
	cat.obj = tracker.Object{Inline: data, AllExtents: true, Version: tracker.Version{ID: "null", Modified: time.Now().UnixMilli(), Meta: tracker.Meta{
		ETag: "0123456789abcdef0123456789abcdef", Size: 4096, CRC64NVME: crc64nvme.Checksum(data), HasCRC64: true}}}
	s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: cat, Scheduler: oneMap{}, Keys: keys}, zerolog.Nop(), nil)
	if err != nil {
		b.Fatal(err)
	}
	req, _ := http.NewRequest(method, "http://127.0.0.1:9000/bucket/some/key", nil)
	req.Header.Set("User-Agent", "bench")
	req.Header.Set("Accept-Encoding", "identity")
	sigv4.Sign(req, testUser, testSecret, "us-east-1", sigv4.UnsignedPayload, time.Now())
	req.ContentLength = int64(len(body))
	src := bytes.NewReader(body)
	req.Body = io.NopCloser(src)
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(body)
		w := &sink{h: make(http.Header, 16)}
		r := *req
		s.Handler().ServeHTTP(w, &r)
		if w.status != 200 {
			b.Fatal(w.status)
		}
	}
}

func BenchmarkGet4KiB(b *testing.B) { benchObject(b, "GET", nil) }
func BenchmarkPut4KiB(b *testing.B) { benchObject(b, "PUT", bytes.Repeat([]byte("y"), 4096)) }

// BenchmarkHold takes bodies into memory and hashes them.
func BenchmarkHold(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
			c := headerCall(nil)
			c.s = &Server{blobs: newDataPath(gateway.Deps{Scheduler: noScheduler{}}, nil)}
			src := bytes.NewReader(bytes.Repeat([]byte("y"), size))
			c.r.ContentLength, c.r.Body = int64(size), io.NopCloser(src)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = src.Seek(0, io.SeekStart)
				body, err := c.openBody(bodyOptions{max: maxHeld, etag: true})
				if err != nil {
					b.Fatal(err)
				}
				s, err := c.store(body, 1, "", maxHeld)
				if err != nil {
					b.Fatal(err)
				}
				s.release()
				body.close()
			}
		})
	}
}
