// Package bench is the load generator behind `holdfast bench`: it drives any
// S3 endpoint with PUT, GET, HEAD, LIST, DELETE or a mix of them, and reports
// throughput, latency percentiles and errors. Every load is bounded in time
// and in the number of objects. One goroutine per client; the recorder is
// sharded per client and merged at the end of a step.
package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/auth/sigv4"
)

// Options says what load to make.
type Options struct {
	Endpoint    string        // http(s)://host:port
	Region      string        // of the credential scope
	AccessKey   string        // signs every request
	SecretKey   string        //
	Bucket      string        // "" makes one and removes it at the end
	Ops         []string      // put, get, head, list, delete, mixed
	Sizes       []int64       // object sizes in bytes
	Concurrency []int         // clients
	Duration    time.Duration // of each step
	Objects     int           // prepared for get, head, list and mixed, at most
	Insecure    bool          // accept any certificate
}

// Validate names the first option that is out of bounds.
func (o *Options) Validate() error {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("--endpoint %q: give http://HOST:PORT or https://HOST:PORT", o.Endpoint)
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD")
	}
	for _, op := range o.Ops {
		if !slices.Contains([]string{"put", "get", "head", "list", "delete", "mixed"}, op) {
			return fmt.Errorf("--ops %q: the operations are put, get, head, list, delete, mixed", op)
		}
	}
	for _, s := range o.Sizes {
		if s < 0 || s > 5<<30 {
			return fmt.Errorf("--size %d: 0 to 5 GiB", s)
		}
	}
	for _, c := range o.Concurrency {
		if c < 1 || c > 4096 {
			return fmt.Errorf("--concurrency %d: 1 to 4096", c)
		}
	}
	switch {
	case len(o.Ops) == 0 || len(o.Sizes) == 0 || len(o.Concurrency) == 0:
		return errors.New("give at least one operation, one size and one concurrency")
	case o.Duration < 100*time.Millisecond || o.Duration > 24*time.Hour:
		return fmt.Errorf("--duration %v: 100ms to 24h", o.Duration)
	case o.Objects < 1 || o.Objects > 10_000_000:
		return fmt.Errorf("--objects %d: 1 to 10,000,000", o.Objects)
	}
	return nil
}

// Bench is one bench at work: New, Run, Close.
type Bench struct {
	o        Options
	client   *http.Client
	body     []byte
	prepared map[string]int // set name -> objects there
	made     bool           // the bucket is ours
	progress func(Progress)
}

// Progress is told about once a second while a step runs.
type Progress struct {
	Step    string
	Elapsed time.Duration
	Total   time.Duration // 0 where it is not known
	Ops     int64
	Errors  int64
	Bytes   int64
}

// New checks the options and opens or makes the bucket. progress may be nil.
func New(ctx context.Context, o Options, progress func(Progress)) (*Bench, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	b := &Bench{o: o, prepared: map[string]int{}, progress: progress, body: make([]byte, 1<<20)}
	if _, err := rand.Read(b.body); err != nil {
		return nil, err
	}
	b.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: slices.Max(o.Concurrency), MaxConnsPerHost: slices.Max(o.Concurrency),
		DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: o.Insecure}}}
	if err := b.openBucket(ctx); err != nil {
		b.client.CloseIdleConnections()
		return nil, err
	}
	return b, nil
}

// Run makes the load, one step after another: every operation at every size
// and concurrency. The report is never nil; after an error, also that of ctx,
// it has the steps so far, the last one cut.
func (b *Bench) Run(ctx context.Context) (*Report, error) {
	rep := &Report{Endpoint: b.o.Endpoint, Started: time.Now().UTC(), Duration: b.o.Duration}
	return rep, b.steps(ctx, rep)
}

// Close removes what was written, and the bucket if it was made. What ctx cuts
// stays.
func (b *Bench) Close(ctx context.Context) error {
	defer b.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.cleanUp(ctx); err != nil {
		return fmt.Errorf("some of what was written to bucket %s is left: %w", b.o.Bucket, err)
	}
	return nil
}

func (b *Bench) steps(ctx context.Context, rep *Report) error {
	for _, op := range b.o.Ops {
		for _, size := range b.o.Sizes {
			for _, clients := range b.o.Concurrency {
				s, err := b.step(ctx, op, size, clients)
				if err == nil || s.Ops > 0 {
					rep.Steps = append(rep.Steps, s)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *Bench) openBucket(ctx context.Context) error {
	if b.o.Bucket != "" {
		code, _, err := b.do(ctx, http.MethodHead, "", "", 0)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("bucket %s: the endpoint answers %d", b.o.Bucket, code)
		}
		return err
	}
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	b.o.Bucket, b.made = "bench-"+hex.EncodeToString(id[:]), true
	code, _, err := b.do(ctx, http.MethodPut, "", "", 0)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("creating bucket %s: the endpoint answers %d", b.o.Bucket, code)
	}
	return err
}

// step runs one operation at one size with so many clients.
func (b *Bench) step(ctx context.Context, op string, size int64, clients int) (Step, error) {
	s := Step{Op: op, Size: size, Clients: clients}
	set := setName(op, size)
	if op != "put" {
		if err := b.prepare(ctx, s.name(), set, size, op == "delete"); err != nil {
			return s, err
		}
	}
	n := b.prepared[set]
	var next, ops, bad, bytes atomic.Int64
	lats := make([][]time.Duration, clients)
	firstErrs := make([]error, clients)
	start := time.Now()
	end := start.Add(b.o.Duration)
	stop := b.watch(s.name(), b.o.Duration, &ops, &bad, &bytes)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			// One operation each at least, however slow the machine is.
			for mine := 0; ctx.Err() == nil && (mine == 0 || time.Now().Before(end)); mine++ {
				i := int(next.Add(1)) - 1
				if op == "delete" && i >= n {
					return
				}
				t := time.Now()
				moved, err := b.one(ctx, op, set, size, i, n)
				if err != nil && ctx.Err() != nil {
					return // cut by the interruption: neither done nor failed
				}
				lats[c] = append(lats[c], time.Since(t))
				ops.Add(1)
				if err == nil {
					bytes.Add(moved)
				} else {
					bad.Add(1)
					if firstErrs[c] == nil {
						firstErrs[c] = err
					}
				}
			}
		})
	}
	wg.Wait()
	stop()
	if op == "put" || op == "mixed" {
		b.prepared[setName("put", size)+"-new"] = max(b.prepared[setName("put", size)+"-new"], int(next.Load()))
	}
	var firstErr error
	for _, err := range firstErrs {
		if firstErr == nil {
			firstErr = err
		}
	}
	s.Cut = ctx.Err() != nil
	s.fill(time.Since(start), slices.Concat(lats...), ops.Load(), bad.Load(), bytes.Load(), firstErr)
	return s, ctx.Err()
}

// watch tells how far a step is, until stop is called.
func (b *Bench) watch(step string, total time.Duration, ops, bad, bytes *atomic.Int64) (stop func()) {
	if b.progress == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				b.progress(Progress{step, time.Since(start), total, ops.Load(), bad.Load(), bytes.Load()})
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func setName(op string, size int64) string {
	if op == "delete" {
		return fmt.Sprintf("delete-%d", size)
	}
	return fmt.Sprintf("objects-%d", size)
}

// one makes one operation and returns the body bytes it moved.
func (b *Bench) one(ctx context.Context, op, set string, size int64, i, n int) (int64, error) {
	if op == "mixed" {
		op = [...]string{"get", "get", "get", "get", "put", "put", "head", "head", "list", "get"}[mrand.IntN(10)]
	}
	switch op {
	case "put":
		return size, b.expect(ctx, http.MethodPut, fmt.Sprintf("%s-new/%08d", set, i), "", size)
	case "get", "head":
		method := map[string]string{"get": http.MethodGet, "head": http.MethodHead}[op]
		code, got, err := b.do(ctx, method, fmt.Sprintf("%s/%08d", set, mrand.IntN(n)), "", 0)
		if err == nil && (code != http.StatusOK || (op == "get" && got != size)) {
			err = fmt.Errorf("%s: status %d, %d of %d bytes", op, code, got, size)
		}
		return got, err
	case "list":
		q := fmt.Sprintf("list-type=2&max-keys=1000&prefix=%s%%2F&start-after=%s%%2F%08d", set, set, mrand.IntN(max(n-1000, 1)))
		code, got, err := b.do(ctx, http.MethodGet, "", q, 0)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("list: status %d", code)
		}
		return got, err
	}
	return 0, b.expect(ctx, http.MethodDelete, fmt.Sprintf("%s/%08d", set, i), "", 0)
}

func (b *Bench) expect(ctx context.Context, method, key, query string, size int64) error {
	code, _, err := b.do(ctx, method, key, query, size)
	if err == nil && code/100 != 2 {
		err = fmt.Errorf("%s: status %d", strings.ToLower(method), code)
	}
	return err
}

// do sends one signed request and reads its answer to the end. Transient
// refusals are counted, not retried: the bench measures what is.
func (b *Bench) do(ctx context.Context, method, key, query string, size int64) (code int, got int64, err error) {
	target := b.o.Endpoint + "/" + b.o.Bucket
	if key != "" {
		target += "/" + key
	}
	if query != "" {
		target += "?" + query
	}
	var body io.Reader
	if size > 0 {
		body = &repeated{src: b.body, left: size}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return 0, 0, err
	}
	if size > 0 {
		req.ContentLength = size
	}
	sigv4.Sign(req, b.o.AccessKey, b.o.SecretKey, b.o.Region, sigv4.UnsignedPayload, time.Now())
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	got, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, got, err
}

// repeated reads left bytes of src over and over.
type repeated struct {
	src  []byte
	at   int
	left int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.src[r.at:])
	r.at = (r.at + n) % len(r.src)
	r.left -= int64(n)
	return n, nil
}
