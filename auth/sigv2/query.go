package sigv2

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"holdfast/auth"
)

// subresources are the query parameters that the signature covers: those of
// the User Guide, and those that botocore has beside them.
var subresources = set("accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location",
	"logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
	"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
	"response-content-type", "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
	"uploadId", "uploads", "versionId", "versioning", "versions", "website")

// pages are the parameters that no signature covers and that choose nothing
// but the page and the form of a listing; only a GET or HEAD may have them.
var pages = set("bucket-region", "continuation-token", "delimiter", "encoding-type", "fetch-owner", "key-marker", "list-type",
	"marker", "max-buckets", "max-keys", "max-parts", "max-uploads", "part-number-marker", "prefix", "start-after",
	"upload-id-marker", "version-id-marker")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// param is a decoded parameter; the name of one that stands for a header is in
// lower case.
type param struct{ name, value string }

// query is a query string, taken apart.
type query struct {
	accessKey, signature, expires string
	resources, headers            []param
}

// parseQuery takes a raw query apart and refuses what the signature would not
// cover.
func parseQuery(method, raw string) (*query, error) {
	q := &query{}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		p, err := decode(name, value)
		if err != nil {
			return nil, err
		}
		if err := q.add(method, p); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func decode(name, value string) (p param, err error) {
	if p.name, err = url.QueryUnescape(name); err != nil {
		return p, auth.ErrInvalidURI
	}
	if p.value, err = url.QueryUnescape(value); err != nil {
		return p, auth.ErrInvalidURI
	}
	return p, nil
}

// add puts a parameter where it belongs.
func (q *query) add(method string, p param) error {
	switch {
	case p.name == "AWSAccessKeyId":
		return once(&q.accessKey, p)
	case p.name == "Signature":
		return once(&q.signature, p)
	case p.name == "Expires":
		return once(&q.expires, p)
	case subresources[p.name]:
		if holdsParameter(p.value) {
			return fmt.Errorf("%s has the name of another parameter in its value: %w", p.name, auth.ErrQueryMalformed)
		}
		return insert(&q.resources, p)
	case p.name == "x-id", pages[p.name] && (method == http.MethodGet || method == http.MethodHead):
		return nil
	}
	sent := p.name
	p.name = lower(sent)
	if !strings.HasPrefix(p.name, "x-amz-") && p.name != "content-md5" && p.name != "content-type" {
		return fmt.Errorf("%.64q: %w", sent, auth.ErrQueryNotSigned)
	}
	if !isName(p.name) || !isValue(p.value) {
		return fmt.Errorf("%.64q does not stand for a header: %w", p.name, auth.ErrQueryMalformed)
	}
	return insert(&q.headers, p)
}

// once sets an authentication parameter. One given twice is an error, since
// two parsers could choose differently.
func once(to *string, p param) error {
	if *to != "" || p.value == "" {
		return fmt.Errorf("%s must be given once: %w", p.name, auth.ErrQueryMalformed)
	}
	*to = p.value
	return nil
}

// insert keeps the list sorted by name and without doubles.
func insert(list *[]param, p param) error {
	i, found := slices.BinarySearchFunc(*list, p.name, func(e param, name string) int { return strings.Compare(e.name, name) })
	if found {
		return fmt.Errorf("%s is given twice: %w", p.name, auth.ErrQueryMalformed)
	}
	*list = slices.Insert(*list, i, p)
	return nil
}

// header returns the value of a parameter that stands for a header.
func (q *query) header(name string) string {
	for i := range q.headers {
		if q.headers[i].name == name {
			return q.headers[i].value
		}
	}
	return ""
}

// holdsParameter reports whether a value, unquoted as it is signed, would read
// like itself and a further parameter.
func holdsParameter(value string) bool {
	_, rest, more := strings.Cut(value, "&")
	for more {
		var part string
		part, rest, more = strings.Cut(rest, "&")
		name, _, _ := strings.Cut(part, "=")
		if subresources[name] {
			return true
		}
	}
	return false
}

// isName reports whether a header may have the lowercase name.
func isName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// isValue reports whether a header may have the value: no line can begin in
// it, and there is no outer white space, which is not signed.
func isValue(value string) bool {
	if strings.Trim(value, " \t") != value {
		return false
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// lower is strings.ToLower of ASCII alone, so that no other letter becomes one
// of a header's name.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
