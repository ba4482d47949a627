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

// runner is one bench at work.
type runner struct {
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
	Total   time.Duration
	Ops     int64
	Errors  int64
	Bytes   int64
}

// Run makes the load, one step after another: every operation at every size
// and concurrency. It removes what it made, also when it is interrupted.
func Run(ctx context.Context, o Options, progress func(Progress)) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &runner{o: o, prepared: map[string]int{}, progress: progress, body: make([]byte, 1<<20)}
	if _, err := rand.Read(r.body); err != nil {
		return nil, err
	}
	r.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: slices.Max(o.Concurrency), MaxConnsPerHost: slices.Max(o.Concurrency),
		DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: o.Insecure}}}
	defer r.client.CloseIdleConnections()
	if err := r.openBucket(ctx); err != nil {
		return nil, err
	}
	rep := &Report{Endpoint: o.Endpoint, Started: time.Now().UTC(), Duration: o.Duration}
	err := r.steps(ctx, rep)
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	return rep, errors.Join(err, r.cleanUp(clean))
}

func (r *runner) steps(ctx context.Context, rep *Report) error {
	for _, op := range r.o.Ops {
		for _, size := range r.o.Sizes {
			for _, clients := range r.o.Concurrency {
				s, err := r.step(ctx, op, size, clients)
				if err != nil {
					return err
				}
				rep.Steps = append(rep.Steps, s)
			}
		}
	}
	return nil
}

func (r *runner) openBucket(ctx context.Context) error {
	if r.o.Bucket != "" {
		code, _, err := r.do(ctx, http.MethodHead, "", "", 0)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("bucket %s: the endpoint answers %d", r.o.Bucket, code)
		}
		return err
	}
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	r.o.Bucket, r.made = "bench-"+hex.EncodeToString(id[:]), true
	code, _, err := r.do(ctx, http.MethodPut, "", "", 0)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("creating bucket %s: the endpoint answers %d", r.o.Bucket, code)
	}
	return err
}

// step runs one operation at one size with so many clients.
func (r *runner) step(ctx context.Context, op string, size int64, clients int) (Step, error) {
	s := Step{Op: op, Size: size, Clients: clients}
	set := setName(op, size)
	if op != "put" {
		if err := r.prepare(ctx, s.name(), set, size, op == "delete"); err != nil {
			return s, err
		}
	}
	n := r.prepared[set]
	var next, ops, bad, bytes atomic.Int64
	lats := make([][]time.Duration, clients)
	firstErrs := make([]error, clients)
	start := time.Now()
	end := start.Add(r.o.Duration)
	done := make(chan struct{})
	go r.report(s.name(), start, &ops, &bad, &bytes, done)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if op == "delete" && i >= n {
					return
				}
				t := time.Now()
				moved, err := r.one(ctx, op, set, size, i, n)
				lats[c] = append(lats[c], time.Since(t))
				ops.Add(1)
				bytes.Add(moved)
				if err != nil {
					bad.Add(1)
					if firstErrs[c] == nil {
						firstErrs[c] = err
					}
				}
			}
		})
	}
	wg.Wait()
	close(done)
	if op == "put" || op == "mixed" {
		r.prepared[setName("put", size)+"-new"] = max(r.prepared[setName("put", size)+"-new"], int(next.Load()))
	}
	var firstErr error
	for _, err := range firstErrs {
		if firstErr == nil {
			firstErr = err
		}
	}
	s.fill(time.Since(start), slices.Concat(lats...), ops.Load(), bad.Load(), bytes.Load(), firstErr)
	return s, ctx.Err()
}

func (r *runner) report(step string, start time.Time, ops, bad, bytes *atomic.Int64, done chan struct{}) {
	if r.progress == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			r.progress(Progress{step, time.Since(start), r.o.Duration, ops.Load(), bad.Load(), bytes.Load()})
		}
	}
}

func setName(op string, size int64) string {
	if op == "delete" {
		return fmt.Sprintf("delete-%d", size)
	}
	return fmt.Sprintf("objects-%d", size)
}

// one makes one operation and returns the body bytes it moved.
func (r *runner) one(ctx context.Context, op, set string, size int64, i, n int) (int64, error) {
	if op == "mixed" {
		op = [...]string{"get", "get", "get", "get", "put", "put", "head", "head", "list", "get"}[mrand.IntN(10)]
	}
	switch op {
	case "put":
		return size, r.expect(ctx, http.MethodPut, fmt.Sprintf("%s-new/%08d", set, i), "", size)
	case "get", "head":
		method := map[string]string{"get": http.MethodGet, "head": http.MethodHead}[op]
		code, got, err := r.do(ctx, method, fmt.Sprintf("%s/%08d", set, mrand.IntN(n)), "", 0)
		if err == nil && (code != http.StatusOK || (op == "get" && got != size)) {
			err = fmt.Errorf("%s: status %d, %d of %d bytes", op, code, got, size)
		}
		return got, err
	case "list":
		q := fmt.Sprintf("list-type=2&max-keys=1000&prefix=%s%%2F&start-after=%s%%2F%08d", set, set, mrand.IntN(max(n-1000, 1)))
		code, got, err := r.do(ctx, http.MethodGet, "", q, 0)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("list: status %d", code)
		}
		return got, err
	}
	return 0, r.expect(ctx, http.MethodDelete, fmt.Sprintf("%s/%08d", set, i), "", 0)
}

func (r *runner) expect(ctx context.Context, method, key, query string, size int64) error {
	code, _, err := r.do(ctx, method, key, query, size)
	if err == nil && code/100 != 2 {
		err = fmt.Errorf("%s: status %d", strings.ToLower(method), code)
	}
	return err
}

// do sends one signed request and reads its answer to the end. Transient
// refusals are counted, not retried: the bench measures what is.
func (r *runner) do(ctx context.Context, method, key, query string, size int64) (code int, got int64, err error) {
	target := r.o.Endpoint + "/" + r.o.Bucket
	if key != "" {
		target += "/" + key
	}
	if query != "" {
		target += "?" + query
	}
	var body io.Reader
	if size > 0 {
		body = &repeated{src: r.body, left: size}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return 0, 0, err
	}
	if size > 0 {
		req.ContentLength = size
	}
	sigv4.Sign(req, r.o.AccessKey, r.o.SecretKey, r.o.Region, sigv4.UnsignedPayload, time.Now())
	resp, err := r.client.Do(req)
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
