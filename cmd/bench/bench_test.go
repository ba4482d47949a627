package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// endpoint is as much of S3 as a bench needs, in memory.
type endpoint struct {
	mu      sync.Mutex
	objects map[string]int64
	buckets map[string]bool
	seen    map[string]int
	failPut int            // every n-th PUT of an object answers 503
	after   func(puts int) // is told how many PUTs of objects there were
	slow    time.Duration  // of each of the first 40 DELETEs of an object
}

func newEndpoint(t *testing.T) (*endpoint, string) {
	e := &endpoint{objects: map[string]int64{}, buckets: map[string]bool{}, seen: map[string]int{}}
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return e, srv.URL
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=user/") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	bucket, key, object := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	e.mu.Lock()
	slow := e.slow
	if e.seen["delete"] > 40 {
		slow = 0
	}
	e.mu.Unlock()
	if r.Method == http.MethodDelete && object && slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if object {
		e.object(w, r, bucket+"/"+key, n)
		return
	}
	e.bucket(w, r, bucket)
}

func (e *endpoint) bucket(w http.ResponseWriter, r *http.Request, bucket string) {
	switch r.Method {
	case http.MethodPut:
		e.buckets[bucket] = true
	case http.MethodGet:
		e.seen["list"]++
	case http.MethodHead:
		if !e.buckets[bucket] {
			w.WriteHeader(http.StatusNotFound)
		}
	case http.MethodDelete:
		for k := range e.objects {
			if strings.HasPrefix(k, bucket+"/") {
				w.WriteHeader(http.StatusConflict)
				return
			}
		}
		delete(e.buckets, bucket)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (e *endpoint) object(w http.ResponseWriter, r *http.Request, name string, n int64) {
	e.seen[strings.ToLower(r.Method)]++
	size, ok := e.objects[name]
	switch {
	case r.Method == http.MethodPut && e.failPut > 0 && strings.Contains(name, "-new/") && e.seen["put"]%e.failPut == 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodPut:
		e.objects[name] = n
		if e.after != nil {
			e.after(e.seen["put"])
		}
	case r.Method == http.MethodDelete:
		delete(e.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodGet:
		_, _ = w.Write(make([]byte, size)) // the client counts what arrives
	}
}

func options(url string) Options {
	return Options{Endpoint: url, Region: "us-east-1", AccessKey: "user", SecretKey: "secret-of-it", Ops: []string{"put", "get", "head", "list", "delete", "mixed"},
		Sizes: []int64{0, 4096}, Concurrency: []int{1, 4}, Duration: 100 * time.Millisecond, Objects: 50}
}

// run makes a bench, runs it and removes what it wrote.
func run(ctx context.Context, o Options, progress func(Progress)) (*Report, error) {
	b, err := New(ctx, o, progress)
	if err != nil {
		return nil, err
	}
	rep, err := b.Run(ctx)
	return rep, errors.Join(err, b.Close(context.WithoutCancel(ctx)))
}

func TestRunAllSteps(t *testing.T) {
	t.Parallel()
	e, url := newEndpoint(t)
	rep, err := run(t.Context(), options(url), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Steps) != 6*2*2 {
		t.Errorf("%d steps, want 24", len(rep.Steps))
	}
	for _, s := range rep.Steps {
		if s.Ops == 0 || s.Errors != 0 || s.FirstError != "" || s.OpsPerSec <= 0 || s.Seconds <= 0 {
			t.Errorf("%s: %+v", s.name(), s)
		}
		if s.P50 > s.P90 || s.P90 > s.P99 || s.P99 > s.Max || len(s.Curve) != 51 {
			t.Errorf("%s: percentiles %v %v %v %v, curve of %d", s.name(), s.P50, s.P90, s.P99, s.Max, len(s.Curve))
		}
		moves := s.Size > 0 && (s.Op == "put" || s.Op == "get" || s.Op == "mixed")
		if moves != (s.MiBPerSec > 0) {
			t.Errorf("%s: %v MiB/s", s.name(), s.MiBPerSec)
		}
	}
	for _, op := range []string{"put", "get", "head", "delete", "list"} {
		if e.seen[op] == 0 {
			t.Errorf("the endpoint saw no %s", op)
		}
	}
	if len(e.objects) != 0 || len(e.buckets) != 0 {
		t.Errorf("left behind: %d objects, buckets %v", len(e.objects), e.buckets)
	}
}

func TestRunCountsErrors(t *testing.T) {
	t.Parallel()
	e, url := newEndpoint(t)
	e.failPut = 2
	o := options(url)
	o.Ops, o.Sizes, o.Concurrency = []string{"put"}, []int64{100}, []int{2}
	rep, err := run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := rep.Steps[0]
	if s.Errors == 0 || s.Errors > s.Ops/2 || s.FirstError != "put: status 503" {
		t.Errorf("%d of %d operations failed: %q", s.Errors, s.Ops, s.FirstError)
	}
	if want := float64(s.Ops-s.Errors) / s.Seconds; s.OpsPerSec != want {
		t.Errorf("%v operations a second count failures; want %v", s.OpsPerSec, want)
	}
	if want := float64((s.Ops-s.Errors)*100) / (1 << 20) / s.Seconds; s.MiBPerSec != want {
		t.Errorf("%v MiB a second count failures; want %v", s.MiBPerSec, want)
	}
}

func TestRunCleansUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cut    bool
		bucket string
	}{
		"deletes unfinished at the end":  {},
		"interrupted":                    {cut: true},
		"somebody's bucket stays":        {bucket: "theirs"},
		"interrupted in somebody's, too": {cut: true, bucket: "theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, url := newEndpoint(t)
			e.slow = 5 * time.Millisecond
			o := options(url)
			o.Ops, o.Sizes, o.Concurrency, o.Bucket = []string{"delete", "put"}, []int64{10}, []int{1}, tc.bucket
			want := map[string]bool{}
			if tc.bucket != "" {
				e.buckets[tc.bucket], want[tc.bucket] = true, true
				e.objects[tc.bucket+"/keep"] = 1
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.cut {
				time.AfterFunc(60*time.Millisecond, cancel)
			}
			if _, err := run(ctx, o, nil); err != nil && !(tc.cut && errors.Is(err, context.Canceled)) {
				t.Error(err)
			}
			if d := cmp.Diff(want, e.buckets); d != "" {
				t.Error(d)
			}
			delete(e.objects, "theirs/keep")
			if len(e.objects) != 0 {
				t.Errorf("%d objects left behind", len(e.objects))
			}
		})
	}
}

// TestRunInterrupted: the report has what was done, and what the interruption
// cut counts as neither done nor failed.
func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	e, url := newEndpoint(t)
	o := options(url)
	o.Ops, o.Sizes, o.Concurrency, o.Duration = []string{"put", "get"}, []int64{10}, []int{4}, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e.after = func(puts int) {
		if puts == 100 {
			cancel()
		}
	}
	b, err := New(ctx, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := b.Run(ctx)
	if !errors.Is(err, context.Canceled) || len(rep.Steps) != 1 {
		t.Fatalf("%v, %d steps; want the one that was cut", err, len(rep.Steps))
	}
	s := rep.Steps[0]
	if !s.Cut || s.Op != "put" || s.Ops < 50 || s.Errors != 0 || s.Seconds > 30 {
		t.Errorf("%+v", s)
	}
	var table bytes.Buffer
	if err := rep.WriteTable(&table); err != nil || !strings.Contains(table.String(), "put 10B x4 (cut)") {
		t.Errorf("%v: %s", err, table.String())
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if err := b.Close(left); err == nil || !strings.Contains(err.Error(), "is left") {
		t.Errorf("a removal that was cut: %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if len(e.objects) != 0 || len(e.buckets) != 0 {
		t.Errorf("left behind: %d objects, buckets %v", len(e.objects), e.buckets)
	}
}

func TestRunProgress(t *testing.T) {
	t.Parallel()
	_, url := newEndpoint(t)
	o := options(url)
	o.Ops, o.Sizes, o.Concurrency, o.Duration = []string{"put"}, []int64{4096}, []int{2}, 1300*time.Millisecond
	var mu sync.Mutex
	var got []Progress
	if _, err := run(t.Context(), o, func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, p)
	}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	got = slices.DeleteFunc(got, func(p Progress) bool { return p.Step == "remove what was written" })
	if len(got) != 1 || got[0].Step != "put 4KiB x2" || got[0].Ops == 0 || got[0].Bytes < got[0].Ops*4096 || got[0].Elapsed < time.Second {
		t.Errorf("progress %+v", got)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	_, url := newEndpoint(t)
	for want, change := range map[string]func(o *Options){
		"--endpoint":              func(o *Options) { o.Endpoint = "localhost:9000" },
		"no credentials":          func(o *Options) { o.SecretKey = "" },
		"--ops":                   func(o *Options) { o.Ops = []string{"stat"} },
		"--size":                  func(o *Options) { o.Sizes = []int64{-1} },
		"--concurrency":           func(o *Options) { o.Concurrency = []int{0} },
		"--duration":              func(o *Options) { o.Duration = time.Millisecond },
		"--objects":               func(o *Options) { o.Objects = 0 },
		"at least one operation":  func(o *Options) { o.Ops = nil },
		"the endpoint answers 40": func(o *Options) { o.Bucket = "absent" },
		"answers 403":             func(o *Options) { o.AccessKey = "stranger" },
	} {
		o := options(url)
		change(&o)
		if rep, err := run(t.Context(), o, nil); err == nil || rep != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func exampleReport() *Report {
	rep := &Report{Endpoint: "http://127.0.0.1:9000", Started: time.Unix(0, 0).UTC(), Duration: 10 * time.Second}
	for i, op := range []string{"put", "get", "head", "list", "delete", "mixed"} {
		s := Step{Op: op, Size: 4 << (10 * (i % 3)), Clients: 16}
		var lat []time.Duration
		for j := range 1000 {
			lat = append(lat, time.Duration(j*j)*time.Duration(i+1)*time.Microsecond/100)
		}
		var err error
		if op == "list" {
			err = errors.New(`list: status 503 <"&'>`)
		}
		s.fill(10*time.Second, lat, 1000, int64(i%2), 1000*s.Size, err)
		rep.Steps = append(rep.Steps, s)
	}
	return rep
}

func TestReportForms(t *testing.T) {
	t.Parallel()
	rep := exampleReport()
	var table, page bytes.Buffer
	if err := errors.Join(rep.WriteTable(&table), rep.WriteHTML(&page)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"put 4B x16", "get 4KiB x16", "head 4MiB x16", "p99 ms", "list: status 503"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	for _, foreign := range []string{"<script", "src=", "href=", "@import", "url("} {
		if strings.Contains(page.String(), foreign) {
			t.Errorf("the page needs something else: %q", foreign)
		}
	}
	if n := strings.Count(page.String(), "<polyline"); n != len(rep.Steps) || strings.Contains(page.String(), "ZgotmplZ") {
		t.Errorf("%d curves in the page", n)
	}
	d := xml.NewDecoder(&page)
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
	}
	data, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rep, &back); d != "" {
		t.Error(d)
	}
}

// TestCurveEndsAtP99: the chart's height and its right end are the same value.
func TestCurveEndsAtP99(t *testing.T) {
	t.Parallel()
	for _, s := range exampleReport().Steps {
		points := strings.Fields(curve(s))
		if points[len(points)-1] != "495.0,0.0" {
			t.Errorf("%s ends at %s", s.name(), points[len(points)-1])
		}
		for _, p := range points {
			if _, y, _ := strings.Cut(p, ","); strings.HasPrefix(y, "-") {
				t.Errorf("%s leaves the chart at %s", s.name(), p)
			}
		}
	}
}

func TestEmptyStep(t *testing.T) {
	t.Parallel()
	rep := &Report{Steps: []Step{{Op: "get", Clients: 1}}}
	rep.Steps[0].fill(time.Second, nil, 0, 0, 0, nil)
	var page bytes.Buffer
	if err := rep.WriteHTML(&page); err != nil || strings.Contains(page.String(), "NaN") {
		t.Errorf("%v, NaN: %v", err, strings.Contains(page.String(), "NaN"))
	}
}
