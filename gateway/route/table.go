package route

import (
	"net/http"
	"slices"
	"strings"
)

// table is the closed table, in the form in which it is searched.
type table struct {
	ops    []*Operation
	byName map[string]*Operation
	// params are all query keys that the model knows, of any operation.
	params map[string]bool
	groups map[groupKey]*group
}

type groupKey struct {
	level  Level
	method string
}

// group holds the operations of one level and method.
type group struct {
	plain []*Operation            // without query selectors; those with Need first
	subs  map[string][]*Operation // by selecting query key, the most specific first
}

// operations is built once and never changes.
var operations = build()

// build lays out the table. It panics on a table that contradicts itself,
// which a test would show.
func build() *table {
	t := &table{byName: map[string]*Operation{}, params: map[string]bool{"x-id": true}, groups: map[groupKey]*group{}}
	all := slices.Concat(serviceOperations(), bucketOperations(), objectOperations())
	for i := range all {
		op := &all[i]
		op.Index = i
		if t.byName[op.Name] != nil {
			panic("route: " + op.Name + " stands twice in the table")
		}
		t.ops = append(t.ops, op)
		t.byName[op.Name] = op
		t.add(op)
	}
	for _, g := range t.groups {
		slices.SortStableFunc(g.plain, specific)
		for _, ops := range g.subs {
			slices.SortStableFunc(ops, specific)
		}
	}
	return t
}

func (t *table) add(op *Operation) {
	op.params = map[string]bool{"x-id": true}
	op.headers = map[string]bool{}
	for _, h := range op.Headers {
		op.headers[h] = true
	}
	if op.Body != NoBody {
		op.headers["Content-Md5"] = true
		op.headers["Content-Type"] = true
		for _, h := range checksums {
			op.headers[h] = true
		}
	}
	for _, k := range op.Query {
		op.params[k], t.params[k] = true, true
	}
	key := groupKey{op.Level, op.Method}
	if op.Path != "" {
		key.level = Bucket
	}
	g := t.groups[key]
	if g == nil {
		g = &group{subs: map[string][]*Operation{}}
		t.groups[key] = g
	}
	if len(op.Select) == 0 {
		g.plain = append(g.plain, op)
		return
	}
	for i, s := range op.Select {
		k, _, _ := strings.Cut(s, "=")
		op.params[k], t.params[k] = true, true
		if i == 0 {
			g.subs[k] = append(g.subs[k], op)
		}
	}
}

// specific orders operations so that the one with more requirements is first.
func specific(a, b *Operation) int { return b.weight() - a.weight() }

func (o *Operation) weight() int {
	w := 2 * len(o.Select)
	if o.Need != "" {
		w++
	}
	if o.Path != "" || o.ByID {
		w += 16
	}
	return w
}

// selected reports whether the request has what the operation requires.
func (o *Operation) selected(tg *Target, q Query, h http.Header) bool {
	if o.Path != "" && o.Path != tg.Bucket || o.ByID && q.Get("x-id") != o.Name {
		return false
	}
	for _, s := range o.Select {
		k, v, exact := strings.Cut(s, "=")
		if !q.Has(k) || exact && q.Get(k) != v {
			return false
		}
	}
	return o.Need == "" || len(h[o.Need]) > 0 || hoisted(q, o.Need)
}

// hoisted reports whether a header stands in the query.
func hoisted(q Query, header string) bool {
	for i := range q {
		if strings.EqualFold(q[i].Key, header) {
			return true
		}
	}
	return false
}

// join concatenates lists of names.
func join(lists ...[]string) []string { return slices.Concat(lists...) }

// All returns every operation in the order of the table. It must not be changed.
func All() []*Operation { return operations.ops }

// Named returns the operation, nil if there is none of the name.
func Named(name string) *Operation { return operations.byName[name] }
