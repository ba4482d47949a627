package sigv4

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/internal/fault"
)

// checkKind fails for an error that is not the caller's fault.
func checkKind(t *testing.T, err error) {
	t.Helper()
	if k := fault.KindOf(err); err != nil && k != fault.Invalid && k != fault.Denied {
		t.Fatalf("kind %v: %v", k, err)
	}
}

func FuzzChunkReader(f *testing.F) {
	v := exampleVerifier(f)
	var results []*Result
	for _, p := range []Payload{Chunked, ChunkedTrailer, UnsignedTrailer} {
		u := newUpload(p, []byte("hello, world"), 5)
		f.Add(byte(len(results)), u.wire)
		results = append(results, u.verify(f, v))
	}
	f.Add(byte(2), []byte("fffffffffffffff\r\nx"))
	f.Fuzz(func(t *testing.T, mode byte, wire []byte) {
		res := results[int(mode)%len(results)]
		got, err := io.ReadAll(NewBody(bytes.NewReader(wire), res, int64(len(wire))))
		checkKind(t, err)
		if int64(len(got)) > res.DecodedLength || err == nil && int64(len(got)) != res.DecodedLength {
			t.Fatalf("%d bytes of %d, %v", len(got), res.DecodedLength, err)
		}
		again, err2 := io.ReadAll(iotest.OneByteReader(NewBody(iotest.OneByteReader(bytes.NewReader(wire)), res, -1)))
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(got, again) {
			t.Fatalf("%v and %v", err, err2)
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	for _, tc := range published {
		if _, h, ok := strings.Cut(tc.request, "Authorization: "); ok {
			f.Add(h, "/bucket/key?a=b", "20130524T000000Z")
		}
	}
	f.Add(Algorithm+" "+exampleScope+", SignedHeaders=host;a, Signature=", "/%2f?%zz", "Fri, 24 May 2013 00:00:00 GMT")
	v := exampleVerifier(f)
	f.Fuzz(func(t *testing.T, header, target, date string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: "GET", URL: u, Host: "h", Header: http.Header{"Authorization": {header}, "Date": {date}, "X-Amz-Content-Sha256": {UnsignedPayload}}}
		_, err = v.Verify(r)
		checkKind(t, err)
	})
}

func FuzzPresignQuery(f *testing.F) {
	f.Add("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", "/test.txt")
	f.Add("AWSAccessKeyId=a&Signature=b&%zz", "/")
	v := exampleVerifier(f)
	f.Fuzz(func(t *testing.T, query, path string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path, RawQuery: query}, Host: "examplebucket.s3.amazonaws.com", Header: http.Header{}}
		res, err := v.Verify(r)
		checkKind(t, err)
		if err == nil && res.Scheme != Anonymous && !strings.Contains(query, "aeeed9bbccd4d02e") {
			t.Fatal("accepted a signature that nobody made")
		}
		if err == nil && res.Scheme == Anonymous {
			return
		}
		if err == nil {
			r.URL.RawQuery += "&x"
			if _, err = v.Verify(r); err == nil {
				t.Fatal("accepted a changed query")
			}
		}
	})
}
