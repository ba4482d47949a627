package cluster

import (
	"bytes"
	"crypto/md5"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// goodLimit is how long an operation may be asked for until it counts as
// failed for good: a new leader may take 10 s.
const goodLimit = 30 * time.Second

// load is several clients that write, read, list and delete, each its own
// keys, and check every answer against what they know.
type load struct {
	t       *testing.T
	raws    []*harness.Raw
	classes []string // storage classes that the groups carry
	stop    chan struct{}
	wg      sync.WaitGroup
	clients []*client
	ops     atomic.Int64

	mu struct {
		sync.Mutex
		phase string
		took  map[string][]time.Duration // by phase
		order []string
		wrong []string
	}
}

// client is one worker of a load.
type client struct {
	l    *load
	name string
	r    *rand.Rand
	gw   int
	seq  int
	has  map[string]object
}

// object is what a client knows of a key.
type object struct {
	sum  [16]byte
	size int
}

func startLoad(t *testing.T, c *harness.Cluster, clients int, classes ...string) *load {
	t.Helper()
	var raws []*harness.Raw
	for _, g := range c.Gateways {
		raws = append(raws, g.Raw())
	}
	return loadAt(t, raws, clients, classes...)
}

// loadAt is startLoad through the given gateways.
func loadAt(t *testing.T, raws []*harness.Raw, clients int, classes ...string) *load {
	t.Helper()
	l := &load{t: t, raws: raws, stop: make(chan struct{}), classes: classes}
	l.mu.took = map[string][]time.Duration{}
	l.raws[0].Must(t, http.StatusOK, "PUT", "/load", "", nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range clients {
		cl := &client{l: l, name: fmt.Sprintf("c%d", i), r: rand.New(rand.NewPCG(seed, uint64(i))), gw: i, has: map[string]object{}}
		l.clients = append(l.clients, cl)
		l.wg.Go(cl.run)
	}
	return l
}

// enter begins a phase: latencies count to it from now on.
func (l *load) enter(phase string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.phase = phase
	l.mu.order = append(l.mu.order, phase)
}

// lengthy leaves a test out of the short form, which make check runs.
func lengthy(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long; make test runs it")
	}
}

// scaled is a number of operations in the short form of the tests, or twenty
// times that in the long one.
func scaled(n int64) int64 {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 20 * n
	}
	return n
}

// wait lets the load run until it has done n further operations.
func (l *load) wait(n int64) {
	l.t.Helper()
	target := l.ops.Load() + n
	harness.Until(l.t, 2*time.Minute, fmt.Sprintf("%d more operations", n), func() bool { return l.ops.Load() >= target })
}

// end stops the clients, reads everything back and prints the latencies.
func (l *load) end() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	objects := 0
	for _, cl := range l.clients {
		cl.checkAll()
		objects += len(cl.has)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.mu.wrong {
		l.t.Error(w)
	}
	for _, phase := range l.mu.order {
		d := l.mu.took[phase]
		if len(d) == 0 {
			continue
		}
		slices.Sort(d)
		l.t.Logf("%-34s %5d operations  p50 %7s  p99 %7s  max %7s", phase, len(d), round(d[len(d)/2]), round(d[len(d)*99/100]), round(d[len(d)-1]))
	}
	l.t.Logf("%d operations, %d objects read back at the end", l.ops.Load(), objects)
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.wrong) < 20 {
		l.mu.wrong = append(l.mu.wrong, l.mu.phase+": "+fmt.Sprintf(format, args...))
	}
}

func (c *client) run() {
	for {
		select {
		case <-c.l.stop:
			return
		default:
		}
		switch n := c.r.IntN(20); {
		case n < 7 || len(c.has) == 0:
			c.put()
		case n < 14:
			c.get(c.pick())
		case n < 17:
			c.delete(c.pick())
		case n < 19:
			c.list()
		default:
			c.multipart()
		}
	}
}

// do asks until an answer has one of the statuses, at another gateway each time.
func (c *client) do(ok []int, method, path, query string, body []byte, headers ...string) *harness.Answer {
	began := time.Now()
	var last string
	for time.Since(began) < goodLimit {
		a, err := c.l.raws[c.gw%len(c.l.raws)].Do(method, path, query, body, headers...)
		if err == nil && slices.Contains(ok, a.Status) {
			took := time.Since(began)
			c.l.ops.Add(1)
			c.l.mu.Lock()
			c.l.mu.took[c.l.mu.phase] = append(c.l.mu.took[c.l.mu.phase], took)
			c.l.mu.Unlock()
			return a
		}
		if err == nil && a.Status/100 == 4 && a.Status != http.StatusTooManyRequests && a.Status != http.StatusRequestTimeout {
			c.l.fail("%s %s?%s: %d %.200s", method, path, query, a.Status, a.Body)
			return nil
		}
		if last = fmt.Sprint(err); err == nil {
			last = fmt.Sprintf("%d %.200s", a.Status, a.Body)
		}
		c.gw++
		<-time.After(10 * time.Millisecond) // a client backs off
	}
	c.l.fail("%s %s?%s failed for good: %s", method, path, query, last)
	return nil
}

var sizes = []int{0, 300, 7000, 30_000, 300_000, 2_500_000}

func (c *client) content(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		v := c.r.Uint64()
		for k := range 8 {
			b[i+k] = byte(v >> (8 * k))
		}
	}
	return b
}

func (c *client) class() string { return c.l.classes[c.r.IntN(len(c.l.classes))] }

func (c *client) pick() string {
	keys := make([]string, 0, len(c.has))
	for k := range c.has {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys[c.r.IntN(len(keys))]
}

func (c *client) put() {
	key := fmt.Sprintf("%s/%03d", c.name, c.r.IntN(60))
	b := c.content(sizes[c.r.IntN(len(sizes))])
	if a := c.do([]int{200}, "PUT", harness.Path("load", key), "", b, "x-amz-storage-class", c.class()); a != nil {
		c.has[key] = object{md5.Sum(b), len(b)}
	} else {
		delete(c.has, key) // it is not known; the failure was told
	}
}

func (c *client) get(key string) {
	a := c.do([]int{200}, "GET", harness.Path("load", key), "", nil)
	if a != nil && (len(a.Body) != c.has[key].size || md5.Sum(a.Body) != c.has[key].sum) {
		c.l.fail("%s has other bytes: %d of %d", key, len(a.Body), c.has[key].size)
	}
}

func (c *client) delete(key string) {
	if a := c.do([]int{204}, "DELETE", harness.Path("load", key), "", nil); a != nil {
		delete(c.has, key)
		c.do([]int{404}, "GET", harness.Path("load", key), "", nil)
	}
}

func (c *client) list() {
	a := c.do([]int{200}, "GET", "/load", harness.Query("list-type", "2", "prefix", c.name+"/"), nil)
	if a == nil {
		return
	}
	var page struct {
		Contents []struct {
			Key  string
			Size int
		}
	}
	if err := xml.Unmarshal(a.Body, &page); err != nil {
		c.l.fail("list: %v", err)
		return
	}
	if len(page.Contents) != len(c.has) {
		c.l.fail("%s lists %d keys, it has %d", c.name, len(page.Contents), len(c.has))
	}
	for _, k := range page.Contents {
		if o, ok := c.has[k.Key]; !ok || o.size != k.Size {
			c.l.fail("list has %s of %d bytes, want %v of %d", k.Key, k.Size, ok, o.size)
		}
	}
}

// multipart uploads an object in two parts.
func (c *client) multipart() {
	key := fmt.Sprintf("%s/m%d", c.name, c.r.IntN(3))
	path := harness.Path("load", key)
	a := c.do([]int{200}, "POST", path, harness.Query("uploads", ""), nil, "x-amz-storage-class", c.class())
	if a == nil {
		return
	}
	var up struct{ UploadId string }
	if err := xml.Unmarshal(a.Body, &up); err != nil || up.UploadId == "" {
		c.l.fail("upload of %s: %v %.200s", key, err, a.Body)
		return
	}
	all := c.content(5<<20 + 40_000)
	var list bytes.Buffer
	for i, part := range [][]byte{all[:5<<20], all[5<<20:]} {
		a := c.do([]int{200}, "PUT", path, harness.Query("partNumber", fmt.Sprint(i+1), "uploadId", up.UploadId), part)
		if a == nil {
			return
		}
		fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, a.Header.Get("ETag"))
	}
	done := []byte("<CompleteMultipartUpload>" + list.String() + "</CompleteMultipartUpload>")
	if c.do([]int{200}, "POST", path, harness.Query("uploadId", up.UploadId), done) != nil {
		c.has[key] = object{md5.Sum(all), len(all)}
	} else {
		delete(c.has, key)
	}
}

// checkAll reads everything back that the client knows.
func (c *client) checkAll() {
	c.l.mu.Lock()
	c.l.mu.phase = "read back"
	c.l.mu.Unlock()
	c.list()
	for key := range c.has {
		c.get(key)
	}
}
