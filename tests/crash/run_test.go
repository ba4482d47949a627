package crash

import (
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/cmd/allinone"
	"holdfast/internal/vfs"
	"holdfast/tests/harness"
)

// run is one scenario on one shape: a server, a tape beside it, and the
// operations that a client makes.
type run struct {
	*rig
	*tape
	t     *testing.T
	shape shape
	tune  allinone.Tune
	// settle, if set, is called on each server that was started again, before
	// it is held against what was acknowledged; it completes what the crash
	// cut off.
	settle func(*rig, *vfs.Mem) error
	// loses has every third crash take one directory's content with it.
	loses bool
	// lie, if set, stands between the server and the file system.
	lie    func(vfs.FS) vfs.FS
	seed   uint64
	n      uint64 // bodies made
	halted bool
	mu     sync.Mutex
	wrong  []string // what the verification of cuts found
}

func newRun(t *testing.T, sh shape, seed uint64) *run {
	return &run{tape: newTape(vfs.NewMem(), seed), t: t, shape: sh, tune: tune(), seed: seed}
}

// start opens the server on an empty file system and makes the bucket.
func (x *run) start() {
	x.t.Helper()
	x.launch()
	x.bucket("bucket")
}

// launch opens the server on the tape's file system; the test's end stops it.
func (x *run) launch() {
	x.t.Helper()
	clock := harness.NewClock()
	if x.rig != nil {
		clock = x.clock
	}
	fs := x.fs()
	if x.lie != nil {
		fs = x.lie(fs)
	}
	r, err := open(fs, x.shape, x.tune, clock)
	if err != nil {
		x.t.Fatalf("before any crash: %v", err)
	}
	x.rig, x.halted = r, false
}

// halt stops the server gracefully.
func (x *run) halt() {
	x.t.Helper()
	if x.rig == nil || x.halted {
		return
	}
	x.halted = true
	if err := x.stop(); err != nil {
		x.t.Fatalf("before any crash: %v", err)
	}
}

// must makes one operation and fails the test unless it is acknowledged.
func (x *run) must(status int, to world, method, target string, body []byte, headers ...string) answer {
	x.t.Helper()
	c := x.begin(method+" "+target, to)
	a, err := x.want(status, method, target, body, headers...)
	if err != nil {
		x.t.Errorf("before any crash: %v", err)
		return a
	}
	x.done(c)
	return a
}

// pattern is n bytes of a seed.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n+8)
	rng := rand.NewPCG(seed, 1)
	for i := 0; i < n; i += 8 {
		v := rng.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b[:n]
}

// body makes bytes that no other body has.
func (x *run) body(n int) []byte {
	x.tape.mu.Lock()
	defer x.tape.mu.Unlock()
	x.n++
	return pattern(x.seed+x.n, n)
}

func (x *run) bucket(name string) {
	x.t.Helper()
	x.must(200, world{"b " + name: "there"}, "PUT", "/"+name, nil)
}

// put writes an object of the size.
func (x *run) put(key string, size int) {
	x.t.Helper()
	body := x.body(size)
	tag := fmt.Sprint("tag-", size)
	x.must(200, world{"o bucket/" + key: digestOf(body, etagOf(body), tag)}, "PUT", harness.Path("bucket", key), body, "X-Amz-Meta-Tag", tag)
}

func (x *run) del(key string) {
	x.t.Helper()
	x.must(204, world{"o bucket/" + key: ""}, "DELETE", harness.Path("bucket", key), nil)
}

// copy copies an object of the bucket to another key.
func (x *run) copy(from, to string) {
	x.t.Helper()
	x.must(200, world{"o bucket/" + to: x.get("o bucket/" + from)}, "PUT", harness.Path("bucket", to), nil, "X-Amz-Copy-Source", harness.Path("bucket", from))
}

// upload is an open multipart upload.
type upload struct {
	key, id string
	sizes   []int
	bodies  [][]byte
}

func (x *run) upload(key string) *upload {
	x.t.Helper()
	a := x.must(200, world{"u bucket/" + key: "open"}, "POST", harness.Path("bucket", key)+"?uploads", nil)
	var doc struct{ UploadId string }
	if err := xml.Unmarshal(a.body, &doc); err != nil || doc.UploadId == "" {
		x.t.Fatalf("answer to CreateMultipartUpload: %v: %s", err, a.body)
	}
	return &upload{key: key, id: doc.UploadId}
}

// part uploads the next part.
func (x *run) part(u *upload, size int) {
	x.t.Helper()
	body := x.body(size)
	u.bodies = append(u.bodies, body)
	n := len(u.bodies)
	item := "u bucket/" + u.key
	x.must(200, world{item: fmt.Sprintf("%s %d:%d:%s", x.get(item), n, size, etagOf(body))}, "PUT",
		fmt.Sprintf("%s?partNumber=%d&uploadId=%s", harness.Path("bucket", u.key), n, url.QueryEscape(u.id)), body)
}

func (x *run) complete(u *upload) {
	x.t.Helper()
	var doc strings.Builder
	var whole, sums []byte
	doc.WriteString("<CompleteMultipartUpload>")
	for i, b := range u.bodies {
		fmt.Fprintf(&doc, `<Part><PartNumber>%d</PartNumber><ETag>"%s"</ETag></Part>`, i+1, etagOf(b))
		whole = append(whole, b...)
		sums = append(sums, md5Of(b)...)
	}
	doc.WriteString("</CompleteMultipartUpload>")
	etag := fmt.Sprintf("%s-%d", etagOf(sums), len(u.bodies))
	x.must(200, world{"u bucket/" + u.key: "", "o bucket/" + u.key: digestOf(whole, etag, "")}, "POST",
		harness.Path("bucket", u.key)+"?uploadId="+url.QueryEscape(u.id), []byte(doc.String()))
}

func (x *run) abort(u *upload) {
	x.t.Helper()
	x.must(204, world{"u bucket/" + u.key: ""}, "DELETE", harness.Path("bucket", u.key)+"?uploadId="+url.QueryEscape(u.id), nil)
}

// report is a line of the table.
type report struct {
	scenario, shape       string
	points, crashes       int
	kinds                 map[string]int
	ops, absent, effected int
	lost                  int // crashes that took a directory with them
	took                  time.Duration
}

// verifyAll starts a server on each cut of the sample and judges it.
func (x *run) verifyAll(room chan struct{}, budget int, rep *report) {
	x.t.Helper()
	x.tape.mu.Lock()
	cuts := x.tape.mu.cuts
	rep.points, rep.kinds, rep.ops = x.tape.mu.points, x.tape.mu.kinds, x.tape.mu.ops
	x.tape.mu.cuts = nil
	x.tape.mu.Unlock()
	cuts = sample(cuts, budget, rand.New(rand.NewPCG(x.seed, 2)))
	rep.crashes = len(cuts)
	var wg sync.WaitGroup
	for i := range cuts {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			k := &cuts[i]
			if x.t.Context().Err() != nil || x.failures() >= 3 {
				return
			}
			if x.loses && (i+i/3)%3 == 1 {
				k.lost = x.shape.paths()[i/3%x.shape.dirs]
				k.at += ", " + k.lost + " lost"
			}
			effected, err := x.verify(k, i%7 == 0)
			k.fs = nil
			x.mu.Lock()
			defer x.mu.Unlock()
			if err != nil {
				x.wrong = append(x.wrong, fmt.Sprintf("crash %s: %v", k.at, err))
			}
			if k.lost != "" {
				rep.lost++
			}
			rep.effected += effected
			rep.absent += len(k.known.running) - effected
		})
	}
	wg.Wait()
}

func (x *run) failures() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.wrong)
}

// sample keeps the cuts at the answers and at the end, and as many sync points
// as the budget of cuts allows, evenly: a random one of each stretch.
func sample(cuts []cut, budget int, rng *rand.Rand) []cut {
	points := 0
	for i := range cuts {
		points = max(points, cuts[i].point)
	}
	want := budget / 3
	if want >= points {
		return cuts
	}
	keep := map[int]bool{1: true, points: true}
	for i := range want {
		lo, hi := i*points/want, (i+1)*points/want
		keep[1+lo+rng.IntN(hi-lo)] = true
	}
	return slices.DeleteFunc(cuts, func(c cut) bool { return c.point != 0 && !keep[c.point] })
}

// verify starts a server on what a power loss left and holds it to what was
// acknowledged. With deep the power is cut again after new writes.
func (x *run) verify(k *cut, deep bool) (effected int, err error) {
	if k.lost != "" {
		if err := empty(k.fs, k.lost); err != nil {
			return 0, err
		}
	}
	seen, effected, again, err := x.restart(k, "after-crash")
	if err == nil && deep {
		if _, _, _, err = x.restart(&cut{fs: again, lost: k.lost, known: known{acked: seen}}, "after-two"); err != nil {
			err = fmt.Errorf("at the second crash: %w", err)
		}
	}
	return effected, err
}

// empty removes all that is in a directory, durably.
func empty(fs *vfs.Mem, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := fs.RemoveAll(fs.PathJoin(dir, n)); err != nil {
			return err
		}
	}
	return fs.SyncDir(dir)
}

// restart starts a server on a cut, judges it, makes it take writes into a new
// bucket, and stops it. It returns what is there now, how many of the running
// operations took effect, and what a power loss before the stop leaves.
func (x *run) restart(k *cut, fresh string) (seen world, effected int, again *vfs.Mem, err error) {
	r, err := open(k.fs, x.shape, x.tune, x.fork())
	if err != nil {
		return nil, 0, nil, err
	}
	defer func() {
		if e := r.stop(); e != nil {
			err = errors.Join(err, fmt.Errorf("stop: %w", e))
		}
	}()
	if x.settle != nil {
		if err := x.settle(r, k.fs); err != nil {
			return nil, 0, nil, err
		}
	}
	seen, errs := r.observe()
	wrong, effected := k.known.judge(seen)
	for _, e := range errs {
		wrong = append(wrong, e.Error())
	}
	if len(wrong) == 0 {
		made, err := r.writeOn(fresh)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		maps.Copy(seen, made)
		wrong = append(wrong, r.census(k.lost)...)
	}
	if len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "\n\t"))
	}
	return seen, effected, k.fs.CrashClone(0, nil), err
}

// fork returns a clock of its own that shows the run's time.
func (x *run) fork() *harness.Clock {
	c := harness.NewClock()
	if x.rig != nil {
		c.Jump(x.clock.Now().Sub(c.Now()))
	}
	return c
}
