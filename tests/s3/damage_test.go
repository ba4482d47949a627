package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"holdfast/storage"
	"holdfast/tracker"
)

// TestLostShards reads with every one of the nodes away in turn.
func TestLostShards(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path, data := "/"+bucket+"/k", pattern(1<<20)
	c.must(200, "PUT", path, data)
	for id, n := range c.nodes {
		n.SetOffline(true)
		if a := c.must(200, "GET", path, ""); a.body != data {
			t.Errorf("without node %d: %d other bytes", id, len(a.body))
		}
		n.SetOffline(false)
	}
	for _, n := range c.nodes {
		n.SetOffline(true)
	}
	if a := c.refused(503, "ServiceUnavailable", "GET", path, ""); a.header.Get("ETag") != "" || a.header.Get("Content-Type") != "application/xml" {
		t.Errorf("503 has headers of the object: %v", a.header)
	}
	c.refused(503, "ServiceUnavailable", "PUT", path+"2", data)
	c.must(200, "PUT", path+"3", "small objects need no node")
	c.must(200, "GET", path+"3", "")
}

// TestRot flips bytes of shards: the read goes on with others, or is cut off,
// but never ends well with other bytes.
func TestRot(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path, data := "/"+bucket+"/k", pattern(2<<20)
	c.must(200, "PUT", path, data)
	ctx := context.Background()
	b, err := c.svc.Bucket(ctx, bucket)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := c.svc.GetObject(ctx, &tracker.GetObject{Bucket: b.ID, Key: "k", Data: true})
	if err != nil {
		t.Fatal(err)
	}
	blob := obj.Extents[0].Blob
	id := storage.ShardID{Blob: blob.ID, Index: 0, Gen: blob.Shards[0].Gen}
	if !c.nodes[blob.Shards[0].Node].Rot(id, 1_900_000, 1) {
		t.Fatal("no such byte")
	}
	a, err := c.try("GET", path, "")
	if err == nil && a.status == 200 {
		t.Errorf("rot was not noticed: %d bytes", len(a.body))
	}
	if a.body != "" && !strings.HasPrefix(data, a.body) {
		t.Error("other bytes were sent")
	}
	if a := c.must(206, "GET", path, "", "Range", "bytes=0-99"); a.body != data[:100] {
		t.Error("a range elsewhere is not readable")
	}
	c.nodes[blob.Shards[0].Node].Rot(id, 10, 1)
	c.refused(500, "InternalError", "GET", path, "")
}

// TestCutBodies sends less than announced, in every way of framing.
func TestCutBodies(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	for _, size := range []int{100, 100_000} {
		path := fmt.Sprintf("/%s/cut%d", bucket, size)
		conn, err := net.Dial("tcp", c.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest("PUT", c.URL+path, bytes.NewReader(make([]byte, size)))
		sign(req)
		var head bytes.Buffer
		if err := req.Write(&head); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(head.Bytes()[:head.Len()-1]); err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).CloseWrite()
		if got, _ := io.ReadAll(conn); len(got) > 0 && !bytes.Contains(got, []byte("<Code>IncompleteBody</Code>")) {
			t.Errorf("%d: %s", size, got)
		}
		conn.Close()
		c.refused(404, "NoSuchKey", "GET", path, "")
	}
	cl, ctx := c.client(func(o *s3.Options) { o.RetryMaxAttempts = 1 }), context.Background()
	for _, alg := range types.ChecksumAlgorithm("").Values() {
		in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("broken"), ChecksumAlgorithm: alg, ContentLength: aws.Int64(1 << 20),
			Body: io.MultiReader(strings.NewReader(pattern(500_000)), failing{})}
		if _, err := cl.PutObject(ctx, in); err == nil {
			t.Errorf("%s: a broken body was stored", alg)
		}
	}
	c.refused(404, "NoSuchKey", "GET", "/"+bucket+"/broken", "")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("source failed") }

// TestSDK puts and gets by the SDK's defaults: trailing CRC32, verified reads.
func TestSDK(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	cl, ctx := c.client(), context.Background()
	for _, size := range []int{0, 1, 5000, 200_000} {
		for _, alg := range []types.ChecksumAlgorithm{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
			key, data := aws.String(fmt.Sprint(alg, size)), pattern(size)
			if _, err := cl.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: key, Body: strings.NewReader(data), ChecksumAlgorithm: alg}); err != nil {
				t.Fatalf("%s: %v", *key, err)
			}
			out, err := cl.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Fatalf("%s: %v", *key, err)
			}
			got, err := io.ReadAll(out.Body)
			if err != nil || string(got) != data || out.ChecksumType != types.ChecksumTypeFullObject {
				t.Errorf("%s: %d bytes, %v", *key, len(got), err)
			}
			out.Body.Close()
		}
	}
}

// TestOneWinner races creations; exactly one may win.
func TestOneWinner(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	for round := range 10 {
		var won, lost atomic.Int32
		done := make(chan struct{})
		for i := range 16 {
			go func() {
				defer func() { done <- struct{}{} }()
				body := fmt.Sprint(i)
				if i%2 == 0 {
					body = pattern(20_000 + i)
				}
				switch a, err := c.try("PUT", fmt.Sprintf("/%s/r%d", bucket, round), body, "If-None-Match", "*"); {
				case err != nil:
				case a.status == 200:
					won.Add(1)
				case a.status == 412:
					lost.Add(1)
				}
			}()
		}
		for range 16 {
			<-done
		}
		if won.Load() != 1 || lost.Load() != 15 {
			t.Errorf("round %d: %d won, %d lost", round, won.Load(), lost.Load())
		}
	}
}
