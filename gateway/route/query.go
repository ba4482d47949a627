package route

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Param is one decoded query parameter. A flag such as "?acl" has no value.
type Param struct{ Key, Value string }

// Query is the query string of a request, decoded once, in the order sent.
type Query []Param

// Get returns the first value of the parameter, "" if it is not there.
func (q Query) Get(key string) string {
	for i := range q {
		if q[i].Key == key {
			return q[i].Value
		}
	}
	return ""
}

// Has reports whether the parameter is there, with or without a value.
func (q Query) Has(key string) bool {
	for i := range q {
		if q[i].Key == key {
			return true
		}
	}
	return false
}

// ParseQuery decodes a raw query and appends its parameters to buf. Only '&'
// separates: a ';' is data, as S3 has it. '+' is a space. It returns
// ErrInvalidURI when an escape is wrong or the text is not UTF-8.
func ParseQuery(raw string, buf []Param) (Query, error) {
	q := Query(buf)
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		key, err := unescapeQuery(key)
		if err != nil {
			return nil, err
		}
		if value, err = unescapeQuery(value); err != nil {
			return nil, err
		}
		q = append(q, Param{key, value})
	}
	return q, nil
}

// WithoutCredentials returns the query without the parameters that
// authenticate a presigned URL of version 2; in q itself. They count as such
// only together: Expires alone stands for the header of that name. Those of
// version 4 are x-amz-*, which no operation takes for its own.
func (q Query) WithoutCredentials() Query {
	if !q.Has("AWSAccessKeyId") || !q.Has("Signature") {
		return q
	}
	return slices.DeleteFunc(q, func(p Param) bool { return p.Key == "AWSAccessKeyId" || p.Key == "Signature" || p.Key == "Expires" })
}

func unescapeQuery(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		if !utf8.ValidString(s) {
			return "", ErrInvalidURI
		}
		return s, nil
	}
	t, err := url.QueryUnescape(s)
	if err != nil || !utf8.ValidString(t) {
		return "", ErrInvalidURI
	}
	return t, nil
}

// isAmz reports whether a query key is the name of an x-amz-* header in some
// letter case.
func isAmz(key string) bool {
	return len(key) > 6 && (key[0] == 'x' || key[0] == 'X') && key[1] == '-' && strings.EqualFold(key[:6], "x-amz-")
}
