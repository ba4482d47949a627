package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sizes of bodies: under the inline limit, packed in a volume, and of shards
// that are a file each under the shape's scheme.
const (
	inline = 3000
	packed = 60_000
)

func (s shape) file() int {
	if s == coded {
		return 2_200_000
	}
	return 1_100_000
}

// scenario is a story that ends in a record.
type scenario struct {
	name   string
	shapes []shape
	loses  bool // some crashes take a directory with them, where there are several
	tell   func(x *run)
}

var both = []shape{single, coded}

func foreground() []scenario {
	return []scenario{
		{"inline PUT", both, true, func(x *run) {
			x.start()
			x.put("before", inline)
			x.record(func() {
				x.put("a", 0)
				x.put("b", inline)
				x.put("c", 8<<10)
			})
		}},
		{"packed PUT", both, true, func(x *run) {
			x.start()
			x.put("before", packed)
			x.record(func() {
				x.put("a", 8<<10+1)
				x.put("b", packed)
			})
		}},
		{"file PUT", both, true, func(x *run) {
			x.start()
			x.put("before", packed)
			x.record(func() { x.put("a", x.shape.file()) })
		}},
		{"overwrite", both, true, func(x *run) {
			x.start()
			x.put("a", inline)
			x.put("b", packed)
			x.put("c", x.shape.file())
			x.record(func() {
				x.put("a", packed)
				x.put("b", packed+1)
				x.put("c", inline)
			})
		}},
		{"DELETE", both, true, func(x *run) {
			x.start()
			for _, k := range []string{"a", "b", "c", "d", "e"} {
				x.put(k, map[string]int{"a": inline, "c": x.shape.file()}[k]+packed)
			}
			x.record(func() {
				x.del("a")
				x.del("b")
				x.del("c")
				x.delAll("d", "e", "never")
			})
		}},
		{"Part and Complete", both, true, func(x *run) {
			x.start()
			x.put("up", packed)
			u := x.upload("up")
			x.part(u, 5<<20)
			x.record(func() {
				x.part(u, packed)
				x.complete(u)
			})
		}},
		{"Abort", both, true, func(x *run) {
			x.start()
			x.put("up", inline)
			u := x.upload("up")
			x.part(u, packed)
			x.part(u, inline)
			x.record(func() { x.abort(u) })
		}},
		{"COPY", both, true, func(x *run) {
			x.start()
			x.put("a", inline)
			x.put("b", packed)
			x.put("over", packed)
			x.record(func() {
				x.copy("a", "a2")
				x.copy("b", "b2")
				x.copy("b", "over")
				x.del("b")
				x.copy("b2", "b")
			})
		}},
		{"versions", both, true, func(x *run) {
			x.start()
			x.version("k", packed)
			x.record(func() {
				x.version("k", inline)
				x.mark("k")
				x.version("k", packed)
			})
		}},
		{"many clients", both, true, manyClients},
	}
}

// delAll deletes keys with one DeleteObjects: each key by itself.
func (x *run) delAll(keys ...string) {
	x.t.Helper()
	var doc strings.Builder
	var cs []*change
	doc.WriteString("<Delete>")
	for _, k := range keys {
		fmt.Fprintf(&doc, "<Object><Key>%s</Key></Object>", k)
		cs = append(cs, x.begin("DeleteObjects of "+k, world{"o bucket/" + k: ""}))
	}
	doc.WriteString("</Delete>")
	body := []byte(doc.String())
	a, err := x.want(200, "POST", "/bucket?delete", body, "Content-Md5", contentMD5(body))
	if err != nil || strings.Contains(string(a.body), "<Error>") {
		x.t.Errorf("before any crash: %v: %s", err, a.body)
		return
	}
	for _, c := range cs {
		x.done(c)
	}
}

// version writes a version of a key in a bucket that keeps them; mark puts a
// delete marker on top.
func (x *run) version(key string, size int) {
	x.t.Helper()
	if x.get("b versions") == "" {
		x.bucket("versions")
		x.must(200, world{"b versions": versioned}, "PUT", "/versions?versioning",
			[]byte("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"))
	}
	body := x.body(size)
	item := "v versions/" + key
	x.must(200, world{item: " " + etagOf(body) + x.get(item), "o versions/" + key: digestOf(body, etagOf(body), "")}, "PUT", "/versions/"+key, body)
}

func (x *run) mark(key string) {
	x.t.Helper()
	item := "v versions/" + key
	x.must(204, world{item: " marker" + x.get(item), "o versions/" + key: ""}, "DELETE", "/versions/"+key, nil)
}

// manyClients share log entries, volumes and syncs.
func manyClients(x *run) {
	x.start()
	for i := range 6 {
		x.put(fmt.Sprintf("c%d/old", i), []int{inline, packed}[i%2])
	}
	x.record(func() {
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				key := func(s string) string { return fmt.Sprintf("c%d/%s", i, s) }
				x.put(key("a"), []int{inline, packed, packed, 20_000, 0, x.shape.file()}[i])
				x.copy(key("old"), key("b"))
				x.put(key("old"), []int{packed, inline, packed, inline, packed, packed}[i])
				u := x.upload(key("up"))
				x.part(u, []int{packed, inline, packed, 20_000, 100, packed}[i])
				x.del(key("a"))
				if i%2 == 0 {
					x.complete(u)
				} else {
					x.abort(u)
				}
			})
		}
		wg.Wait()
	})
}

// budget is how many cuts of a scenario are verified, beside those at answers.
func budget() int {
	switch {
	case soak():
		return 1 << 30
	case testing.Short():
		return 4
	}
	return 60
}

func TestCrash(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	var reports []report
	room := newRoom()
	t.Run("at", func(t *testing.T) {
		for _, sc := range slices.Concat(foreground(), background(), starts()) {
			for _, sh := range sc.shapes {
				t.Run(strings.ReplaceAll(sc.name, " ", "-")+"/"+sh.scheme, func(t *testing.T) {
					t.Parallel()
					began := time.Now()
					x := newRun(t, sh, seed)
					x.loses = sc.loses && sh.dirs > 1
					sc.tell(x)
					x.halt()
					rep := report{scenario: sc.name, shape: sh.scheme}
					x.verifyAll(room, budget(), &rep)
					rep.took = time.Since(began)
					for _, w := range x.wrong {
						t.Error(w)
					}
					if rep.points == 0 {
						t.Error("no sync point")
					}
					mu.Lock()
					defer mu.Unlock()
					reports = append(reports, rep)
				})
			}
		}
	})
	print(t, reports)
}

// print logs the table of what was tried.
func print(t *testing.T, reports []report) {
	t.Helper()
	slices.SortFunc(reports, func(a, b report) int {
		return strings.Compare(a.scenario+a.shape, b.scenario+b.shape)
	})
	kinds := []string{"log", "state", "catalog", "volume", "blob", "index", "layout"}
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s %-7s %6s %7s %5s  %-52s %8s %8s %7s\n", "scenario", "scheme", "points", "crashes", "lost", "points of "+strings.Join(kinds, "/"), "in whole", "not", "took")
	points, crashes := 0, 0
	for _, r := range reports {
		var per []string
		for _, k := range kinds {
			per = append(per, fmt.Sprint(r.kinds[k]))
		}
		fmt.Fprintf(&b, "%-20s %-7s %6d %7d %5d  %-52s %8d %8d %7s\n", r.scenario, r.shape, r.points, r.crashes, r.lost, strings.Join(per, "/"), r.effected, r.absent, r.took.Round(time.Second/10))
		points, crashes = points+r.points, crashes+r.crashes
	}
	fmt.Fprintf(&b, "%d sync points, %d crashes; 'lost': those that also emptied a directory; 'in whole' and 'not': unacknowledged operations that were there after the crash, and that were not", points, crashes)
	t.Log("\n" + b.String())
}
