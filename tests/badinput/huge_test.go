package badinput

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/tests/harness"
)

const (
	hugeBody = 1 << 30
	// hugeGrowth is what a server may grow by while it refuses such bodies:
	// the largest document that it does read, a few times over.
	hugeGrowth = 96 << 20
)

// TestHugeDocuments streams a gigabyte of XML to each operation that reads a
// document: it is refused, and is never held in memory.
func TestHugeDocuments(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/huge", "", nil)
	id := startUpload(t, r, "/huge/upload")
	before := s.Usage()
	for op, target := range map[string][3]string{
		"DeleteObjects": {"POST", "/huge", "delete="},
		"Complete":      {"POST", "/huge/upload", harness.Query("uploadId", id)},
		"CreateBucket":  {"PUT", "/huge-new", ""},
		"PutVersioning": {"PUT", "/huge", "versioning="},
	} {
		for _, framing := range []string{"length", "chunked", "aws-chunked"} {
			a, sent, err := huge(t, s, target, framing)
			if err != nil {
				t.Errorf("%s, %s: %v", op, framing, err)
				continue
			}
			refused(t, fmt.Sprintf("%s of a gigabyte, framed by %s", op, framing), a, true)
			t.Logf("%s, framed by %s: over after %d MiB", op, framing, sent>>20)
		}
	}
	after := s.Usage()
	t.Logf("RSS %d MiB before, peak %d MiB", before.RSS>>20, after.PeakRSS>>20)
	if grown := after.PeakRSS - before.RSS; grown > hugeGrowth {
		t.Errorf("the server grew by %d MiB", grown>>20)
	}
	r.Must(t, 404, "HEAD", "/huge-new", "", nil)
	sane(t, s)
}

// huge streams a document until it is all sent or the server closes, and
// returns the answer and the bytes sent.
func huge(t *testing.T, s *harness.Server, target [3]string, framing string) (*harness.Answer, int64, error) {
	req := request(t, s, target[0], target[1], target[2])
	length := int64(hugeBody)
	payload := sigv4.UnsignedPayload
	switch framing {
	case "chunked":
		length = -1
		req.Header.Set("Transfer-Encoding", "chunked")
	case "aws-chunked":
		payload = sigv4.StreamingUnsignedTrailer
		req.Header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(hugeBody, 10))
		req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		length += 20
	}
	req.Header.Set("Content-Md5", harness.MD5(nil))
	signer.Sign(req, payload, time.Now())
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, 0, err
	}
	type outcome struct {
		a   *harness.Answer
		err error
	}
	got := make(chan outcome, 1)
	go func() {
		a, err := answer(c)
		got <- outcome{a, err}
	}()
	sent := stream(c, head(req, length), framing)
	o := <-got
	return o.a, sent, o.err
}

// stream writes the head and then a gigabyte of one endless list of keys.
func stream(c net.Conn, head []byte, framing string) (sent int64) {
	if _, err := c.Write(head); err != nil {
		return 0
	}
	if framing == "aws-chunked" {
		if _, err := fmt.Fprintf(c, "%x\r\n", hugeBody); err != nil {
			return 0
		}
	}
	block := append([]byte("<Delete>"), bytes.Repeat([]byte("<Object><Key>k</Key></Object>"), 36_000)...)
	block = append(block, bytes.Repeat([]byte(" "), 1<<20-len(block)%(1<<20))...)
	for sent < hugeBody {
		var err error
		switch framing {
		case "chunked":
			_, err = fmt.Fprintf(c, "%x\r\n%s\r\n", len(block), block)
		default:
			_, err = c.Write(block)
		}
		if err != nil {
			return sent
		}
		sent += int64(len(block))
		copy(block, "        ") // the root opens once
	}
	return sent
}
