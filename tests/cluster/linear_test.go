package cluster

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"holdfast/tests/harness"
	"holdfast/tracker"
)

// kind is what an operation on a key does.
type kind uint8

const (
	put     kind = iota
	create       // PUT with If-None-Match: *
	replace      // PUT with If-Match: the value that was seen
	remove
	get
	list
)

// operation is one operation on one key. A value is an object's bytes; "" is
// no object.
type operation struct {
	kind     kind
	key      string
	val, was string
}

// outcome is what was answered.
type outcome struct {
	val     string // read
	refused bool   // a condition did not hold
	unknown bool   // there was no answer: it was done, or will be, or never
}

// register is an object per key. An operation of unknown outcome may have
// taken effect at any time since, as its condition allowed, or at the very end.
var register = porcupine.Model{
	Partition: func(ops []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, op := range ops {
			k := op.Input.(operation).key
			by[k] = append(by[k], op)
		}
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		now, op, o := state.(string), in.(operation), out.(outcome)
		holds := true
		switch op.kind {
		case create:
			holds = now == ""
		case replace:
			holds = now == op.was
		case get, list:
			return o.val == now, now
		}
		if o.unknown {
			if !holds {
				return true, now
			}
		} else if o.refused == holds {
			return false, now
		}
		if !holds {
			return true, now
		}
		if op.kind == remove {
			return true, ""
		}
		return true, op.val
	},
}

// door is one way into the store: a gateway, or a tracker behind it.
type door interface {
	do(op operation) (outcome, error) // an error: nothing is known, and nothing was changed
	list(keys []string) (map[string]string, error)
}

// recorder takes histories of clients at several doors.
type recorder struct {
	doors   []door
	keys    int
	clients int
	begin   time.Time
	ops     atomic.Int64
	mu      struct {
		sync.Mutex
		history []porcupine.Operation
	}
}

// run lets the clients work until stop is closed.
func (r *recorder) run(seed uint64, stop <-chan struct{}) {
	r.begin = time.Now()
	keys := make([]string, r.keys)
	for i := range keys {
		keys[i] = fmt.Sprintf("hot/%d", i)
	}
	var wg sync.WaitGroup
	for id := range r.clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(id)))
			seen := map[string]string{}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				d := r.doors[(id+i)%len(r.doors)]
				op := operation{kind: kind(rnd.IntN(6)), key: keys[rnd.IntN(len(keys))], val: fmt.Sprintf("%d.%d", id, i)}
				op.was = seen[op.key]
				if op.kind == replace && op.was == "" {
					op.kind = create
				}
				r.one(id, d, op, keys, seen)
			}
		})
	}
	wg.Wait()
}

// one does one operation and notes it.
func (r *recorder) one(id int, d door, op operation, keys []string, seen map[string]string) {
	call := time.Since(r.begin).Nanoseconds()
	note := func(op operation, o outcome) {
		ret := time.Since(r.begin).Nanoseconds()
		if o.unknown {
			ret = time.Hour.Nanoseconds()
		}
		r.mu.Lock()
		r.mu.history = append(r.mu.history, porcupine.Operation{ClientId: id, Input: op, Output: o, Call: call, Return: ret})
		r.mu.Unlock()
		r.ops.Add(1)
	}
	if op.kind == list {
		all, err := d.list(keys)
		if err != nil {
			return
		}
		for _, k := range keys {
			note(operation{kind: list, key: k}, outcome{val: all[k]})
		}
		return
	}
	o, err := d.do(op)
	if err != nil {
		return
	}
	note(op, o)
	switch {
	case op.kind == get:
		seen[op.key] = o.val
	case !o.refused && !o.unknown && op.kind != remove:
		seen[op.key] = op.val
	}
}

// judge reports whether the history can be explained by one register a key.
func (r *recorder) judge(limit time.Duration) porcupine.CheckResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return porcupine.CheckOperationsTimeout(register, r.mu.history, limit)
}

// etags finds a value by its ETag in a listing.
type etags struct {
	mu sync.Mutex
	by map[string]string
}

func etag(val string) string {
	sum := md5.Sum([]byte(val))
	return hex.EncodeToString(sum[:])
}

func (e *etags) know(val string) string {
	t := etag(val)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.by[t] = val
	return t
}

func (e *etags) of(tag string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.by[tag]
}

// gatewayDoor works by S3.
type gatewayDoor struct {
	raw  *harness.Raw
	tags *etags
}

var errUnknown = errors.New("no answer")

func (g gatewayDoor) do(op operation) (outcome, error) {
	path := harness.Path("bucket", op.key)
	if op.kind == get {
		a, err := g.raw.Do("GET", path, "", nil)
		switch {
		case err == nil && a.Status == http.StatusOK:
			return outcome{val: string(a.Body)}, nil
		case err == nil && a.Status == http.StatusNotFound:
			return outcome{}, nil
		}
		return outcome{}, errUnknown
	}
	method, body, headers := "PUT", []byte(op.val), []string(nil)
	switch op.kind {
	case create:
		headers = []string{"If-None-Match", "*"}
	case replace:
		headers = []string{"If-Match", `"` + etag(op.was) + `"`}
	case remove:
		method, body = "DELETE", nil
	}
	if body != nil {
		g.tags.know(op.val)
	}
	a, err := g.raw.Do(method, path, "", body, headers...)
	switch {
	case err != nil || a.Status >= 500 || a.Status == http.StatusConflict:
		return outcome{unknown: true}, nil
	case a.Status/100 == 2:
		return outcome{}, nil
	case a.Status == http.StatusPreconditionFailed, a.Status == http.StatusNotFound && op.kind == replace:
		return outcome{refused: true}, nil
	}
	return outcome{}, fmt.Errorf("status %d: %.200s", a.Status, a.Body)
}

func (g gatewayDoor) list([]string) (map[string]string, error) {
	a, err := g.raw.Do("GET", "/bucket", harness.Query("list-type", "2", "prefix", "hot/"), nil)
	if err != nil || a.Status != http.StatusOK {
		return nil, errUnknown
	}
	var page struct {
		Contents []struct{ Key, ETag string }
	}
	if err := xml.Unmarshal(a.Body, &page); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, c := range page.Contents {
		out[c.Key] = g.tags.of(strings.Trim(c.ETag, `"`))
	}
	return out, nil
}

// TestLinearizable takes a history of hot keys through three gateways while
// leading trackers are killed and paused, and has it judged.
func TestLinearizable(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 3, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}}})
	c.Gateways[0].Raw().Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	tags := &etags{by: map[string]string{}}
	r := &recorder{keys: 8, clients: 9}
	for _, g := range c.Gateways {
		r.doors = append(r.doors, gatewayDoor{g.Raw(), tags})
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	want := int64(10_000)
	if os.Getenv("HOLDFAST_SOAK") != "" {
		want = 200_000
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { r.run(seed, stop) })
	reigns := 0
	for r.ops.Load() < want || reigns < 4 {
		before := r.ops.Load()
		harness.Until(t, time.Minute, "operations go on", func() bool { return r.ops.Load() > before+want/8 })
		p := c.Process(leader(t, c))
		if reigns++; reigns%2 == 0 {
			p.Restart()
			continue
		}
		// Longer than a lease and an election: it wakes up deposed.
		p.Pause()
		<-time.After(2500 * time.Millisecond)
		p.Continue()
	}
	close(stop)
	wg.Wait()
	if res := r.judge(time.Minute); res != porcupine.Ok {
		t.Fatalf("%d operations through %d leaders: %v", r.ops.Load(), reigns, res)
	}
	t.Logf("%d operations, %d leaders killed or paused", r.ops.Load(), reigns)
}

// trackerDoor works by the tracker's contract, with or without a mistake: a
// condition that is judged before the command, as a gateway could.
type trackerDoor struct {
	cat     tracker.Catalog
	bucket  tracker.BucketID
	mistake bool
	tags    *etags
}

func (d trackerDoor) read(key string) (string, error) {
	o, err := d.cat.GetObject(context.Background(), &tracker.GetObject{Bucket: d.bucket, Key: key, Data: true})
	if errors.Is(err, tracker.ErrNoSuchKey) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string(o.Inline), nil
}

func (d trackerDoor) do(op operation) (outcome, error) {
	ctx := context.Background()
	switch op.kind {
	case get:
		v, err := d.read(op.key)
		return outcome{val: v}, err
	case remove:
		_, err := d.cat.DeleteObject(ctx, &tracker.DeleteObject{Bucket: d.bucket, Key: op.key})
		return outcome{}, err
	}
	req := &tracker.PutObject{Bucket: d.bucket, Key: op.key, Inline: []byte(op.val), Meta: tracker.Meta{ETag: d.tags.know(op.val), Size: int64(len(op.val))}}
	switch op.kind {
	case create:
		req.IfNoneMatch = []string{"*"}
	case replace:
		req.IfMatch = []string{etag(op.was)}
	}
	if d.mistake && !req.Conditions.Empty() {
		now, err := d.read(op.key)
		if err != nil {
			return outcome{}, err
		}
		if op.kind == create && now != "" || op.kind == replace && now != op.was {
			return outcome{refused: true}, nil
		}
		req.Conditions = tracker.Conditions{}
	}
	_, err := d.cat.PutObject(ctx, req)
	if errors.Is(err, tracker.ErrPrecondition) || errors.Is(err, tracker.ErrNoSuchKey) {
		return outcome{refused: true}, nil
	}
	return outcome{}, err
}

func (d trackerDoor) list([]string) (map[string]string, error) {
	p, err := d.cat.ListObjects(context.Background(), &tracker.ListObjects{Bucket: d.bucket, Prefix: "hot/", Max: 1000})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range p.Entries {
		out[e.Key] = d.tags.of(e.ETag)
	}
	return out, nil
}

// TestMistakeIsCaught judges conditions outside the command on purpose: the
// judge of histories must notice, and must not without the mistake.
func TestMistakeIsCaught(t *testing.T) {
	tr, _ := own(t)
	svc := tr.Service()
	for _, mistake := range []bool{false, true} {
		name := fmt.Sprintf("bucket-%v", mistake)
		var b *tracker.Bucket
		harness.Until(t, 20*time.Second, "the tracker leads", func() bool {
			var err error
			b, err = svc.CreateBucket(t.Context(), &tracker.CreateBucket{Name: name, Owner: "root"})
			return err == nil
		})
		tags := &etags{by: map[string]string{}}
		r := &recorder{keys: 2, clients: 12, doors: []door{trackerDoor{svc, b.ID, mistake, tags}}}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { r.run(rand.Uint64(), stop) })
		harness.Until(t, time.Minute, "operations", func() bool { return r.ops.Load() > 4000 })
		close(stop)
		wg.Wait()
		want := porcupine.Ok
		if mistake {
			want = porcupine.Illegal
		}
		if res := r.judge(time.Minute); res != want {
			t.Errorf("condition judged outside the command %v: %d operations are %v, want %v", mistake, r.ops.Load(), res, want)
		}
	}
}
