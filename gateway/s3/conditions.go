package s3

import (
	"net/http"
	"strings"
	"time"
)

// conditions are the conditional headers of a read, or those of a copy's
// source. ETags are as sent.
type conditions struct {
	ifMatch, ifNoneMatch               string
	ifModifiedSince, ifUnmodifiedSince string
}

// verdict is what the conditions of a read say.
type verdict uint8

const (
	proceed     verdict = iota
	notModified         // 304 on a read, 412 on a copy
	failed              // 412
)

// readConditions takes the conditional headers of a GET or HEAD.
func readConditions(h http.Header) conditions {
	return conditions{ifMatch: joined(h, "If-Match"), ifNoneMatch: joined(h, "If-None-Match"),
		ifModifiedSince: first(h, "If-Modified-Since"), ifUnmodifiedSince: first(h, "If-Unmodified-Since")}
}

// judge evaluates the conditions in the order of RFC 9110 section 13.2.2,
// which is S3's too: If-Match outweighs If-Unmodified-Since, and
// If-None-Match outweighs If-Modified-Since. etag has no quotes; modified is
// milliseconds since 1970 and compared to the second.
func (c *conditions) judge(etag string, modified int64) verdict {
	seconds := modified / 1000
	if c.ifMatch != "" {
		if !etagListed(c.ifMatch, etag, true) {
			return failed
		}
	} else if t, ok := conditionTime(c.ifUnmodifiedSince); ok && seconds > t {
		return failed
	}
	if c.ifNoneMatch != "" {
		if etagListed(c.ifNoneMatch, etag, false) {
			return notModified
		}
	} else if t, ok := conditionTime(c.ifModifiedSince); ok && seconds <= t {
		return notModified
	}
	return proceed
}

// failedOn names the condition that a verdict other than proceed came from.
func (c *conditions) failedOn(v verdict) string {
	switch {
	case v == failed && c.ifMatch != "":
		return "If-Match"
	case v == failed:
		return "If-Unmodified-Since"
	case c.ifNoneMatch != "":
		return "If-None-Match"
	}
	return "If-Modified-Since"
}

// rangeHolds evaluates If-Range: when it names another representation, the
// Range header is ignored (RFC 9110 section 13.1.5).
func rangeHolds(ifRange, etag string, modified int64) bool {
	if ifRange == "" {
		return true
	}
	if t, ok := conditionTime(ifRange); ok {
		return modified/1000 == t
	}
	return etagListed(ifRange, etag, true) && ifRange != "*"
}

// conditionTime parses an HTTP date to seconds since 1970. An invalid one is
// ignored, as the RFC demands.
func conditionTime(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	return t.Unix(), true
}

// etagListed reports whether a list of entity tags names etag. Under strong
// comparison a weak tag never matches.
func etagListed(list, etag string, strong bool) bool {
	for _, t := range splitETags(list) {
		if t.tag == "*" && !t.quoted || t.tag == etag && !(strong && t.weak) {
			return true
		}
	}
	return false
}

// entityTag is one element of an If-Match list.
type entityTag struct {
	tag          string // without quotes
	weak, quoted bool
}

// splitETags cuts a list of entity tags. Tags without quotes, which many S3
// clients send, are accepted.
func splitETags(list string) []entityTag {
	var tags []entityTag
	for rest := strings.Trim(list, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
		var t entityTag
		if after, ok := strings.CutPrefix(rest, "W/"); ok {
			t.weak, rest = true, after
		}
		if after, ok := strings.CutPrefix(rest, `"`); ok {
			t.quoted = true
			t.tag, rest, ok = strings.Cut(after, `"`)
			if !ok {
				return append(tags, t)
			}
		} else {
			t.tag, rest, _ = strings.Cut(rest, ",")
			t.tag = strings.TrimRight(t.tag, " \t")
		}
		if t.tag != "" || t.quoted {
			tags = append(tags, t)
		}
	}
	return tags
}

// strongTags turns an If-Match or If-None-Match header of a write into what
// the catalog judges: tags without quotes, "*" for any. A weak tag can never
// match a write under If-Match, so it is kept as a text that no ETag is.
func strongTags(list string, match bool) []string {
	if list == "" {
		return nil
	}
	tags := splitETags(list)
	out := make([]string, 0, len(tags))
	for _, t := range tags {
		if t.weak && match || t.tag == "*" && t.quoted {
			t.tag = `W/"` + t.tag + `"`
		}
		out = append(out, t.tag)
	}
	if len(out) == 0 {
		return []string{list} // a condition that names nothing is no missing one
	}
	return out
}

// parseTime reads a timestamp of a header in any of the forms that SDKs send:
// an HTTP date, ISO 8601, or seconds since 1970. The result is milliseconds.
func parseTime(s string) (int64, bool) {
	if t, err := http.ParseTime(s); err == nil {
		return t.UnixMilli(), true
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UnixMilli(), true
	}
	whole, _, _ := strings.Cut(s, ".")
	if n, ok := parseDigits(whole); ok && n < 1<<40 {
		return n * 1000, true
	}
	return 0, false
}

// first returns the header's first value. name is in canonical form, which
// spares the lookup its canonicalisation.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// joined returns all values of a list header in one.
func joined(h http.Header, name string) string {
	switch v := h[name]; len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		return strings.Join(v, ",")
	}
}
