package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

// upload is a client's upload in one of the payload modes.
type upload struct {
	req  *http.Request
	wire []byte // the body as sent
}

// newUpload signs a PUT of data, framed into chunks of the given size where
// the mode has chunks, with one trailer where it has trailers.
func newUpload(payload Payload, data []byte, chunk int) *upload {
	r, err := http.NewRequest(http.MethodPut, "http://127.0.0.1:9000/bucket/key", nil)
	if err != nil {
		panic(err)
	}
	u := &upload{req: r}
	sum := sha256.Sum256(data)
	hash := [...]string{UnsignedPayload, hex.EncodeToString(sum[:]), StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer}[payload]
	if payload.Framed() {
		r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(data)))
		r.Header.Set("Content-Encoding", "aws-chunked")
	}
	if payload.Trailing() {
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
	}
	prev := exampleSign(r, hash)
	if !payload.Framed() {
		u.wire = data
		return u
	}
	var out bytes.Buffer
	key := signingKey(exampleSecret, "20130524", "us-east-1")
	scope := "20130524/us-east-1/s3/aws4_request\n"
	for rest, last := data, false; !last; {
		n := min(chunk, len(rest))
		part := rest[:n]
		rest, last = rest[n:], n == 0
		fmt.Fprintf(&out, "%x", n)
		if payload != UnsignedTrailer {
			sum := sha256.Sum256(part)
			sig := signature(&key, []byte(payloadPrefix+"20130524T000000Z\n"+scope+prev+"\n"+emptySHA256+"\n"+hex.EncodeToString(sum[:])))
			prev = string(sig[:])
			out.WriteString(chunkExtension + prev)
		}
		out.WriteString("\r\n")
		out.Write(part)
		if !last || payload == Chunked {
			out.WriteString("\r\n")
		}
	}
	if payload.Trailing() {
		out.WriteString("x-amz-checksum-crc32c:sOO8/Q==\r\n")
		if payload == ChunkedTrailer {
			sum := sha256.Sum256([]byte("x-amz-checksum-crc32c:sOO8/Q==\n"))
			sig := signature(&key, []byte(trailerPrefix+"20130524T000000Z\n"+scope+prev+"\n"+hex.EncodeToString(sum[:])))
			fmt.Fprintf(&out, "%s:%s\r\n", trailerSignature, sig)
		}
		out.WriteString("\r\n")
	}
	u.wire = out.Bytes()
	return u
}

// exampleSign signs with the example credentials.
func exampleSign(r *http.Request, hash string) string {
	return NewSigner(exampleKey, exampleSecret, "us-east-1").Sign(r, hash, exampleTime)
}

func (u *upload) verify(tb testing.TB, v *Verifier) *Result {
	tb.Helper()
	res, err := v.Verify(u.req)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}
