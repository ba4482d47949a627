package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// hooked is a catalog and scheduler between the gateway and the real ones. A
// hook runs before the commit of a version or a part; its error is the
// answer, and the commit is not asked for. After is asked once it was.
type hooked struct {
	tracker.Catalog
	tracker.Scheduler
	before, after atomic.Pointer[func(try int) error]
	tries, places atomic.Int64
}

func (h *hooked) set(before, after func(try int) error) {
	h.tries.Store(0)
	h.places.Store(0)
	h.before.Store(&before)
	h.after.Store(&after)
}

func (h *hooked) around(commit func() error) error {
	try := int(h.tries.Add(1))
	if f := h.before.Load(); f != nil && *f != nil {
		if err := (*f)(try); err != nil {
			return err
		}
	}
	err := commit()
	if f := h.after.Load(); f != nil && *f != nil {
		if lost := (*f)(try); lost != nil {
			return lost
		}
	}
	return err
}

func (h *hooked) PutObject(ctx context.Context, r *tracker.PutObject) (res *tracker.PutResult, err error) {
	if len(r.Blobs) == 0 {
		return h.Catalog.PutObject(ctx, r)
	}
	err = h.around(func() (err error) {
		res, err = h.Catalog.PutObject(ctx, r)
		return err
	})
	return res, err
}

func (h *hooked) PutPart(ctx context.Context, r *tracker.PutPart) error {
	return h.around(func() error { return h.Catalog.PutPart(ctx, r) })
}

func (h *hooked) Place(ctx context.Context, r *tracker.PlaceRequest) (*tracker.Grant, error) {
	h.places.Add(1)
	return h.Scheduler.Place(ctx, r)
}

// shards counts the shards on all nodes.
func (c *cluster) shards() (n int) {
	c.t.Helper()
	for _, node := range c.nodes {
		list, err := node.List(context.Background(), storage.IDRange{}, storage.ShardID{}, 1<<20)
		if err != nil {
			c.t.Fatal(err)
		}
		n += len(list)
	}
	return n
}

// orphanSizes are a body that is held in memory and one that is streamed.
var orphanSizes = []int{100_000, 3 << 20}

// write is a request that brings bytes which go to the nodes.
type write struct {
	name string
	send func(c *cluster, path, body string) answer
}

var writes = []write{
	{"put", func(c *cluster, path, body string) answer { return c.do("PUT", path, body) }},
	{"part", func(c *cluster, path, body string) answer {
		return c.do("PUT", path+"?partNumber=1&uploadId="+c.begin(path), body)
	}},
	{"form", func(c *cluster, path, body string) answer {
		key := strings.TrimPrefix(path, "/"+bucket+"/")
		return c.post(body, signed(fmt.Sprintf(`,{"key":%q}`, key), "key", key)...)
	}},
}

// TestRefusedCommitLeavesNothing: whatever is the reason why a commit refuses
// a write, its shards are gone when the client has its answer.
func TestRefusedCommitLeavesNothing(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	for name, refusal := range map[string]error{
		"bucket gone": tracker.ErrNoSuchBucket, "upload gone": tracker.ErrNoSuchUpload, "condition": tracker.ErrPrecondition,
		"nothing to match": tracker.ErrNoSuchKey, "fenced": tracker.ErrFenced, "too late": tracker.ErrExpired, "quota": tracker.ErrQuota,
		"catalog full": tracker.ErrCatalogFull, "invalid": tracker.ErrInvalid, "too large": tracker.ErrTooLarge,
	} {
		for _, size := range orphanSizes {
			for _, w := range writes {
				c.hooks.set(func(int) error { return fmt.Errorf("judged: %w", refusal) }, nil)
				a := w.send(c, "/"+bucket+"/key", pattern(size))
				if a.status/100 == 2 || c.hooks.tries.Load() != 1 {
					t.Errorf("%s: %s of %d bytes: status %d after %d tries", name, w.name, size, a.status, c.hooks.tries.Load())
				}
				if n := c.shards(); n != 0 {
					t.Fatalf("%s: %s of %d bytes: %d shards are left", name, w.name, size, n)
				}
			}
		}
	}
}

// TestLostRaceLeavesNothing: what was so when the request came is not so any
// more when it commits.
func TestLostRaceLeavesNothing(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path := "/" + bucket + "/key"
	ref := func(id string) tracker.UploadRef {
		b, err := c.svc.Bucket(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		return tracker.UploadRef{Bucket: b.ID, Key: "key", Upload: id}
	}
	for _, size := range orphanSizes {
		body := pattern(size)
		c.hooks.set(func(int) error { c.must(200, "PUT", path, "first"); return nil }, nil)
		c.refused(412, "PreconditionFailed", "PUT", path, body, "If-None-Match", "*")
		c.must(204, "DELETE", path, "")

		etag := c.must(200, "PUT", path, "first").header.Get("ETag")
		c.hooks.set(func(int) error { c.must(200, "PUT", path, "second"); return nil }, nil)
		c.refused(412, "PreconditionFailed", "PUT", path, body, "If-Match", etag)
		c.hooks.set(func(int) error { c.must(204, "DELETE", path, ""); return nil }, nil)
		c.refused(404, "NoSuchKey", "PUT", path, body, "If-Match", etagOf("second"))

		id := c.begin(path)
		c.hooks.set(func(int) error { return c.svc.AbortUpload(t.Context(), &tracker.AbortUpload{UploadRef: ref(id)}) }, nil)
		c.refused(404, "NoSuchUpload", "PUT", path+"?partNumber=1&uploadId="+id, body)

		c.hooks.set(func(int) error { c.must(204, "DELETE", "/"+bucket, ""); return nil }, nil)
		c.refused(404, "NoSuchBucket", "PUT", path, body)
		c.hooks.set(nil, nil)
		c.must(200, "PUT", "/"+bucket, "")
		if n := c.shards(); n != 0 {
			t.Errorf("%d bytes: %d shards are left", size, n)
		}
	}
}

// TestRefusedCopyLeavesNothing: a copy that has to read and write its bytes.
func TestRefusedCopyLeavesNothing(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path := "/" + bucket + "/key"
	c.must(200, "PUT", "/"+bucket+"/source", pattern(100_000))
	before := c.shards()
	c.hooks.set(func(int) error { c.must(200, "PUT", path, "first"); return nil }, nil)
	c.refused(412, "PreconditionFailed", "PUT", path, "", "X-Amz-Copy-Source", "/"+bucket+"/source",
		"X-Amz-Checksum-Algorithm", "SHA256", "If-None-Match", "*")
	if c.hooks.tries.Load() != 1 || c.shards() != before {
		t.Errorf("%d commits, %d shards, %d before", c.hooks.tries.Load(), c.shards(), before)
	}
	id := c.begin(path)
	c.hooks.set(func(int) error { return tracker.ErrNoSuchUpload }, nil)
	c.refused(404, "NoSuchUpload", "PUT", path+"?partNumber=1&uploadId="+id, "", "X-Amz-Copy-Source", "/"+bucket+"/source")
	if c.shards() != before {
		t.Errorf("%d shards, %d before", c.shards(), before)
	}
}

// TestDoubtfulCommitDeletesNothing: as long as an attempt of a commit may
// still take effect, or somebody may refer to the blob, its shards stay.
func TestDoubtfulCommitDeletesNothing(t *testing.T) {
	t.Parallel()
	answers := func(errs ...error) func(int) error {
		return func(try int) error {
			if try <= len(errs) {
				return errs[try-1]
			}
			return nil
		}
	}
	late := fmt.Errorf("%w (last: %w)", tracker.ErrUncertain, tracker.ErrPrecondition)
	c := open(t, "rs-2+1", nil)
	written := 0
	for name, tc := range map[string]struct {
		before, after func(int) error
		ok            bool // the write succeeds in the end
	}{
		"lost, then refused":             {answers(tracker.ErrUncertain, tracker.ErrPrecondition), nil, false},
		"refused after a lost attempt":   {answers(late, tracker.ErrPrecondition), nil, false},
		"no leader, then refused":        {answers(tracker.ErrNotLeader, tracker.ErrNoSuchBucket), nil, false},
		"committed before":               {answers(tracker.ErrConflict), nil, false},
		"an error that nobody knows":     {answers(errors.New("boom")), nil, false},
		"time is over":                   {answers(context.DeadlineExceeded), nil, false},
		"done, and the answer is lost":   {nil, answers(tracker.ErrUncertain), true},
		"done, lost twice":               {nil, answers(tracker.ErrUncertain, tracker.ErrUncertain), true},
		"done, lost, refused by another": {answers(nil, tracker.ErrNoSuchBucket), answers(tracker.ErrUncertain), false},
	} {
		for _, w := range writes {
			written++
			path, before := fmt.Sprintf("/%s/key-%d", bucket, written), c.shards()
			c.hooks.set(tc.before, tc.after)
			a := w.send(c, path, pattern(100_000))
			if (a.status/100 == 2) != tc.ok {
				t.Errorf("%s: %s: status %d: %s", name, w.name, a.status, a.body)
			}
			if n := c.shards() - before; n != 3 {
				t.Errorf("%s: %s: %d shards are left, want 3", name, w.name, n)
			}
			if tc.ok && w.name != "part" {
				if a := c.must(200, "GET", path, ""); a.body != pattern(100_000) {
					t.Errorf("%s: %s: read %d bytes", name, w.name, len(a.body))
				}
			}
		}
	}
}

// TestPrecheck: what can be known before the body is read is refused without
// asking for it, over the inline limit.
func TestPrecheck(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path := "/" + bucket + "/key"
	c.must(200, "PUT", path, "first")
	id := c.begin(path)
	c.must(204, "DELETE", path+"?uploadId="+id, "")
	for _, size := range []int{8<<10 + 1, 100_000, 3 << 20} {
		for name, tc := range map[string]struct {
			status       int
			path         string
			header, want string
		}{
			"exists":      {412, path, "If-None-Match", "*"},
			"same":        {412, path, "If-None-Match", etagOf("first")},
			"differs":     {412, path, "If-Match", `"00"`},
			"nothing":     {404, path + "-none", "If-Match", "*"},
			"no bucket":   {404, "/nowhere/key", "", ""},
			"no upload":   {404, path + "?partNumber=1&uploadId=" + id, "", ""},
			"odd upload":  {404, path + "?partNumber=1&uploadId=none", "", ""},
			"copy exists": {412, path, "If-None-Match", "*"},
		} {
			c.hooks.set(nil, nil)
			req, err := http.NewRequest("PUT", c.URL+tc.path, unasked{t, name})
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = int64(size)
			req.Header.Set("Expect", "100-continue")
			if tc.header != "" {
				req.Header.Set(tc.header, tc.want)
			}
			sign(req)
			tr := c.Server.Client().Transport.(*http.Transport).Clone()
			tr.ExpectContinueTimeout = time.Minute
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			res.Body.Close()
			tr.CloseIdleConnections()
			if res.StatusCode != tc.status || c.hooks.places.Load() != 0 {
				t.Errorf("%s of %d bytes: status %d, %d places", name, size, res.StatusCode, c.hooks.places.Load())
			}
		}
	}
}

// unasked is a body that nobody asks for.
type unasked struct {
	t    *testing.T
	what string
}

func (u unasked) Read([]byte) (int, error) {
	u.t.Errorf("%s: the body is asked for", u.what)
	return 0, io.EOF
}

// TestBadBodyLeavesNothing: a body that ends early, or is not what was
// promised of it, leaves no shard.
func TestBadBodyLeavesNothing(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path := "/" + bucket + "/key"
	id := c.begin(path)
	part := path + "?partNumber=1&uploadId=" + id
	for _, size := range orphanSizes {
		body := pattern(size)
		for _, p := range []string{path, part} {
			c.refused(400, "BadDigest", "PUT", p, body, "Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")
			c.refused(400, "BadDigest", "PUT", p, body, "X-Amz-Checksum-Crc32", "AAAAAA==")
			c.cut(p, body[:size-1], size)
			c.cut(p, body[:size/2], size)
		}
		c.post(body, signed(`,{"key":"key"},["content-length-range",1,10]`, "key", "key")...)
		c.post(body, signed(`,{"key":"key"},["starts-with","$x-amz-checksum-crc32",""]`, "key", "key", "x-amz-checksum-crc32", "AAAAAA==")...)
	}
	if n := c.shards(); n != 0 {
		t.Errorf("%d shards are left", n)
	}
	c.refused(404, "NoSuchKey", "GET", path, "")
}

// cut sends the head of a request for size bytes and fewer bytes, and ends.
func (c *cluster) cut(path, body string, size int) {
	c.t.Helper()
	req, err := http.NewRequest("PUT", c.URL+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	sign(req)
	conn, err := net.Dial("tcp", c.Listener.Addr().String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.URL.RequestURI(), req.URL.Host, size)
	if err := req.Header.Write(conn); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "\r\n"+body); err != nil {
		c.t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		c.t.Fatal(err)
	}
}
