// Package kill ends a server under load with SIGKILL, again and again, and
// reads back everything that it had acknowledged.
package kill

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"holdfast/tests/harness"
)

const bucket = "kill"

// absent stands for a key that does not exist.
const absent = "absent"

// state is what a writer knows of one of its keys: the last acknowledged
// content, and those of operations whose outcome it does not know.
type state struct {
	acked  string   // MD5 of the content, or absent
	unsure []string // what an unanswered operation may have made of it
}

func (s *state) allows(got string) bool {
	if got == s.acked {
		return true
	}
	for _, u := range s.unsure {
		if got == u {
			return true
		}
	}
	return false
}

// writer changes keys of its own, one operation at a time.
type writer struct {
	id     int
	rng    *rand.Rand
	keys   map[string]*state
	client *s3.Client
	ops    *atomic.Int64
}

var sizes = []int{0, 100, 4 << 10, 16 << 10, 70_000, 1<<20 + 5, 3 << 20}

func (w *writer) body() []byte {
	b := make([]byte, sizes[w.rng.IntN(len(sizes))])
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

func digest(b []byte) string { s := md5.Sum(b); return hex.EncodeToString(s[:]) }

// step makes one operation and notes what is known after it.
func (w *writer) step(ctx context.Context) {
	key := fmt.Sprintf("w%d/k%d", w.id, w.rng.IntN(12))
	st := w.keys[key]
	if st == nil {
		st = &state{acked: absent}
		w.keys[key] = st
	}
	var want string
	var err error
	switch w.rng.IntN(10) {
	case 0, 1:
		want = absent
		_, err = w.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key})
	case 2:
		want, err = w.multipart(ctx, key)
	case 3:
		want, err = w.copy(ctx, key)
	default:
		b := w.body()
		want = digest(b)
		_, err = w.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(b)})
	}
	if want == "" {
		return
	}
	if err != nil {
		st.unsure = append(st.unsure, want)
		return
	}
	w.ops.Add(1)
	*st = state{acked: want}
}

func (w *writer) multipart(ctx context.Context, key string) (string, error) {
	up, err := w.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		return "", err
	}
	whole := bytes.Repeat([]byte{byte(w.rng.Uint32())}, 5<<20+w.rng.IntN(1000))
	var parts []types.CompletedPart
	for n, p := range [][]byte{whole[:5<<20], whole[5<<20:]} {
		out, err := w.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String(bucket), Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(n + 1)), Body: bytes.NewReader(p)})
		if err != nil {
			return "", err
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(n + 1)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC64NVME: out.ChecksumCRC64NVME})
	}
	_, err = w.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: aws.String(bucket), Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	return digest(whole), err
}

// copy copies another key of the writer whose content is certain.
func (w *writer) copy(ctx context.Context, key string) (string, error) {
	for src, st := range w.keys {
		if src == key || st.acked == absent || len(st.unsure) > 0 {
			continue
		}
		_, err := w.client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: &key, CopySource: aws.String(bucket + "/" + src)})
		return st.acked, err
	}
	return "", nil
}

// check reads every key of the writer back and settles what was unsure.
func (w *writer) check(ctx context.Context) error {
	for key, st := range w.keys {
		got, err := read(ctx, w.client, key)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if !st.allows(got) {
			return fmt.Errorf("%s: holds %s; acknowledged was %s, unanswered were %v", key, got, st.acked, st.unsure)
		}
		*st = state{acked: got}
	}
	return nil
}

// read returns the digest of a key's content, or absent.
func read(ctx context.Context, c *s3.Client, key string) (string, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		var api smithy.APIError
		if errors.As(err, &api) && api.ErrorCode() == "NoSuchKey" {
			return absent, nil
		}
		return "", err
	}
	defer out.Body.Close()
	h := md5.New()
	n, err := io.Copy(h, out.Body)
	if err == nil && n != aws.ToInt64(out.ContentLength) {
		err = fmt.Errorf("%d of %d bytes", n, aws.ToInt64(out.ContentLength))
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

func kills() int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 500
	}
	return 25 // for each of two schemes
}

func TestKilledUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	for _, o := range []harness.Options{{Dirs: 1, Scheme: "rep-1"}, {Dirs: 4, Scheme: "rs-2+2"}} {
		t.Run(o.Scheme, func(t *testing.T) { killed(t, o, kills()) })
	}
}

func killed(t *testing.T, o harness.Options, times int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := harness.Start(t, o)
	noRetry := func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: 20 * time.Second}
	}
	if _, err := s.S3().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	var ops atomic.Int64
	writers := make([]*writer, 8)
	for i := range writers {
		writers[i] = &writer{id: i, rng: rand.New(rand.NewPCG(seed, uint64(i+1))), keys: map[string]*state{}, client: s.S3(noRetry), ops: &ops}
	}
	done := 0
	for round := range times {
		if end, ok := t.Deadline(); ok && time.Until(end) < time.Minute {
			break // what was tried is still to be told
		}
		done++
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, w := range writers {
			wg.Go(func() {
				for ctx.Err() == nil {
					w.step(ctx)
				}
			})
		}
		select {
		case <-time.After(time.Duration(50+rng.IntN(450)) * time.Millisecond):
		case <-t.Context().Done():
		}
		s.Kill()
		cancel()
		wg.Wait()
		s.Launch()
		s.WaitReady()
		for _, w := range writers {
			if err := w.check(t.Context()); err != nil {
				t.Fatalf("kill %d, seed %d: %v", round+1, seed, err)
			}
		}
	}
	listed(t, s, writers)
	s.Stop()
	harness.CheckCatalog(t, s.Dirs[0])
	t.Logf("%d of %d kills, %d acknowledged operations, none lost", done, times, ops.Load())
}

// listed fails unless a listing shows exactly the keys that exist.
func listed(t *testing.T, s *harness.Server, writers []*writer) {
	t.Helper()
	want := map[string]bool{}
	for _, w := range writers {
		for k, st := range w.keys {
			if st.acked != absent {
				want[k] = true
			}
		}
	}
	pages := s3.NewListObjectsV2Paginator(s.S3(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: aws.Int32(7)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p.Contents {
			if !want[*o.Key] {
				t.Errorf("listed, but not there: %s", *o.Key)
			}
			delete(want, *o.Key)
		}
	}
	for k := range want {
		t.Errorf("there, but not listed: %s", k)
	}
}
