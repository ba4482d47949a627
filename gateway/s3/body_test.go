package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/minio/crc64nvme"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
)

// testBody opens a body of data as a request with these headers carries it.
func testBody(data string, length int64, o bodyOptions, headers ...string) (*body, error) {
	c := headerCall(headers)
	c.r.Body, c.r.ContentLength = io.NopCloser(iotest.HalfReader(strings.NewReader(data))), length
	c.s = &Server{blobs: &dataPath{md5: checksum.NewMD5Pool()}}
	var err error
	if o.ask, err = c.askedChecksum(); err != nil {
		return nil, err
	}
	return c.openBody(o)
}

// both reads a body as a stream and in one go.
func both(t *testing.T, data string, length int64, o bodyOptions, headers []string, check func(name string, b *body, err error)) {
	t.Helper()
	b, err := testBody(data, length, o, headers...)
	if err == nil {
		_, err = io.Copy(io.Discard, b)
	}
	check("stream", b, err)
	b, err = testBody(data, length, o, headers...)
	if err == nil && b.length >= 0 {
		err = b.readAll(make([]byte, b.length))
		check("whole", b, err)
	}
}

func TestBodyDigests(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4096, 200000} {
		data := strings.Repeat("x", size)
		for alg := checksum.None; alg <= checksum.Last; alg++ {
			headers, want := []string{}, []byte(nil)
			if alg != checksum.None {
				h := checksum.New(alg)
				io.WriteString(h, data)
				want = h.Sum(nil)
				headers = []string{alg.Header(), checksum.Encode(want)}
			}
			both(t, data, int64(size), bodyOptions{max: 1 << 20, etag: true}, headers, func(name string, b *body, err error) {
				t.Helper()
				sum := md5.Sum([]byte(data))
				if err != nil || b.etagHex() != hex.EncodeToString(sum[:]) || b.crc64 != crc64nvme.Checksum([]byte(data)) ||
					!bytes.Equal(b.checksum, want) || b.size != int64(size) {
					t.Errorf("%s of %d bytes with %s: %v, %+v", name, size, alg, err, b)
				}
			})
		}
	}
}

func TestBodyRefuses(t *testing.T) {
	t.Parallel()
	o := bodyOptions{max: 10, etag: true}
	for name, tc := range map[string]struct {
		data    string
		length  int64
		headers []string
		code    s3err.Code
	}{
		"good":          {"hello", 5, []string{"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="}, ""},
		"md5":           {"hellO", 5, []string{"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="}, s3err.BadDigest},
		"crc32":         {"hello", 5, []string{"x-amz-checksum-crc32", "AAAAAA=="}, s3err.BadDigest},
		"crc64nvme":     {"hello", 5, []string{"x-amz-checksum-crc64nvme", "AAAAAAAAAAA="}, s3err.BadDigest},
		"cut":           {"hell", 5, nil, s3err.IncompleteBody},
		"nothing":       {"", 5, nil, s3err.IncompleteBody},
		"announced":     {"hello world", 11, nil, s3err.EntityTooLarge},
		"not announced": {"hello world", -1, nil, s3err.EntityTooLarge},
	} {
		both(t, tc.data, tc.length, o, tc.headers, func(how string, _ *body, err error) {
			t.Helper()
			if code(err) != tc.code {
				t.Errorf("%s, %s: got %v, want %q", name, how, err, tc.code)
			}
		})
	}
	o.needLength = true
	if _, err := testBody("x", -1, o); code(err) != s3err.MissingContentLength {
		t.Errorf("no length: %v", err)
	}
}

// TestBodyErrorsStay checks that a stream that failed never ends well later.
func TestBodyErrorsStay(t *testing.T) {
	t.Parallel()
	b, err := testBody("hello", 5, bodyOptions{max: 10, etag: true}, "x-amz-checksum-crc32", "AAAAAA==")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := io.ReadAll(b); code(err) != s3err.BadDigest {
			t.Fatalf("got %v", err)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	src := &postForm{}
	for name, tc := range map[string]struct {
		min, max int64
		code     s3err.Code
	}{"within": {5, 5, ""}, "small": {6, 9, s3err.EntityTooSmall}, "large": {0, 4, s3err.EntityTooLarge}} {
		for _, room := range []int{100, 6, 5} {
			src.file = sigv4.NewBody(strings.NewReader("hello"), &sigv4.Result{}, -1)
			b := &body{src: src.file, length: -1, min: tc.min, max: tc.max, etag: true}
			got, err := b.readUpTo(make([]byte, room))
			if room == 5 && tc.code == s3err.EntityTooSmall {
				// The end is not known yet.
				_, err = b.Read(make([]byte, 1))
			}
			if code(err) != tc.code || err == nil && string(got) != "hello" {
				t.Errorf("%s, room for %d: %q, %v", name, room, got, err)
			}
		}
	}
}

func TestBodyError(t *testing.T) {
	t.Parallel()
	if err := bodyError(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)); !errors.Is(err, auth.ErrIncompleteBody) {
		t.Errorf("got %v", err)
	}
	if err := bodyError(fmt.Errorf("read: %w", timeoutError{})); code(err) != s3err.RequestTimeout {
		t.Errorf("got %v", err)
	}
	if err := bodyError(http.ErrBodyReadAfterClose); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("got %v", err)
	}
}

type timeoutError struct{}

func (timeoutError) Error() string { return "slow" }
func (timeoutError) Timeout() bool { return true }

// TestFraming refuses headers of framing that the payload mode does not have:
// the body would be stored with its frames, or without the check that its
// trailer was announced for.
func TestFraming(t *testing.T) {
	t.Parallel()
	const decoded, trailer, encoding = "X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "Content-Encoding"
	for _, tc := range []struct {
		payload     sigv4.Payload
		name, value string
		want        error
	}{
		{sigv4.Unsigned, decoded, "5", nil},
		{sigv4.Unsigned, decoded, "3", auth.ErrBadLength},
		{sigv4.Unsigned, decoded, "x", auth.ErrBadLength},
		{sigv4.Signed, decoded, "3", auth.ErrBadLength},
		{sigv4.Unsigned, trailer, "x-amz-checksum-crc32", auth.ErrTrailerMalformed},
		{sigv4.Signed, trailer, "x-amz-checksum-crc32", auth.ErrTrailerMalformed},
		{sigv4.Chunked, trailer, "x-amz-checksum-crc32", auth.ErrTrailerMalformed},
		{sigv4.ChunkedTrailer, trailer, "x-amz-checksum-crc32", nil},
		{sigv4.UnsignedTrailer, trailer, "x-amz-checksum-crc32", nil},
		{sigv4.Unsigned, encoding, "aws-chunked", s3err.InvalidArgument},
		{sigv4.Unsigned, encoding, "gzip, AWS-Chunked", s3err.InvalidArgument},
		{sigv4.Unsigned, encoding, "gzip", nil},
		{sigv4.Unsigned, encoding, "x-aws-chunked, gzip", nil},
		{sigv4.Signed, encoding, "aws-chunked", nil},
		{sigv4.Chunked, encoding, "aws-chunked", nil},
		{sigv4.UnsignedTrailer, encoding, "aws-chunked", nil},
	} {
		for _, hoisted := range []bool{false, true} {
			headers, query := []string{tc.name, tc.value}, []string(nil)
			if hoisted {
				headers, query = query, headers
			}
			c := headerCall(headers, query...)
			c.auth.Payload = tc.payload
			if err := c.checkFraming(5); code(err) != code(tc.want) {
				t.Errorf("mode %d, %s: %s, hoisted %v: %v", tc.payload, tc.name, tc.value, hoisted, err)
			}
		}
	}
}
