// Package postpolicy parses and checks the policies of browser uploads (POST
// forms): what the owner of the credentials allowed a form to contain. It is
// pure, knows no HTTP and starts no goroutine.
//
// The rules are those of the Amazon S3 API Reference, pages
// sigv4-HTTPPOSTConstructPolicy and sigv4-UsingHTTPPOST.
package postpolicy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"holdfast/auth"
)

// Bounds of a policy.
const (
	MaxPolicy     = 64 << 10 // bytes of base64
	MaxConditions = 1000
)

type operator uint8

const (
	equal operator = iota
	startsWith
)

// condition is what a form field has to satisfy.
type condition struct {
	op    operator
	field string // lowercase, without '$'
	value string
}

// text is the condition as S3 cites it in its errors.
func (c condition) text() string {
	name := "eq"
	if c.op == startsWith {
		name = "starts-with"
	}
	return fmt.Sprintf("[%q, %q, %q]", name, "$"+c.field, c.value)
}

// Policy is a parsed policy. It is immutable.
type Policy struct {
	expiration time.Time
	conditions []condition
	ranged     bool
	min, max   int64
}

// Expiration is when the policy ends.
func (p *Policy) Expiration() time.Time { return p.expiration }

// LengthRange returns the bounds of the file's length in bytes, both included.
// ok is false when the policy has none. Several ranges are intersected, so min
// may be over max.
func (p *Policy) LengthRange() (min, max int64, ok bool) { return p.min, p.max, p.ranged }

// Parse parses the policy field of a form, a JSON document in base64. Its
// errors wrap auth.ErrPolicyMalformed.
func Parse(policyB64 []byte) (*Policy, error) {
	if len(policyB64) > MaxPolicy {
		return nil, malformed("over %d bytes", MaxPolicy)
	}
	doc := make([]byte, base64.StdEncoding.DecodedLen(len(policyB64)))
	n, err := base64.StdEncoding.Decode(doc, policyB64)
	if err != nil {
		return nil, malformed("not base64")
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(unescapeDollar(doc[:n]), &top); err != nil {
		return nil, malformed("not a JSON object")
	}
	p := &Policy{max: math.MaxInt64}
	var expiration string
	for name, raw := range top {
		switch name { // in this letter case only
		case "expiration":
			err = json.Unmarshal(raw, &expiration)
		case "conditions":
			err = p.parseConditions(raw)
		default:
			err = malformed("unexpected element %.64q", name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, wrap(err))
		}
	}
	if p.expiration, err = time.Parse(time.RFC3339Nano, expiration); err != nil {
		return nil, malformed("invalid or missing expiration %.64q", expiration)
	}
	if top["conditions"] == nil {
		return nil, malformed("missing conditions")
	}
	return p, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("invalid policy: %s: %w", fmt.Sprintf(format, args...), auth.ErrPolicyMalformed)
}

// wrap makes an error of encoding/json a malformed policy.
func wrap(err error) error {
	if strings.HasPrefix(err.Error(), "json:") {
		return malformed("%s", "wrong JSON type")
	}
	return err
}

// unescapeDollar turns the escape "\$", which S3 documents and JSON does not
// know, into "$". Other escapes are left to the JSON parser.
func unescapeDollar(doc []byte) []byte {
	if !bytes.Contains(doc, []byte(`\$`)) {
		return doc
	}
	out := make([]byte, 0, len(doc))
	for i := 0; i < len(doc); i++ {
		if doc[i] == '\\' && i+1 < len(doc) {
			if doc[i+1] != '$' {
				out = append(out, '\\')
			}
			i++
		}
		out = append(out, doc[i])
	}
	return out
}

func (p *Policy) parseConditions(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return malformed("conditions must be a list")
	}
	if len(list) > MaxConditions {
		return malformed("over %d conditions", MaxConditions)
	}
	for _, item := range list {
		var err error
		switch {
		case len(item) > 0 && item[0] == '{':
			err = p.parseSimple(item)
		case len(item) > 0 && item[0] == '[':
			err = p.parseTriple(item)
		default:
			err = malformed("a condition must be an object or a list")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseSimple parses {"field": "value"}.
func (p *Policy) parseSimple(raw json.RawMessage) error {
	var m map[string]*string
	if err := json.Unmarshal(raw, &m); err != nil || len(m) != 1 {
		return malformed("a simple condition must have exactly one property, a string")
	}
	for name, value := range m {
		if name == "" || value == nil {
			return malformed("a simple condition without a name or a value")
		}
		p.conditions = append(p.conditions, condition{equal, strings.ToLower(name), *value})
	}
	return nil
}

// parseTriple parses ["eq", "$field", "value"], ["starts-with", ...] and
// ["content-length-range", min, max].
func (p *Policy) parseTriple(raw json.RawMessage) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) != 3 {
		return malformed("a condition list must have three elements")
	}
	var op string
	if err := json.Unmarshal(parts[0], &op); err != nil {
		return malformed("a condition's operator must be a string")
	}
	c := condition{}
	switch strings.ToLower(op) {
	case "eq":
	case "starts-with":
		c.op = startsWith
	case "content-length-range":
		return p.parseRange(parts[1], parts[2])
	default:
		return malformed("unknown condition operator %.32q", op)
	}
	var name *string
	var value *string
	if json.Unmarshal(parts[1], &name) != nil || json.Unmarshal(parts[2], &value) != nil || name == nil || value == nil {
		return malformed("a condition's field and value must be strings")
	}
	field, dollar := strings.CutPrefix(*name, "$")
	if !dollar || field == "" {
		return malformed("a condition's field %.64q must begin with $", *name)
	}
	c.field, c.value = strings.ToLower(field), *value
	p.conditions = append(p.conditions, c)
	return nil
}

func (p *Policy) parseRange(low, high json.RawMessage) error {
	lo, ok1 := parseLength(low)
	hi, ok2 := parseLength(high)
	if !ok1 || !ok2 || lo > hi {
		return malformed("content-length-range must be two lengths in order")
	}
	p.ranged, p.min, p.max = true, max(p.min, lo), min(p.max, hi)
	return nil
}

// parseLength takes a number of bytes, also one written as a string.
func parseLength(raw json.RawMessage) (int64, bool) {
	text := strings.Trim(string(raw), `"`)
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0
}
