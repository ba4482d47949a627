package sigv4

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/auth"
	"holdfast/internal/clock"
)

const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleScope  = "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func exampleVerifier(tb testing.TB) *Verifier {
	tb.Helper()
	keys, err := auth.NewStatic(exampleKey, exampleSecret)
	if err != nil {
		tb.Fatal(err)
	}
	return New(Config{Keys: keys, Clock: clock.NewManual(exampleTime)})
}

// wire parses a request as a server reads it; lines end with LF here.
func wire(tb testing.TB, text string) *http.Request {
	tb.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		tb.Fatalf("%v in %q", err, text)
	}
	return r
}

// The examples of the S3 API Reference, pages sig-v4-header-based-auth and
// sigv4-query-string-auth, with the signatures published there.
var published = []struct{ name, request string }{
	{"get object", `GET /test.txt HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Range: bytes=0-9
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-amz-date: 20130524T000000Z
Authorization: AWS4-HMAC-SHA256 ` + exampleScope + `,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41`},
	{"put object", `PUT /test%24file.text HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Date: Fri, 24 May 2013 00:00:00 GMT
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072
Authorization: AWS4-HMAC-SHA256 ` + exampleScope + `,SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd`},
	{"get bucket lifecycle", `GET /?lifecycle HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Authorization: AWS4-HMAC-SHA256 ` + exampleScope + `,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543`},
	{"list objects", `GET /?max-keys=2&prefix=J HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Authorization: AWS4-HMAC-SHA256 ` + exampleScope + `,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7`},
	{"presigned", `GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1
Host: examplebucket.s3.amazonaws.com`},
	{"chunked", chunkedRequest},
	{"chunked trailer", trailerRequest},
}

// The two uploads of the pages sigv4-streaming and sigv4-streaming-trailers.
const (
	chunkedRequest = `PUT /examplebucket/chunkObject.txt HTTP/1.1
Host: s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD
Content-Encoding: aws-chunked
x-amz-decoded-content-length: 66560
Content-Length: 66824
Authorization: AWS4-HMAC-SHA256 ` + exampleScope + `,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9`
	trailerRequest = `PUT /examplebucket/chunkObject.txt HTTP/1.1
Host: s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
Content-Encoding: aws-chunked
x-amz-decoded-content-length: 66560
x-amz-trailer: x-amz-checksum-crc32c
Content-Length: 66824
Authorization: AWS4-HMAC-SHA256 ` + exampleScope + `,SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e`
)

func chunkedExampleBody() string {
	return "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
}

const trailerExampleEnd = "x-amz-checksum-crc32c:sOO8/Q==\r\n" +
	"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"

func trailerExampleBody() string {
	return "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" + trailerExampleEnd + "\r\n"
}

func TestPublishedExamples(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	for _, tc := range published {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			res, err := v.Verify(wire(t, tc.request))
			if err != nil {
				var s *auth.SignatureError
				if errors.As(err, &s) {
					t.Log(s.CanonicalRequest, "\n", s.StringToSign)
				}
				t.Fatal(err)
			}
			if res.Identity.AccessKey != exampleKey || !res.Identity.Root || res.Region != "us-east-1" || !res.Time.Equal(exampleTime) {
				t.Fatalf("%+v", res)
			}
		})
	}
}

func TestPublishedChunkedBodies(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	want := strings.Repeat("a", 66560)
	res, err := v.Verify(wire(t, chunkedRequest))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(NewBody(strings.NewReader(chunkedExampleBody()), res, 66824))
	if err != nil || string(got) != want {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	res, err = v.Verify(wire(t, trailerRequest))
	if err != nil {
		t.Fatal(err)
	}
	body := trailerExampleBody()
	sig := "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
	for _, end := range []string{
		trailerExampleEnd + "\r\n",
		trailerExampleEnd,
		strings.TrimSuffix(trailerExampleEnd, "\r\n"),             // .NET SDK
		"\r\n" + trailerExampleEnd,                                // an empty line first
		"x-amz-checksum-crc32c:sOO8/Q==\n\r\n" + sig + "\r\n\r\n", // minio-go
		"X-Amz-Checksum-Crc32c: sOO8/Q== \r\n" + sig + "\r\n\r\n",
	} {
		b := NewBody(strings.NewReader(strings.TrimSuffix(body, trailerExampleEnd+"\r\n")+end), res, -1)
		if got, err = io.ReadAll(b); err != nil || string(got) != want {
			t.Fatalf("%q: %d bytes, %v", end, len(got), err)
		}
		if got := b.Trailer().Get("x-amz-checksum-crc32c"); got != "sOO8/Q==" || len(b.Trailer()) != 1 {
			t.Fatalf("trailer %v", b.Trailer())
		}
	}
}
