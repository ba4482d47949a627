package sigv4

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

func benchRequest(b *testing.B) *http.Request {
	r, err := http.NewRequest(http.MethodPut, "http://127.0.0.1:9000/bench-bucket/path/to/object-0001?x-id=PutObject", nil)
	if err != nil {
		b.Fatal(err)
	}
	for k, v := range map[string]string{"Accept-Encoding": "identity", "Amz-Sdk-Invocation-Id": "a5b9e1d2", "Amz-Sdk-Request": "attempt=1; max=3",
		"Content-Type": "application/octet-stream", "X-Amz-Meta-Owner": "someone", "User-Agent": "bench"} {
		r.Header.Set(k, v)
	}
	Sign(r, exampleKey, exampleSecret, "us-east-1", UnsignedPayload, exampleTime)
	r.Host = r.URL.Host
	return r
}

func BenchmarkVerifyHeader(b *testing.B) {
	v, r := exampleVerifier(b), benchRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyPresigned(b *testing.B) {
	v, r := exampleVerifier(b), benchRequest(b)
	r.Header = http.Header{}
	r.URL = Presign(r, exampleKey, exampleSecret, "us-east-1", time.Hour, exampleTime)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s, r := NewSigner(exampleKey, exampleSecret, "us-east-1"), benchRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(r, UnsignedPayload, exampleTime)
	}
}

func BenchmarkBody(b *testing.B) {
	v := exampleVerifier(b)
	for _, payload := range []Payload{Unsigned, Signed, Chunked, ChunkedTrailer, UnsignedTrailer} {
		for _, size := range []int{4 << 10, 1 << 20} {
			name := [...]string{"unsigned", "signed", "chunked", "chunked-trailer", "unsigned-trailer"}[payload]
			b.Run(name+"/"+[2]string{"4KiB", "1MiB"}[size>>20], func(b *testing.B) {
				u := newUpload(payload, bytes.Repeat([]byte{'x'}, size), 64<<10)
				res := u.verify(b, v)
				src, buf := bytes.NewReader(u.wire), make([]byte, 128<<10)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					src.Reset(u.wire)
					body := NewBody(src, res, int64(len(u.wire)))
					for {
						if _, err := body.Read(buf); err == io.EOF {
							break
						} else if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
