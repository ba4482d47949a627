package s3

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"holdfast/auth/sigv4"
	"holdfast/gateway/route"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// headerCall is a call with headers in pairs and query parameters in pairs.
func headerCall(headers []string, query ...string) *call {
	c := &call{r: &http.Request{Header: http.Header{}}, auth: &sigv4.Result{Scheme: sigv4.Header}, op: route.Named("PutObject")}
	for i := 0; i+1 < len(headers); i += 2 {
		c.r.Header.Add(headers[i], headers[i+1])
	}
	for i := 0; i+1 < len(query); i += 2 {
		c.query = append(c.query, route.Param{Key: query[i], Value: query[i+1]})
	}
	return c
}

func code(err error) s3err.Code {
	if err == nil {
		return ""
	}
	return s3err.From(err).Code
}

func TestAskedChecksum(t *testing.T) {
	t.Parallel()
	const crc = "AAAAAA=="
	for name, tc := range map[string]struct {
		headers, query, trailers []string
		scheme                   sigv4.Scheme
		want                     checksum.Algorithm
		trailer                  string
		code                     s3err.Code
	}{
		"none":              {},
		"header":            {headers: []string{"x-amz-checksum-crc32", crc}, want: checksum.CRC32},
		"hoisted":           {query: []string{"X-AMZ-Checksum-CRC32C", crc}, want: checksum.CRC32C},
		"header and sdk":    {headers: []string{"x-amz-checksum-crc32", crc, "x-amz-sdk-checksum-algorithm", "crc32"}, want: checksum.CRC32},
		"sdk disagrees":     {headers: []string{"x-amz-checksum-crc32", crc, "x-amz-sdk-checksum-algorithm", "SHA1"}, code: s3err.InvalidRequest},
		"sdk alone":         {headers: []string{"x-amz-sdk-checksum-algorithm", "SHA1"}, scheme: sigv4.Header, code: s3err.InvalidRequest},
		"sdk presigned":     {query: []string{"x-amz-sdk-checksum-algorithm", "SHA1"}, scheme: sigv4.Presigned, want: checksum.SHA1},
		"sdk unknown":       {headers: []string{"x-amz-sdk-checksum-algorithm", "CRC99"}, code: s3err.InvalidRequest},
		"two headers":       {headers: []string{"x-amz-checksum-crc32", crc, "x-amz-checksum-crc32c", crc}, code: s3err.InvalidRequest},
		"header and query":  {headers: []string{"x-amz-checksum-crc32", crc}, query: []string{"x-amz-checksum-sha1", crc}, code: s3err.InvalidRequest},
		"short":             {headers: []string{"x-amz-checksum-sha1", crc}, code: s3err.InvalidRequest},
		"not base64":        {headers: []string{"x-amz-checksum-crc32", "!"}, code: s3err.InvalidRequest},
		"trailer":           {trailers: []string{"x-amz-checksum-sha256"}, want: checksum.SHA256, trailer: "X-Amz-Checksum-Sha256"},
		"trailer and value": {headers: []string{"x-amz-checksum-crc32", crc}, trailers: []string{"x-amz-checksum-sha256"}, code: s3err.InvalidRequest},
		"type is no value":  {headers: []string{"x-amz-checksum-type", "FULL_OBJECT", "x-amz-checksum-algorithm", "CRC32"}},
		"md5":               {headers: []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		"md5 malformed":     {headers: []string{"Content-MD5", "1B2M2Y8A"}, code: s3err.InvalidDigest},
	} {
		c := headerCall(tc.headers, tc.query...)
		c.auth.Trailers = tc.trailers
		c.auth.Scheme = tc.scheme
		a, err := c.askedChecksum()
		if code(err) != tc.code {
			t.Errorf("%s: error %v, want code %q", name, err, tc.code)
			continue
		}
		if err == nil && (a.algorithm != tc.want || a.trailer != tc.trailer) {
			t.Errorf("%s: got %v, trailer %q", name, a.algorithm, a.trailer)
		}
	}
}

func TestUploadChecksum(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		alg, kind string
		want      tracker.Checksum
		bad       bool
	}{
		{"", "", tracker.Checksum{}, false},
		{"CRC32", "", tracker.Checksum{Algorithm: checksum.CRC32, Composite: true}, false},
		{"crc32c", "full_object", tracker.Checksum{Algorithm: checksum.CRC32C}, false},
		{"CRC64NVME", "", tracker.Checksum{Algorithm: checksum.CRC64NVME}, false},
		{"SHA256", "COMPOSITE", tracker.Checksum{Algorithm: checksum.SHA256, Composite: true}, false},
		{"SHA256", "FULL_OBJECT", tracker.Checksum{}, true},
		{"CRC64NVME", "COMPOSITE", tracker.Checksum{}, true},
		{"", "COMPOSITE", tracker.Checksum{}, true},
		{"CRC32", "HALF", tracker.Checksum{}, true},
		{"CRC16", "", tracker.Checksum{}, true},
	} {
		got, err := uploadChecksum(tc.alg, tc.kind)
		if tc.bad {
			if code(err) != s3err.InvalidRequest {
				t.Errorf("%s %s: error %v", tc.alg, tc.kind, err)
			}
			continue
		}
		if err != nil || got.Algorithm != tc.want.Algorithm || got.Composite != tc.want.Composite {
			t.Errorf("%s %s: got %+v, %v", tc.alg, tc.kind, got, err)
		}
	}
}

func TestShownChecksum(t *testing.T) {
	t.Parallel()
	m := tracker.Meta{CRC64NVME: 1, HasCRC64: true}
	if h, v, k := shownChecksum(&m, 0); h != "X-Amz-Checksum-Crc64nvme" || v != "AAAAAAAAAAE=" || k != "FULL_OBJECT" {
		t.Errorf("got %s %s %s", h, v, k)
	}
	m.Checksum = tracker.Checksum{Algorithm: checksum.CRC32, Composite: true, Value: []byte{0, 0, 0, 1}}
	if h, v, k := shownChecksum(&m, 3); h != "X-Amz-Checksum-Crc32" || v != "AAAAAQ==-3" || k != "COMPOSITE" {
		t.Errorf("got %s %s %s", h, v, k)
	}
	if x := objectChecksumXML(&m, 3); x.ChecksumCRC32 != "AAAAAQ==-3" || x.ChecksumType != "COMPOSITE" {
		t.Errorf("got %+v", x)
	}
	if h, _, _ := shownChecksum(&tracker.Meta{}, 0); h != "" {
		t.Errorf("got %s of nothing", h)
	}
}

func TestChecksumXMLFields(t *testing.T) {
	t.Parallel()
	var x checksumXML
	for a := checksum.CRC32; a <= checksum.Last; a++ {
		if x.field(a) == nil {
			t.Errorf("%s has no element", a)
		}
	}
	x.ChecksumSHA1 = "a"
	if alg, text, ok := x.one(checksum.None); !ok || alg != checksum.SHA1 || text != "a" {
		t.Errorf("got %v %q %v", alg, text, ok)
	}
	if _, text, ok := x.one(checksum.CRC32); !ok || text != "" {
		t.Errorf("another algorithm: %q %v", text, ok)
	}
	x.ChecksumCRC32 = "b"
	if _, _, ok := x.one(checksum.None); ok {
		t.Error("two elements are not refused")
	}
}

func TestObjectHeaders(t *testing.T) {
	t.Parallel()
	c := headerCall([]string{"Content-Type", "text/plain", "Content-Encoding", "gzip", "X-Amz-Meta-B", "2", "X-Amz-Meta-A", "1",
		"X-Amz-Meta-A", "1b", "X-Amz-Date", "x", "Expires", "never"}, "x-amz-META-c", "3", "X-Amz-Meta-A", "hidden", "Cache-Control", "no-store")
	fields, err := c.objectHeaders()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fields {
		got = append(got, f.Name+"="+f.Value)
	}
	const want = "cache-control=no-store content-encoding=gzip content-type=text/plain expires=never x-amz-meta-a=1,1b x-amz-meta-b=2 x-amz-meta-c=3"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	for name, tc := range map[string]struct {
		headers, query []string
		code           s3err.Code
	}{
		"exactly 2 KiB":    {[]string{"X-Amz-Meta-Ab", strings.Repeat("v", 2046)}, nil, ""},
		"over 2 KiB":       {[]string{"X-Amz-Meta-Ab", strings.Repeat("v", 2047)}, nil, s3err.MetadataTooLarge},
		"control in query": {nil, []string{"x-amz-meta-a", "x\r\nSet-Cookie: y"}, s3err.InvalidArgument},
		"name in query":    {nil, []string{"x-amz-meta-a b", "x"}, s3err.InvalidArgument},
		"empty name":       {nil, []string{"x-amz-meta-", "x"}, s3err.InvalidArgument},
	} {
		if _, err := headerCall(tc.headers, tc.query...).objectHeaders(); code(err) != tc.code {
			t.Errorf("%s: got %v, want %q", name, err, tc.code)
		}
	}
}

// TestChunkedCoding: aws-chunked says how a body was sent. It is kept only
// where the body is kept as it was sent.
func TestChunkedCoding(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		op      string
		payload sigv4.Payload
		want    string
	}{
		{"PutObject", sigv4.Chunked, "gzip"},
		{"PutObject", sigv4.UnsignedTrailer, "gzip"},
		{"PutObject", sigv4.Signed, "aws-chunked, gzip"},
		{"CreateMultipartUpload", sigv4.Signed, "gzip"},
		{"CopyObject", sigv4.Signed, "gzip"},
	} {
		for _, hoisted := range []bool{false, true} {
			headers, query := []string{"Content-Encoding", "aws-chunked, gzip"}, []string(nil)
			if hoisted {
				headers, query = query, headers
			}
			c := headerCall(headers, query...)
			c.op, c.auth.Payload = route.Named(tc.op), tc.payload
			fields, err := c.objectHeaders()
			if err != nil || len(fields) != 1 || fields[0].Value != tc.want {
				t.Errorf("%s, mode %d: %v, %v", tc.op, tc.payload, fields, err)
			}
		}
	}
}

func TestCompleteParts(t *testing.T) {
	t.Parallel()
	parts := []completePart{{PartNumber: 1, ETag: ` "aa" `}, {PartNumber: 2, ETag: "bb", checksumXML: checksumXML{ChecksumCRC32: "AAAAAQ=="}}}
	got, err := completeParts(parts, checksum.CRC32)
	if err != nil || got[0].ETag != "aa" || got[1].ETag != "bb" || got[0].Checksum != nil || len(got[1].Checksum) != 4 {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, p := range map[string]completePart{"zero": {PartNumber: 0}, "many": {PartNumber: 10001},
		"value": {PartNumber: 1, checksumXML: checksumXML{ChecksumCRC32: "A"}},
		"two":   {PartNumber: 1, checksumXML: checksumXML{ChecksumCRC32: "AAAAAQ==", ChecksumSHA1: "x"}}} {
		if _, err := completeParts([]completePart{p}, checksum.None); err == nil {
			t.Errorf("%s: not refused", name)
		} else if s3err.From(err).Status != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	w := &headerWriter{h: http.Header{"Server": {"x"}}}
	for i := range headerSlots + 2 {
		w.set("K"+formatInt(int64(i)), "v")
	}
	if w.undo(); len(w.h) != 3 {
		t.Errorf("%d headers left", len(w.h))
	}
	if errors.Is(sendError(nil), errClientGone) || sendError(http.ErrBodyNotAllowed) == nil {
		t.Error("sendError")
	}
}
