package route

import (
	"net"
	"net/url"
	"strings"
	"unicode/utf8"

	"holdfast/gateway"
)

// Target is what a request is about.
type Target struct {
	Bucket string // "" at the service level
	Key    string // "" below the object level; opaque bytes
	// Virtual says that the bucket stands in the host's name.
	Virtual bool
}

// Level returns the level of the target.
func (t *Target) Level() Level {
	switch {
	case t.Bucket == "":
		return Service
	case t.Key == "":
		return Bucket
	}
	return Object
}

// Domains are the domains under which buckets are hosts, without ports, in
// lower case.
type Domains []string

// NewDomains prepares configured domains.
func NewDomains(names []string) Domains {
	var d Domains
	for _, n := range names {
		d = append(d, strings.ToLower(strings.Trim(hostOnly(n), ".")))
	}
	return d
}

// Bucket returns the bucket that a Host header names, "" for none. The longest
// domain wins; a port and a final dot do not matter.
func (d Domains) Bucket(host string) string {
	if len(d) == 0 || host == "" {
		return ""
	}
	host = strings.ToLower(strings.TrimSuffix(hostOnly(host), "."))
	bucket, longest := "", 0
	for _, domain := range d {
		if host == domain {
			return ""
		}
		n := len(host) - len(domain) - 1
		if n > 0 && host[n] == '.' && host[n+1:] == domain && len(domain) > longest {
			bucket, longest = host[:n], len(domain)
		}
	}
	return bucket
}

func hostOnly(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return host
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// ParseTarget is the one parser of buckets and keys. The key is what follows
// the bucket's slash, decoded once, byte for byte: "..", "//", "%2f" and a
// trailing slash are part of it. bucket is the one that the host names, "" in
// path style. It returns ErrInvalidURI, ErrKeyTooLong or ErrBadBucket.
func ParseTarget(u *url.URL, bucket string) (Target, error) {
	t := Target{Bucket: bucket, Virtual: bucket != ""}
	path, raw := u.Path, false
	if u.RawPath != "" {
		path, raw = u.EscapedPath(), true
	}
	path = strings.TrimPrefix(path, "/")
	if !t.Virtual {
		var key string
		var slash bool
		t.Bucket, key, slash = strings.Cut(path, "/")
		if t.Bucket == "" && slash {
			return Target{}, ErrBadBucket
		}
		path = key
	}
	t.Key = path
	if raw {
		var err error
		if t.Bucket, err = unescapePath(t.Bucket, t.Virtual); err != nil {
			return Target{}, err
		}
		if t.Key, err = unescapePath(t.Key, false); err != nil {
			return Target{}, err
		}
	}
	if !utf8.ValidString(t.Key) || !utf8.ValidString(t.Bucket) {
		return Target{}, ErrInvalidURI
	}
	if strings.IndexByte(t.Bucket, '/') >= 0 {
		return Target{}, ErrBadBucket
	}
	if len(t.Key) > gateway.MaxKey {
		return t, ErrKeyTooLong
	}
	return t, nil
}

func unescapePath(s string, already bool) (string, error) {
	if already || strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	t, err := url.PathUnescape(s)
	if err != nil {
		return "", ErrInvalidURI
	}
	return t, nil
}
