package sigv4

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"holdfast/auth"
)

var payloads = map[string]Payload{"unsigned": Unsigned, "signed": Signed, "chunked": Chunked, "chunked trailer": ChunkedTrailer, "unsigned trailer": UnsignedTrailer}

func randomData(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

// TestBodyRoundTrip reads bodies of many sizes, chunk sizes and ways to read.
func TestBodyRoundTrip(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	readers := map[string]func(io.Reader) io.Reader{
		"plain":    func(r io.Reader) io.Reader { return r },
		"one byte": iotest.OneByteReader,
		"half":     iotest.HalfReader,
		"data eof": iotest.DataErrReader,
	}
	for name, payload := range payloads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{0, 1, 4095, 4096, 8192, 20000, 200000} {
				for _, chunk := range []int{1000, 8192, 65536, 1 << 20} {
					data := randomData(size)
					u := newUpload(payload, data, chunk)
					for how, wrap := range readers {
						b := NewBody(wrap(bytes.NewReader(u.wire)), u.verify(t, v), int64(len(u.wire)))
						if b.Length() != int64(size) {
							t.Fatalf("length %d", b.Length())
						}
						got, err := io.ReadAll(b)
						if err != nil || !bytes.Equal(got, data) {
							t.Fatalf("size %d, chunk %d, %s: %d bytes, %v", size, chunk, how, len(got), err)
						}
						if err := b.Finish(); err != nil || (b.Trailer() != nil) != payload.Trailing() || b.Length() != int64(size) {
							t.Fatal(err, b.Trailer(), b.Length())
						}
					}
				}
			}
		})
	}
}

// TestBodyFinish reads exactly the announced bytes and asks for the verdict.
func TestBodyFinish(t *testing.T) {
	t.Parallel()
	v, data := exampleVerifier(t), randomData(100000)
	for name, payload := range payloads {
		u := newUpload(payload, data, 65536)
		b := NewBody(bytes.NewReader(u.wire), u.verify(t, v), int64(len(u.wire)))
		if _, err := io.ReadFull(b, make([]byte, len(data))); err != nil {
			t.Fatal(name, err)
		}
		if err := b.Finish(); err != nil {
			t.Fatal(name, err)
		}
		b = NewBody(bytes.NewReader(u.wire), u.verify(t, v), int64(len(u.wire)))
		if _, err := io.ReadFull(b, make([]byte, len(data)-1)); err != nil {
			t.Fatal(name, err)
		}
		if err := b.Finish(); !errors.Is(err, auth.ErrBodyTooLong) {
			t.Fatal(name, err)
		}
	}
}

// TestBodyCut cuts each body at every interesting place: never io.EOF.
func TestBodyCut(t *testing.T) {
	t.Parallel()
	v, data := exampleVerifier(t), randomData(3000)
	for name, payload := range payloads {
		u := newUpload(payload, data, 1000)
		res := u.verify(t, v)
		// The last CRLF of a framed body is optional, and the last line end of
		// a trailer too.
		end := len(bytes.TrimRight(u.wire, "\r\n"))
		if !payload.Framed() {
			end = len(u.wire)
		}
		if payload == Chunked {
			end += 2 // the line of the last chunk has to be whole
		}
		for cut := range end {
			if payload == UnsignedTrailer && cut > bytes.LastIndexByte(u.wire, ':') {
				continue // a shorter value; the checksum tells
			}
			for _, unexpected := range []bool{false, true} {
				src := io.Reader(bytes.NewReader(u.wire[:cut]))
				if unexpected {
					src = io.MultiReader(src, iotest.ErrReader(io.ErrUnexpectedEOF))
				}
				_, err := io.ReadAll(NewBody(src, res, int64(len(u.wire))))
				if !errors.Is(err, auth.ErrIncompleteBody) && !errors.Is(err, auth.ErrTrailerMalformed) {
					t.Fatalf("%s cut at %d of %d: %v", name, cut, len(u.wire), err)
				}
			}
		}
	}
}

// TestBodyFlipped changes each byte of each protected body: never io.EOF.
func TestBodyFlipped(t *testing.T) {
	t.Parallel()
	v, data := exampleVerifier(t), randomData(300)
	for name, payload := range payloads {
		if payload == Unsigned || payload == UnsignedTrailer {
			continue
		}
		u := newUpload(payload, data, 100)
		res := u.verify(t, v)
		for i := range u.wire {
			wire := bytes.Clone(u.wire)
			wire[i] ^= 0x11
			got, err := io.ReadAll(NewBody(bytes.NewReader(wire), res, int64(len(wire))))
			if err == nil {
				t.Fatalf("%s byte %d: accepted %q", name, i, wire[max(0, i-20):min(len(wire), i+20)])
			}
			if len(got) > len(data) {
				t.Fatal("more bytes than announced")
			}
		}
	}
}

func TestBodyErrors(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	data := []byte("hello")
	signed, unsigned := newUpload(ChunkedTrailer, data, 100), newUpload(UnsignedTrailer, data, 100)
	sres, ures := signed.verify(t, v), unsigned.verify(t, v)
	cres := newUpload(Chunked, data, 100).verify(t, v)
	errIO := errors.New("disk")
	const tail = "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n"
	for name, tc := range map[string]struct {
		res  *Result
		body string
		want error
	}{
		"good":               {ures, "5\r\nhello\r\n0\r\n" + tail, nil},
		"extension":          {ures, "5;a=b\r\nhello\r\n0\r\n" + tail, nil},
		"two chunks":         {ures, "2\r\nhe\r\n003\r\nllo\r\n0\r\n" + tail, nil},
		"LF only":            {ures, "5\nhello\r\n0\r\n" + tail, auth.ErrChunkMalformed},
		"no size":            {ures, ";\r\n", auth.ErrChunkMalformed},
		"empty line":         {ures, "\r\n", auth.ErrChunkMalformed},
		"minus":              {ures, "-5\r\n", auth.ErrChunkMalformed},
		"huge":               {ures, "ffffffffffffffff\r\n", auth.ErrChunkMalformed},
		"large":              {ures, "fffffffffffff\r\n", auth.ErrBodyTooLong},
		"long line":          {ures, strings.Repeat("0", 300) + "\r\n", auth.ErrChunkMalformed},
		"too much":           {ures, "6\r\nhello!\r\n0\r\n" + tail, auth.ErrBodyTooLong},
		"too much later":     {ures, "5\r\nhello\r\n1\r\n!\r\n0\r\n" + tail, auth.ErrBodyTooLong},
		"too little":         {ures, "4\r\nhell\r\n0\r\n" + tail, auth.ErrIncompleteBody},
		"no CRLF":            {ures, "4\r\nhello\r\n0\r\n" + tail, auth.ErrChunkMalformed},
		"no trailer":         {ures, "5\r\nhello\r\n0\r\n\r\n", auth.ErrTrailerMalformed},
		"other trailer":      {ures, "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:sOO8/Q==\r\n\r\n", auth.ErrTrailerMalformed},
		"twice":              {ures, "5\r\nhello\r\n0\r\n" + tail + tail, auth.ErrTrailerMalformed},
		"no colon":           {ures, "5\r\nhello\r\n0\r\nx-amz-checksum-crc32c\r\n\r\n", auth.ErrTrailerMalformed},
		"long trailer":       {ures, "5\r\nhello\r\n0\r\n" + tail + strings.Repeat("\r\n", 8192), auth.ErrTrailerMalformed},
		"signed, none":       {sres, "5\r\nhello\r\n0\r\n" + tail, auth.ErrChunkMalformed},
		"signed, short":      {sres, "5;chunk-signature=abc\r\nhello\r\n", auth.ErrChunkMalformed},
		"signed, wrong":      {sres, "5;chunk-signature=" + strings.Repeat("a", 64) + "\r\nhello\r\n", auth.ErrChunkSignature},
		"trailer unsigned":   {sres, strings.Split(string(signed.wire), trailerSignature)[0] + "\r\n", auth.ErrTrailerMalformed},
		"trailer changed":    {sres, strings.Replace(string(signed.wire), "sOO8", "sOO9", 1), auth.ErrTrailerSignature},
		"signature first":    {sres, string(signed.wire) + "a:b\r\n", auth.ErrTrailerMalformed},
		"chunked, then more": {cres, string(newUpload(Chunked, data, 100).wire) + "x", auth.ErrChunkMalformed},
		"chunked, no end":    {cres, strings.TrimSuffix(string(newUpload(Chunked, data, 100).wire), "\r\n"), nil},
		"plain, short":       {&Result{DecodedLength: -1}, "hell", auth.ErrIncompleteBody},
		"plain, long":        {&Result{DecodedLength: -1}, "hello!", auth.ErrBodyTooLong},
		"signed, other":      {newUpload(Signed, data, 0).verify(t, v), "hallo", auth.ErrContentSHA256Mismatch},
		"trailers empty":     {&Result{Payload: UnsignedTrailer, DecodedLength: 5}, "5\r\nhello\r\n0\r\n\r\n", nil},
		"read error":         {&Result{Payload: UnsignedTrailer, DecodedLength: 5}, "", errIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := io.Reader(strings.NewReader(tc.body))
			if tc.body == "" {
				src = iotest.ErrReader(errIO)
			}
			b := NewBody(src, tc.res, 5)
			_, err := io.ReadAll(b)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err != nil && b.Trailer() != nil {
				t.Fatal("a trailer of a refused body")
			}
			if _, again := b.Read(make([]byte, 1)); err != nil && again != err {
				t.Fatalf("then %v", again)
			}
			if fin := b.Finish(); (fin == nil) != (err == nil) {
				t.Fatalf("finish %v after %v", fin, err)
			}
		})
	}
}

// TestBodyUnknownLength reads a body whose length nothing announced.
func TestBodyUnknownLength(t *testing.T) {
	t.Parallel()
	u := newUpload(Signed, []byte("hello"), 0)
	b := NewBody(strings.NewReader("hello"), u.verify(t, exampleVerifier(t)), -1)
	if b.Length() != -1 {
		t.Fatal(b.Length())
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "hello" {
		t.Fatal(err)
	}
}

// TestPresignedBodies covers hashes that come with a presigned URL.
func TestPresignedBodies(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	sum := newUpload(Signed, []byte("hello"), 0).req.Header.Get("X-Amz-Content-Sha256")
	for name, edit := range map[string]func(*http.Request){
		"unsigned header": func(r *http.Request) {
			r.URL = Presign(r, exampleKey, exampleSecret, "us-east-1", time.Hour, exampleTime)
			r.Header.Set("X-Amz-Content-Sha256", sum)
		},
		"query": func(r *http.Request) {
			r.URL.RawQuery = "X-Amz-Content-Sha256=" + sum
			presignOver(r, "host", sum)
		},
		"signed header": func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", sum)
			presignOver(r, "host;x-amz-content-sha256", sum)
		},
		"unsigned header over the hash": func(r *http.Request) {
			presignOver(r, "host", sum)
			r.Header.Set("X-Amz-Content-Sha256", sum)
		},
	} {
		r, _ := http.NewRequest(http.MethodPut, "http://localhost:9000/b/k", nil)
		edit(r)
		res, err := v.Verify(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := io.ReadAll(NewBody(strings.NewReader("hello"), res, 5)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := io.ReadAll(NewBody(strings.NewReader("hallo"), res, 5)); !errors.Is(err, auth.ErrContentSHA256Mismatch) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// presignOver presigns r over a payload hash of the caller's choice.
func presignOver(r *http.Request, signed, hash string) {
	s := NewSigner(exampleKey, exampleSecret, "us-east-1")
	scope := "20130524/us-east-1/s3/aws4_request"
	q := r.URL.Query()
	q.Set("X-Amz-Algorithm", Algorithm)
	q.Set("X-Amz-Credential", exampleKey+"/"+scope)
	q.Set("X-Amz-Date", "20130524T000000Z")
	q.Set("X-Amz-Expires", "60")
	q.Set("X-Amz-SignedHeaders", signed)
	r.URL.RawQuery = q.Encode()
	sig, err := s.sign(r, signed, hash, "20130524T000000Z", scope, true)
	if err != nil {
		panic(err)
	}
	r.URL.RawQuery += "&X-Amz-Signature=" + sig
}

// TestAnonymousBodies: no credentials, but the framing still holds.
func TestAnonymousBodies(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	u := newUpload(UnsignedTrailer, []byte("hello"), 10)
	u.req.Header.Del("Authorization")
	res := u.verify(t, v)
	if !res.Identity.Anonymous() || res.Scheme != Anonymous {
		t.Fatalf("%+v", res)
	}
	if got, err := io.ReadAll(NewBody(bytes.NewReader(u.wire), res, -1)); err != nil || string(got) != "hello" {
		t.Fatal(err)
	}
	u = newUpload(Chunked, []byte("hello"), 10)
	u.req.Header.Del("Authorization")
	if _, err := v.Verify(u.req); !errors.Is(err, auth.ErrMissingCredentials) {
		t.Fatal(err)
	}
}
