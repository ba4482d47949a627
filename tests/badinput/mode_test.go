package badinput

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/tests/harness"
)

// mode is a way to send an object's bytes.
type mode struct {
	name string
	// whole says that the body proves its own length: a cut one is refused
	// also where the Content-Length was made to agree.
	whole bool
	// wire returns headers and body of an upload of data, with the body's
	// Content-Length, -1 for transfer encoding chunked.
	wire func(t testing.TB, s *harness.Server, method, path, query string, data []byte) (r *http.Request, body []byte, length int64)
}

var modes = []mode{
	{"signed", true, func(t testing.TB, s *harness.Server, method, path, query string, data []byte) (*http.Request, []byte, int64) {
		r := request(t, s, method, path, query)
		sum := sha256.Sum256(data)
		signer.Sign(r, hex.EncodeToString(sum[:]), time.Now())
		return r, data, int64(len(data))
	}},
	{"unsigned", false, func(t testing.TB, s *harness.Server, method, path, query string, data []byte) (*http.Request, []byte, int64) {
		r := request(t, s, method, path, query)
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		return r, data, int64(len(data))
	}},
	{"presigned", false, func(t testing.TB, s *harness.Server, method, path, query string, data []byte) (*http.Request, []byte, int64) {
		r := request(t, s, method, path, query)
		r.URL = signer.Presign(r, time.Hour, time.Now())
		return r, data, int64(len(data))
	}},
	{"chunked", true, chunkedMode(sigv4.StreamingPayload)},
	{"chunked-trailer", true, chunkedMode(sigv4.StreamingPayloadTrailer)},
	{"unsigned-trailer", true, chunkedMode(sigv4.StreamingUnsignedTrailer)},
	{"unsigned-trailer-te", true, func(t testing.TB, s *harness.Server, method, path, query string, data []byte) (*http.Request, []byte, int64) {
		r, body, _ := chunkedMode(sigv4.StreamingUnsignedTrailer)(t, s, method, path, query, data)
		r.Header.Set("Transfer-Encoding", "chunked")
		return r, transferChunks(body), -1
	}},
}

// transferChunks frames a body by HTTP's own chunks.
func transferChunks(data []byte) []byte {
	var b bytes.Buffer
	for len(data) > 0 {
		n := min(len(data), 50_000)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, data[:n])
		data = data[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

const chunkSize = 64 << 10

// chunkedMode frames by aws-chunked, with signatures and a trailing checksum
// as the payload constant says.
func chunkedMode(payload string) func(testing.TB, *harness.Server, string, string, string, []byte) (*http.Request, []byte, int64) {
	return func(t testing.TB, s *harness.Server, method, path, query string, data []byte) (*http.Request, []byte, int64) {
		r := request(t, s, method, path, query)
		r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(data)))
		r.Header.Set("Content-Encoding", "aws-chunked")
		if payload != sigv4.StreamingPayload {
			r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		}
		now := time.Now()
		c := &chunker{payload: payload, stamp: now.UTC().Format("20060102T150405Z")}
		c.prev = signer.Sign(r, payload, now)
		body := c.frame(data)
		return r, body, int64(len(body))
	}
}

// chunker makes the chain of signatures of an aws-chunked body.
type chunker struct {
	payload, stamp, prev string
	out                  bytes.Buffer
}

func (c *chunker) signed() bool { return c.payload != sigv4.StreamingUnsignedTrailer }

func (c *chunker) frame(data []byte) []byte {
	for rest := data; len(rest) > 0; {
		n := min(chunkSize, len(rest))
		c.chunk(rest[:n])
		c.out.WriteString("\r\n")
		rest = rest[n:]
	}
	c.chunk(nil)
	if c.payload != sigv4.StreamingPayload {
		var sum [4]byte
		v := crc32.ChecksumIEEE(data)
		sum[0], sum[1], sum[2], sum[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
		line := "x-amz-checksum-crc32:" + base64.StdEncoding.EncodeToString(sum[:])
		c.out.WriteString(line + "\r\n")
		if c.signed() {
			fmt.Fprintf(&c.out, "x-amz-trailer-signature:%s\r\n", c.sign("AWS4-HMAC-SHA256-TRAILER", digest([]byte(line+"\n"))))
		}
	}
	c.out.WriteString("\r\n")
	return c.out.Bytes()
}

func (c *chunker) chunk(p []byte) {
	fmt.Fprintf(&c.out, "%x", len(p))
	if c.signed() {
		c.prev = c.sign("AWS4-HMAC-SHA256-PAYLOAD", digest(nil)+"\n"+digest(p))
		c.out.WriteString(";chunk-signature=" + c.prev)
	}
	c.out.WriteString("\r\n")
	c.out.Write(p)
}

// sign continues the chain (S3 API Reference, sigv4-streaming).
func (c *chunker) sign(algorithm, tail string) string {
	scope := c.stamp[:8] + "/us-east-1/s3/aws4_request"
	key := []byte("AWS4" + harness.Password)
	for _, part := range []string{c.stamp[:8], "us-east-1", "s3", "aws4_request", algorithm + "\n" + c.stamp + "\n" + scope + "\n" + c.prev + "\n" + tail} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func digest(p []byte) string { sum := sha256.Sum256(p); return hex.EncodeToString(sum[:]) }

// form is a browser's upload.
type form struct {
	bucket, key string
	user        string // access key of the credential
	secret      string
	expires     time.Time
	fields      map[string]string // replaced after signing; "" removes
	data        []byte
}

func newForm(bucket, key string, data []byte) *form {
	return &form{bucket: bucket, key: key, user: harness.User, secret: harness.Password, expires: time.Now().Add(time.Hour), data: data}
}

const boundary = "holdfast-test-boundary"

// wire returns headers and body of the form.
func (f *form) wire(t testing.TB, s *harness.Server) (*http.Request, []byte) {
	now := time.Now().UTC()
	fields := map[string]string{
		"key": f.key, "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": now.Format("20060102T150405Z"),
		"x-amz-credential": f.user + "/" + now.Format("20060102") + "/us-east-1/s3/aws4_request",
	}
	policy := fmt.Sprintf(`{"expiration":%q,"conditions":[{"bucket":%q},{"key":%q},{"x-amz-algorithm":%q},{"x-amz-credential":%q},{"x-amz-date":%q}]}`,
		f.expires.UTC().Format("2006-01-02T15:04:05.000Z"), f.bucket, f.key, fields["x-amz-algorithm"], fields["x-amz-credential"], fields["x-amz-date"])
	fields["policy"] = base64.StdEncoding.EncodeToString([]byte(policy))
	fields["x-amz-signature"] = sigv4.NewSigner(f.user, f.secret, "us-east-1").SignPost(fields["policy"], now.Format("20060102"))
	for k, v := range f.fields {
		if fields[k] = v; v == "" {
			delete(fields, k)
		}
	}
	var b bytes.Buffer
	for k, v := range fields {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, k, v)
	}
	fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n", boundary)
	b.Write(f.data)
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	r := request(t, s, "POST", "/"+f.bucket, "")
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	return r, b.Bytes()
}
