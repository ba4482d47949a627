package badinput

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/tests/harness"
)

var documents = map[string]string{
	"nothing":           " ",
	"no XML":            "hello",
	"torn":              "<Delete><Object><Key>a",
	"crossed tags":      "<Delete><Object></Delete></Object>",
	"another root":      "<Unknown/>",
	"text behind":       "<Delete><Object><Key>a</Key></Object></Delete>behind",
	"two roots":         "<Delete><Object><Key>a</Key></Object></Delete><Delete/>",
	"bad UTF-8":         "<Delete><Object><Key>\xff\xfe</Key></Object></Delete>",
	"NUL":               "<Delete><Object><Key>\x00</Key></Object></Delete>",
	"control character": "<Delete><Object><Key>a\x01</Key></Object></Delete>",
	"bad reference":     "<Delete><Object><Key>&nothing;</Key></Object></Delete>",
	"bad number":        "<Delete><Object><Key>&#x110000;</Key></Object></Delete>",
	"entity bomb":       `<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><Delete><Object><Key>&c;</Key></Object></Delete>`,
	"external entity":   `<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&x;</Key></Object></Delete>`,
	"deep":              strings.Repeat("<a>", 200_000),
	"many attributes":   "<Delete " + strings.Repeat(`a="" `, 50_000) + "></Delete",
	"UTF-16":            "\xff\xfe<\x00D\x00e\x00l\x00e\x00t\x00e\x00/\x00>\x00",
	"JSON":              `{"Delete":{"Object":[{"Key":"a"}]}}`,
	"binary":            "\x00\x01\x02\x03\x04",
	"comment for ever":  "<Delete><!--" + strings.Repeat("-", 1000),
	"CDATA for ever":    "<Delete><![CDATA[" + strings.Repeat("x", 1000),
	"bad version value": "<VersioningConfiguration><Status>Sometimes</Status></VersioningConfiguration>",
	"part number":       "<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
	"part overflow":     "<CompleteMultipartUpload><Part><PartNumber>99999999999999999999</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
	"no parts":          "<CompleteMultipartUpload></CompleteMultipartUpload>",
}

func TestMalformedDocuments(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/docs", "", nil)
	id := startUpload(t, r, "/docs/upload")
	for name, doc := range documents {
		for op, target := range map[string][3]string{
			"CreateBucket":  {"PUT", "/docs-new", ""},
			"DeleteObjects": {"POST", "/docs", "delete="},
			"Complete":      {"POST", "/docs/upload", harness.Query("uploadId", id)},
			"PutVersioning": {"PUT", "/docs", "versioning="},
		} {
			if op == "CreateBucket" && name == "nothing" {
				continue // a bucket without a configuration
			}
			a, err := r.Do(target[0], target[1], target[2], []byte(doc), "Content-Md5", harness.MD5([]byte(doc)))
			if err != nil {
				t.Errorf("%s, %s: %v", op, name, err)
				continue
			}
			refused(t, op+", "+name, a, false)
		}
	}
	r.Must(t, 404, "HEAD", "/docs-new", "", nil)
	sane(t, s)
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/bad", "", nil)
	r.Must(t, 200, "PUT", "/bad/object", "", []byte("content"))
	id := startUpload(t, r, "/bad/upload")
	part := func(n string) string { return "partNumber=" + n + "&uploadId=" + id }
	for _, c := range []struct{ method, path, query string }{
		{"GET", "/bad", "list-type=3"}, {"GET", "/bad", "list-type=2&max-keys=many"}, {"GET", "/bad", "list-type=2&max-keys=-1"},
		{"GET", "/bad", "max-keys=99999999999999999999"}, {"GET", "/bad", "list-type=2&continuation-token=%00%01"},
		{"GET", "/bad", "list-type=2&continuation-token=Zm9v"}, {"GET", "/bad", "encoding-type=gzip"}, {"GET", "/bad", "nonsense=1"},
		{"GET", "/bad", "uploads=&max-uploads=-5"}, {"GET", "/bad", "versions=&version-id-marker=x"},
		{"GET", "/bad/object", "versionId=garbage"}, {"GET", "/bad/object", "partNumber=0"}, {"GET", "/bad/object", "partNumber=10001"},
		{"GET", "/bad/object", "partNumber=x"}, {"GET", "/bad/upload", "uploadId=" + id + "&max-parts=-1"},
		{"GET", "/bad/upload", "uploadId=garbage"}, {"DELETE", "/bad/upload", "uploadId=%ff"}, {"DELETE", "/bad/upload", "uploadId="},
		{"PUT", "/bad/upload", part("0")}, {"PUT", "/bad/upload", part("10001")}, {"PUT", "/bad/upload", part("-1")}, {"PUT", "/bad/upload", part("x")},
		{"PUT", "/bad/upload", "uploadId=" + id}, {"PUT", "/bad/other", part("1")},
		{"PUT", "/bad/upload", part("1") + "&partNumber=2"}, {"PUT", "/bad/upload", part("1") + "&uploadId=" + id},
		{"DELETE", "/bad/upload", "uploadId=x&uploadId=" + id}, {"DELETE", "/bad/object", "versionId=null&versionId=null"},
		{"GET", "/bad/object", "versionId=null&versionId=null"}, {"GET", "/bad/object", "partNumber=1&partNumber=1"}, {"GET", "/bad", "prefix=a&prefix=b"},
		{"PUT", "/bad/" + strings.Repeat("k", 1025), ""}, {"PUT", "/bad/%ff%fe", ""}, {"PUT", "/UPPER", ""}, {"PUT", "/a", ""},
		{"PUT", "/192.168.1.1", ""}, {"PUT", "/" + strings.Repeat("b", 64), ""}, {"PUT", "/bad..name", ""}, {"PUT", "//object", ""},
		{"PATCH", "/bad/object", ""}, {"TRACE", "/bad/object", ""}, {"BREW", "/bad", ""},
	} {
		a, err := r.Do(c.method, c.path, c.query, nil)
		if err != nil {
			t.Errorf("%s %s?%s: %v", c.method, c.path, c.query, err)
			continue
		}
		refused(t, fmt.Sprintf("%s %.60s?%s", c.method, c.path, c.query), a, false)
	}
	badHeaders(t, s, r)
	rawGarbage(t, s)
	mutations(t, s)
	if a := r.Must(t, 200, "GET", "/bad/object", "", nil); string(a.Body) != "content" {
		t.Errorf("the object now holds %.100q", a.Body)
	}
	sane(t, s)
}

func badHeaders(t *testing.T, s *harness.Server, r *harness.Raw) {
	t.Helper()
	for i, headers := range [][]string{
		{"Content-Md5", "nonsense"}, {"Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA=="}, {"X-Amz-Checksum-Crc32", "nonsense"},
		{"X-Amz-Checksum-Crc32", "AAAAAA=="}, {"X-Amz-Checksum-Sha256", "AAAA"}, {"X-Amz-Checksum-Crc32", "AAAAAA==", "X-Amz-Checksum-Crc32c", "AAAAAA=="},
		{"X-Amz-Sdk-Checksum-Algorithm", "ROT13"}, {"X-Amz-Checksum-Nothing", "AAAA"}, {"X-Amz-Storage-Class", "WARM"},
		{"X-Amz-Copy-Source", "nonsense"}, {"X-Amz-Copy-Source", "/bad/%zz"}, {"X-Amz-Copy-Source", "/bad/absent"}, {"X-Amz-Copy-Source", "/nobody/object"},
		{"X-Amz-Copy-Source", "/bad/object?versionId=garbage"}, {"X-Amz-Meta-Long", strings.Repeat("m", 3000)},
		{"If-Match", `"wrong"`}, {"If-None-Match", "\"a\",", "If-Match", "*"}, {"X-Amz-Acl", "everybody"},
	} {
		a, err := r.Do("PUT", fmt.Sprintf("/bad/header-%d", i), "", []byte("some body"), headers...)
		if err != nil {
			t.Errorf("%v: %v", headers, err)
			continue
		}
		if a.Status == http.StatusNotImplemented {
			continue // known to S3, not built
		}
		refused(t, fmt.Sprintf("PUT with %.100v", headers), a, false)
		r.Must(t, 404, "HEAD", fmt.Sprintf("/bad/header-%d", i), "", nil)
	}
	long, err := r.Do("GET", "/bad/object", "", nil, "X-Amz-Meta-Long", strings.Repeat("m", 60_000))
	if err == nil && long.Status/100 != 4 {
		t.Errorf("60,000 bytes of headers: status %d", long.Status)
	}
}

// rawGarbage sends what is no HTTP, and HTTP that contradicts itself.
func rawGarbage(t *testing.T, s *harness.Server) {
	t.Helper()
	signed := func(change func(r *http.Request)) *http.Request {
		r := request(t, s, "PUT", "/bad/raw", "")
		if change != nil {
			change(r)
		}
		signer.Sign(r, sigv4.UnsignedPayload, time.Now())
		return r
	}
	line := func(l string) []byte { return []byte(l + "\r\nHost: " + s.Addr + "\r\n\r\n") }
	chunked := func(decoded, body string) []byte {
		r := request(t, s, "PUT", "/bad/raw", "")
		r.Header.Set("X-Amz-Decoded-Content-Length", decoded)
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		signer.Sign(r, sigv4.StreamingUnsignedTrailer, time.Now())
		return append(head(r, int64(len(body))), body...)
	}
	mode := func(payload, header, value string) []byte {
		r := request(t, s, "PUT", "/bad/raw", "")
		r.Header.Set("X-Amz-Decoded-Content-Length", "5")
		r.Header.Set(header, value)
		now := time.Now()
		c := &chunker{payload: payload, stamp: now.UTC().Format("20060102T150405Z")}
		c.prev = signer.Sign(r, payload, now)
		body := c.frame([]byte("12345"))
		return append(head(r, int64(len(body))), body...)
	}
	plain := func(header, value string) []byte {
		r := signed(func(r *http.Request) { r.Header.Set(header, value) })
		return append(head(r, 5), "12345"...)
	}
	text := func(r *http.Request, headers, body string) []byte {
		h := head(r, -1)
		return append(append(h[:len(h)-2:len(h)-2], headers+"\r\n"...), body...)
	}
	trailer := "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
	for name, wire := range map[string][]byte{
		"no length at all":         text(signed(nil), "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n0\r\n\r\n"),
		"TLS hello":                []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x7f", 500)),
		"no HTTP":                  bytes.Repeat([]byte{0x80, 0x00, 0x0a}, 1000),
		"one line for ever":        bytes.Repeat([]byte("a"), 1<<20),
		"HTTP/0.9":                 []byte("GET /bad/object\r\n"),
		"HTTP/9.9":                 line("GET /bad/object HTTP/9.9"),
		"no path":                  line("GET HTTP/1.1"),
		"absolute nonsense":        line("GET http://[::1 HTTP/1.1"),
		"bad escape":               line("GET /bad/%zz HTTP/1.1"),
		"header without colon":     []byte("GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n"),
		"no host":                  []byte("GET /bad/object HTTP/1.1\r\n\r\n"),
		"negative length":          text(signed(nil), "Content-Length: -5\r\n", "12345"),
		"length of letters":        text(signed(nil), "Content-Length: five\r\n", "12345"),
		"two lengths":              text(signed(nil), "Content-Length: 5\r\nContent-Length: 6\r\n", "123456"),
		"huge length":              text(signed(nil), "Content-Length: 9223372036854775807\r\n", "12345"),
		"over 5 GiB":               text(signed(nil), "Content-Length: 5368709121\r\n", "12345"),
		"unknown coding":           text(signed(nil), "Transfer-Encoding: gzip\r\n", "12345"),
		"chunk size nonsense":      text(signed(nil), "Transfer-Encoding: chunked\r\n", "xyz\r\n12345\r\n0\r\n\r\n"),
		"chunk without end":        text(signed(nil), "Transfer-Encoding: chunked\r\n", "5\r\n12345"),
		"chunk size overflow":      text(signed(nil), "Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n12345\r\n0\r\n\r\n"),
		"aws chunk nonsense":       chunked("5", "xyz\r\n12345\r\n"+trailer),
		"aws chunk too long":       chunked("5", "6\r\n123456\r\n"+trailer),
		"aws chunk too short":      chunked("5", "4\r\n1234\r\n"+trailer),
		"aws chunk overflow":       chunked("5", "fffffffffffffff\r\n12345\r\n"+trailer),
		"aws chunk no CRLF":        chunked("5", "5\r\n12345"+trailer),
		"aws chunk line long":      chunked("5", strings.Repeat("0", 100_000)+"5\r\n12345\r\n"+trailer),
		"aws chunk no trailer":     chunked("5", "5\r\n12345\r\n0\r\n\r\n"),
		"aws chunk bad trailer":    chunked("5", "5\r\n12345\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n"),
		"aws chunk wrong sum":      chunked("5", "5\r\n12345\r\n"+trailer),
		"aws trailer for ever":     chunked("5", "5\r\n12345\r\n0\r\n"+strings.Repeat("a", 100_000)),
		"trailer of signed chunks": mode(sigv4.StreamingPayload, "X-Amz-Trailer", "x-amz-checksum-crc32"),
		"trailer of no chunks":     plain("X-Amz-Trailer", "x-amz-checksum-crc32"),
		"coding of no chunks":      plain("Content-Encoding", "gzip,aws-chunked"),
		"decoded negative":         chunked("-5", "5\r\n12345\r\n"+trailer),
		"decoded nonsense":         chunked("five", "5\r\n12345\r\n"+trailer),
		"decoded overflow":         chunked("99999999999999999999", "5\r\n12345\r\n"+trailer),
		"decoded missing":          chunked("", "5\r\n12345\r\n"+trailer),
	} {
		a, err := tryExchange(t.Context(), s.Addr, wire, wait)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a != nil && (a.Status == http.StatusHTTPVersionNotSupported || a.Status == http.StatusNotImplemented) {
			continue // net/http's own answers to a version and a coding it does not know
		}
		refused(t, name, a, true)
	}
	s.Raw().Must(t, 404, "HEAD", "/bad/raw", "", nil)
}

// mutations changes random bytes of well-formed requests. What they mean then
// is open; the server must live and never answer 500.
func mutations(t *testing.T, s *harness.Server) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	s.Raw().Must(t, 200, "PUT", "/mutants", "", nil)
	var work []func()
	for i := range 400 {
		m := &modes[rng.IntN(len(modes))]
		r, body, length := m.wire(t, s, "PUT", "/mutants/"+fmt.Sprint(i), "", content(uint64(i), 2000))
		wire := append(head(r, length), body...)
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(wire))
			switch rng.IntN(3) {
			case 0:
				wire[at] = byte(rng.Uint32())
			case 1:
				wire = append(wire[:at], wire[at+1:]...)
			case 2:
				wire = append(wire[:at:at], append([]byte{byte(rng.Uint32())}, wire[at:]...)...)
			}
		}
		work = append(work, func() {
			a := exchange(t, s, wire, wait)
			if a != nil && (a.Status >= 500 && a.Status != http.StatusNotImplemented && a.Status != http.StatusHTTPVersionNotSupported) {
				t.Errorf("seed %d, mutant %d: status %d: %.200s", seed, i, a.Status, a.Body)
			}
		})
	}
	parallel(work)
}
