package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/tracker"
)

const (
	testUser   = "test-user"
	testSecret = "test-secret-key"
)

// frontCatalog is the part of a catalog that buckets, listings and deletions
// need, over maps. What it does not have panics.
type frontCatalog struct {
	tracker.Catalog
	touched atomic.Int64
	err     error // answered by every call, if set

	mu struct {
		sync.Mutex
		buckets map[string]*tracker.Bucket
		objects map[tracker.BucketID]map[string]tracker.Entry
	}
}

func newFrontCatalog() *frontCatalog {
	f := &frontCatalog{}
	f.mu.buckets = map[string]*tracker.Bucket{}
	f.mu.objects = map[tracker.BucketID]map[string]tracker.Entry{}
	return f
}

// put adds objects without data.
func (f *frontCatalog) put(bucket string, keys ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.mu.buckets[bucket]
	if b == nil {
		b = &tracker.Bucket{ID: tracker.BucketID(len(f.mu.buckets) + 1), Name: bucket, Owner: "root", Created: 1700000000000}
		f.mu.buckets[bucket] = b
		f.mu.objects[b.ID] = map[string]tracker.Entry{}
	}
	for _, k := range keys {
		f.mu.objects[b.ID][k] = tracker.Entry{Key: k, Size: int64(len(k)), ETag: "d41d8cd98f00b204e9800998ecf8427e", Modified: 1700000000123}
	}
}

func (f *frontCatalog) CreateBucket(_ context.Context, r *tracker.CreateBucket) (*tracker.Bucket, error) {
	f.touched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.mu.buckets[r.Name]; b != nil {
		return b, tracker.ErrBucketExists
	}
	b := &tracker.Bucket{ID: tracker.BucketID(len(f.mu.buckets) + 1), Name: r.Name, Owner: r.Owner, Location: r.Location, Created: 1700000000000}
	f.mu.buckets[r.Name] = b
	f.mu.objects[b.ID] = map[string]tracker.Entry{}
	return b, nil
}

func (f *frontCatalog) DeleteBucket(_ context.Context, r *tracker.DeleteBucket) error {
	f.touched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.mu.buckets[r.Name]
	switch {
	case b == nil:
		return tracker.ErrNoSuchBucket
	case len(f.mu.objects[b.ID]) > 0:
		return tracker.ErrBucketNotEmpty
	}
	delete(f.mu.buckets, r.Name)
	return nil
}

func (f *frontCatalog) Bucket(_ context.Context, name string) (*tracker.Bucket, error) {
	f.touched.Add(1)
	if f.err != nil {
		return nil, f.err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.mu.buckets[name]; b != nil {
		c := *b
		return &c, nil
	}
	return nil, tracker.ErrNoSuchBucket
}

// PutObject knows buckets that are asked for by name only.
func (f *frontCatalog) PutObject(ctx context.Context, r *tracker.PutObject) (*tracker.PutResult, error) {
	if _, err := f.Bucket(ctx, r.Name); err != nil {
		return nil, err
	}
	f.put(r.Name, r.Key)
	return &tracker.PutResult{Seq: 1, ETag: r.ETag}, nil
}

func (f *frontCatalog) ListBuckets(_ context.Context, r *tracker.ListBuckets) (*tracker.BucketPage, error) {
	f.touched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	page := &tracker.BucketPage{}
	for _, b := range f.mu.buckets {
		if strings.HasPrefix(b.Name, r.Prefix) && b.Name > r.After {
			page.Buckets = append(page.Buckets, *b)
		}
	}
	slices.SortFunc(page.Buckets, func(a, b tracker.Bucket) int { return cmp.Compare(a.Name, b.Name) })
	if len(page.Buckets) > r.Max {
		page.Buckets, page.Truncated = page.Buckets[:r.Max], true
	}
	return page, nil
}

func (f *frontCatalog) SetVersioning(_ context.Context, r *tracker.SetVersioning) error {
	f.touched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.mu.buckets {
		if b.ID == r.Bucket {
			b.Versioning = r.State
		}
	}
	return nil
}

func (f *frontCatalog) DeleteObjects(_ context.Context, r *tracker.DeleteObjects) ([]tracker.DeleteResult, error) {
	f.touched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]tracker.DeleteResult, len(r.Entries))
	for i, e := range r.Entries {
		old, ok := f.mu.objects[r.Bucket][e.Key]
		switch {
		case !ok:
			out[i].Err = tracker.ErrNoSuchKey
		case len(e.IfMatch) > 0 && e.IfMatch[0] != old.ETag, e.IfSize != nil && *e.IfSize != old.Size:
			out[i].Err = tracker.ErrPrecondition
		default:
			delete(f.mu.objects[r.Bucket], e.Key)
		}
	}
	return out, nil
}

// ListObjects is the contract's meaning, by sorting everything.
func (f *frontCatalog) ListObjects(_ context.Context, r *tracker.ListObjects) (*tracker.ObjectPage, error) {
	f.touched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	var keys []string
	for k := range f.mu.objects[r.Bucket] {
		if strings.HasPrefix(k, r.Prefix) && k > r.After && !(r.AfterPrefix && strings.HasPrefix(k, r.After)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	page := &tracker.ObjectPage{}
	for _, k := range keys {
		e := f.mu.objects[r.Bucket][k]
		if p := commonPrefix(k, r.Prefix, r.Delimiter); p != "" {
			if n := len(page.Entries); n > 0 && page.Entries[n-1].Prefix && page.Entries[n-1].Key == p {
				continue
			}
			e = tracker.Entry{Key: p, Prefix: true}
		}
		if len(page.Entries) == r.Max {
			page.Truncated = true
			break
		}
		page.Entries = append(page.Entries, e)
		page.Next, page.NextPrefix = e.Key, e.Prefix
	}
	return page, nil
}

// frontServer starts a front end over a fake catalog.
func frontServer(t testing.TB, change func(*gateway.Config), opts ...Option) (*httptest.Server, *frontCatalog) {
	t.Helper()
	keys, err := auth.NewStatic(testUser, testSecret)
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	cat := newFrontCatalog()
	s, err := NewServer(cfg, gateway.Deps{Catalog: cat, Scheduler: noScheduler{}, Keys: keys}, zerolog.Nop(), nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s.HTTPServer()
	ts.Start()
	t.Cleanup(func() {
		ts.Close()
		s.Close()
	})
	return ts, cat
}

// noScheduler is a scheduler without a map.
type noScheduler struct{ tracker.Scheduler }

func (noScheduler) Map(context.Context) (*tracker.Map, error) { return nil, tracker.ErrUnavailable }

// answer is what came back of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request, signed unless the caller says otherwise, and reads the
// whole answer.
func send(t testing.TB, ts *httptest.Server, method, path, body string, change func(*http.Request), unsigned ...bool) answer {
	t.Helper()
	req, err := http.NewRequest(method, ts.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	if len(unsigned) == 0 {
		sign(t, req, []byte(body))
	}
	res, err := ts.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, res.Body); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, buf.String()}
}

// sign signs a request with the test's credential and the body's hash.
func sign(t testing.TB, req *http.Request, body []byte) {
	t.Helper()
	sum := sha256.Sum256(body)
	sigv4.Sign(req, testUser, testSecret, "us-east-1", hex.EncodeToString(sum[:]), time.Now())
}

// withMD5 adds Content-MD5 of a body.
func withMD5(body string) func(*http.Request) {
	return func(r *http.Request) {
		sum := md5.Sum([]byte(body))
		r.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	}
}
