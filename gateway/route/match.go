package route

import (
	"fmt"
	"net/http"
)

// Reason says why a request is refused before any handler sees it.
type Reason uint8

// The reasons.
const (
	// NotBuilt: the operation or parameter is known and has no handler: 501.
	NotBuilt Reason = 1 + iota
	// BadParam: a query parameter that no operation knows, or a wrong value: 400.
	BadParam
	// WrongID: x-id names another operation: 400.
	WrongID
	// NoMethod: no operation of the level has the method: 405.
	NoMethod
	// HeaderNotBuilt: a header asks for what is not built: 501.
	HeaderNotBuilt
	// BadHeader: the value of a header is not one of those allowed: 400.
	BadHeader
	// HeadersTooLarge: all headers together are over the limit: 400.
	HeadersTooLarge
	// Repeated: a query parameter of the operation comes twice: 400.
	Repeated
)

// Refusal is the error of a request that the table does not let through.
type Refusal struct {
	Reason      Reason
	Name, Value string // of the parameter or header, if one is to blame
}

// Error implements error.
func (r *Refusal) Error() string {
	names := [...]string{"", "is not implemented", "is not a parameter of this operation", "does not agree with the request",
		"is not allowed here", "is a header that is not implemented", "has a value that is not allowed", "headers are too large", "comes more than once"}
	return fmt.Sprintf("%s %s", r.Name, names[r.Reason])
}

// Match finds the operation that a request asks for. The operation is nil when
// there is none; when it is not nil and the error is not nil either, it is the
// one that was meant, for authorisation and metrics. Errors are *Refusal.
func Match(method string, tg *Target, q Query, h http.Header) (*Operation, error) {
	g := operations.groups[groupKey{tg.Level(), method}]
	if g == nil {
		return nil, &Refusal{Reason: NoMethod, Name: method}
	}
	op := g.find(tg, q, h)
	if op == nil {
		if name := knownParam(q); name != "" {
			return nil, &Refusal{Reason: NotBuilt, Name: name}
		}
		return nil, &Refusal{Reason: NoMethod, Name: method}
	}
	if len(q) > 0 {
		if r := g.check(op, q); r != nil {
			return op, r
		}
	}
	if !op.Built {
		return op, &Refusal{Reason: NotBuilt, Name: op.Name}
	}
	return op, nil
}

// find returns the most specific operation of the group whose requirements
// hold; between equals the first in the query's order.
func (g *group) find(tg *Target, q Query, h http.Header) *Operation {
	var best *Operation
	for i := range q {
		for _, op := range g.subs[q[i].Key] {
			if (best == nil || op.weight() > best.weight()) && op.selected(tg, q, h) {
				best = op
				break
			}
		}
	}
	if best != nil {
		return best
	}
	for _, op := range g.plain {
		if op.selected(tg, q, h) {
			return op
		}
	}
	return nil
}

// check holds the query against the operation. None of the operation's own
// parameters may come twice, since one of the two would be ignored. On GET and HEAD of an object
// keys that nobody knows are ignored, since cache busters are common.
func (g *group) check(op *Operation, q Query) *Refusal {
	lenient := op.Method == "HEAD" || op.Method == "GET" && op.Level == Object
	for i := range q {
		key := q[i].Key
		switch {
		case op.params[key] && q[:i].Has(key):
			return &Refusal{Reason: Repeated, Name: key, Value: q[i].Value}
		case key == "x-id":
			if !agrees(op, q[i].Value) {
				return &Refusal{Reason: WrongID, Name: key, Value: q[i].Value}
			}
		case op.params[key] || isAmz(key):
		case len(g.subs[key]) > 0:
			if g.subs[key][0].exact(key) {
				return &Refusal{Reason: BadParam, Name: key, Value: q[i].Value}
			}
			return &Refusal{Reason: NotBuilt, Name: key}
		case lenient || op.headers[http.CanonicalHeaderKey(key)]:
		case operations.params[key]:
			return &Refusal{Reason: NotBuilt, Name: key}
		default:
			return &Refusal{Reason: BadParam, Name: key, Value: q[i].Value}
		}
	}
	return nil
}

// exact reports whether the operation is selected by a value of the key.
func (o *Operation) exact(key string) bool {
	for _, s := range o.Select {
		if len(s) > len(key) && s[:len(key)] == key && s[len(key)] == '=' {
			return true
		}
	}
	return false
}

// agrees reports whether id names the operation, or its deprecated twin.
func agrees(op *Operation, id string) bool {
	if id == op.Name {
		return true
	}
	for _, t := range twins {
		if t[0] == id && t[1] == op.Name {
			return true
		}
	}
	return false
}

// knownParam returns the first key of the query that some operation knows.
func knownParam(q Query) string {
	for i := range q {
		if q[i].Key != "x-id" && operations.params[q[i].Key] {
			return q[i].Key
		}
	}
	return ""
}
