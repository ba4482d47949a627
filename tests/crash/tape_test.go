package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/vfs"
)

// world is what a client can see: items ("o bucket/key" for objects, "u
// bucket/key" for an open upload, "b name" for buckets) and a digest of each.
// What is not there has no entry.
type world map[string]string

// change is one operation: what it makes of some items, all of them together
// or none. An empty digest takes an item away.
type change struct {
	name string
	to   world
}

// known is what clients know at an instant.
type known struct {
	acked   world
	running []*change // begun and not acknowledged
	ops     int       // acknowledged
}

// cut is a file system after a power loss, and what was known before it.
type cut struct {
	fs    *vfs.Mem
	point int // the sync point's number, from 1; 0 at an acknowledgement
	at    string
	lost  string // a directory that the crash emptied
	known known
}

// tape runs beside a server: it knows what was acknowledged, and while it is
// on it counts sync points and takes cuts at each.
type tape struct {
	mem *vfs.Mem
	mu  struct {
		sync.Mutex
		on      bool
		rng     *rand.Rand
		acked   world
		running map[*change]bool
		ops     int
		points  int
		kinds   map[string]int
		removed map[string]int // files removed, by kind and whether recording or not
		cuts    []cut
	}
}

func newTape(mem *vfs.Mem, seed uint64) *tape {
	t := &tape{mem: mem}
	t.mu.rng = rand.New(rand.NewPCG(seed, 0))
	t.mu.acked, t.mu.running, t.mu.kinds = world{}, map[*change]bool{}, map[string]int{}
	t.mu.removed = map[string]int{}
	return t
}

// kindOf says what a path belongs to.
func kindOf(path string) string {
	for _, k := range []struct{ part, kind string }{{"/volumes", "volume"}, {"/blobs", "blob"}, {"/index", "index"},
		{"/catalog/log", "log"}, {"/catalog/state", "state"}, {"/catalog", "catalog"}} {
		if strings.Contains(path, k.part) {
			return k.kind
		}
	}
	return "layout"
}

// hook is called before each file system call.
func (t *tape) hook(op vfs.Op, path string) error {
	if !op.IsSync() && op != vfs.OpRemove {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if op == vfs.OpRemove {
		t.mu.removed[kindOf(path)]++
		return nil
	}
	if !t.mu.on {
		return nil
	}
	t.mu.points++
	kind := kindOf(path)
	t.mu.kinds[kind]++
	t.cut(t.mu.points, fmt.Sprintf("before sync point %d (%s %s)", t.mu.points, op, path), 0, 50, 100)
	return nil
}

// cut takes clones. t.mu is held, so no operation begins or ends meanwhile.
func (t *tape) cut(point int, at string, percents ...int) {
	k := known{maps.Clone(t.mu.acked), slices.Collect(maps.Keys(t.mu.running)), t.mu.ops}
	for _, p := range percents {
		t.mu.cuts = append(t.mu.cuts, cut{fs: t.mem.CrashClone(p, t.mu.rng), point: point, at: fmt.Sprintf("%s, %d %% kept", at, p), known: k})
	}
}

// fs is what a server runs on.
func (t *tape) fs() vfs.FS { return vfs.WithHook(t.mem, t.hook) }

// record takes cuts while f runs, and one at its end.
func (t *tape) record(f func()) {
	t.mu.Lock()
	t.mu.on = true
	t.mu.Unlock()
	f()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.on = false
	t.cut(0, "at the end", 0, 50, 100)
}

// begin notes that an operation is under way.
func (t *tape) begin(name string, to world) *change {
	c := &change{name, to}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.running[c] = true
	return c
}

// done notes that it was acknowledged.
func (t *tape) done(c *change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.running, c)
	for item, v := range c.to {
		if v == "" {
			delete(t.mu.acked, item)
		} else {
			t.mu.acked[item] = v
		}
	}
	t.mu.ops++
	if t.mu.on {
		t.cut(0, "at the answer to "+c.name, 0)
	}
}

// gone counts the files of a kind that were removed.
func (t *tape) gone(kind string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.removed[kind]
}

// get returns an item as acknowledged.
func (t *tape) get(item string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.acked[item]
}

// judge compares what is there with what was known. It returns what is wrong,
// and how many of the running operations took effect.
func (k *known) judge(seen world) (wrong []string, effective int) {
	rest := maps.Clone(seen)
	expect := maps.Clone(k.acked)
	for _, c := range k.running {
		olds, news := 0, 0
		var have []string
		for item, v := range c.to {
			if rest[item] == k.acked[item] {
				olds++
			}
			if rest[item] == v {
				news++
			}
			have = append(have, fmt.Sprintf("%s is %q, was %q, becomes %q", item, rest[item], k.acked[item], v))
			delete(rest, item)
			delete(expect, item)
		}
		switch {
		case news == len(c.to):
			effective++
		case olds != len(c.to):
			slices.Sort(have)
			wrong = append(wrong, fmt.Sprintf("half of %s is there: %s", c.name, strings.Join(have, "; ")))
		}
	}
	for _, item := range slices.Sorted(maps.Keys(expect)) {
		if rest[item] != expect[item] {
			wrong = append(wrong, fmt.Sprintf("%s was acknowledged as %q and is %q", item, expect[item], rest[item]))
		}
		delete(rest, item)
	}
	for _, item := range slices.Sorted(maps.Keys(rest)) {
		wrong = append(wrong, fmt.Sprintf("%s is %q and nobody made it so", item, rest[item]))
	}
	return wrong, effective
}
