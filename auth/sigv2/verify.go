package sigv2

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the algorithm of version 2
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/auth"
)

// MaxAhead is how far ahead the end of a URL may lie: the longest validity of
// a version 4 URL, and a quarter of an hour for the difference of the clocks.
const MaxAhead = 7*24*time.Hour + 15*time.Minute

// Result is what a verified URL is known to be.
type Result struct {
	Identity auth.Identity
	// Expires is when the URL ends.
	Expires time.Time
	// SignedHeaders are the lowercase names of the headers that the signature
	// covers, sorted, ';' between them; parameters that stand for headers count.
	SignedHeaders string
}

// Verify authenticates a request whose query has the parameters AWSAccessKeyId
// and Signature. r is the request as it came from the wire; bucket is the one
// that its Host names, "" in path style. Errors wrap the sentinels of package
// auth: ErrQueryMalformed, ErrQueryNotSigned, ErrInvalidURI, ErrInvalidToken,
// ErrUnknownAccessKey, ErrExpired and ErrSignatureMismatch.
func Verify(ctx context.Context, keys auth.Keys, r *http.Request, bucket string, now time.Time) (*Result, error) {
	q, err := parseQuery(r.Method, r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	if q.accessKey == "" || q.signature == "" || q.expires == "" {
		return nil, fmt.Errorf("query-string authentication needs AWSAccessKeyId, Signature and Expires: %w", auth.ErrQueryMalformed)
	}
	headers, err := amzHeaders(r.Header, q)
	if err != nil {
		return nil, err
	}
	expires, err := parseExpires(q.expires, now)
	if err != nil {
		return nil, err
	}
	secret, id, err := keys.Secret(ctx, q.accessKey)
	if err != nil {
		return nil, fmt.Errorf("access key %.128q: %w", q.accessKey, err)
	}
	if now.After(expires) {
		return nil, &auth.ExpiredError{Expires: expires, ServerTime: now.UTC()}
	}
	if err := check(r, q, headers, bucket, secret); err != nil {
		return nil, err
	}
	signed := make([]string, 2, 2+len(headers))
	signed[0], signed[1] = "content-md5", "content-type"
	for i := range headers {
		signed = append(signed, headers[i].name)
	}
	return &Result{Identity: id, Expires: expires, SignedHeaders: strings.Join(signed, ";")}, nil
}

// parseExpires reads the end of a URL, in seconds since the epoch.
func parseExpires(s string, now time.Time) (time.Time, error) {
	n, err := strconv.ParseUint(s, 10, 40)
	if err != nil || s[0] == '+' {
		return time.Time{}, fmt.Errorf("Expires %.32q is not a number of seconds since the epoch: %w", s, auth.ErrQueryMalformed)
	}
	t := time.Unix(int64(n), 0)
	if t.Sub(now) > MaxAhead {
		return time.Time{}, fmt.Errorf("Expires lies more than 7 days ahead: %w", auth.ErrQueryMalformed)
	}
	return t, nil
}

// amzHeaders collects the x-amz-* headers and the parameters that stand for
// them, sorted by name. One that is given both ways must be the same in both.
// X-Amz-Cf-Id is added by CloudFront and means nothing here.
func amzHeaders(h http.Header, q *query) ([]param, error) {
	var list []param
	for name, values := range h {
		if !strings.HasPrefix(name, "X-Amz-") || name == "X-Amz-Cf-Id" {
			continue
		}
		list = append(list, param{lower(name), joined(values)})
	}
	slices.SortFunc(list, func(a, b param) int { return strings.Compare(a.name, b.name) })
	for _, p := range q.headers {
		if !strings.HasPrefix(p.name, "x-amz-") {
			continue
		}
		i, found := slices.BinarySearchFunc(list, p.name, func(e param, name string) int { return strings.Compare(e.name, name) })
		switch {
		case !found:
			list = slices.Insert(list, i, p)
		case list[i].value != p.value:
			return nil, fmt.Errorf("%.64s is not the same in the header and in the query: %w", p.name, auth.ErrQueryMalformed)
		}
	}
	for i := range list {
		if list[i].name == "x-amz-security-token" {
			return nil, auth.ErrInvalidToken
		}
	}
	return list, nil
}

// check computes the signature and compares it in constant time. Clients sign
// a bucket's own URL with or without a final slash, whichever way they send
// it; both name the bucket.
func check(r *http.Request, q *query, headers []param, bucket, secret string) error {
	path := resourcePath(r, bucket)
	sts := stringToSign(r, q, headers, path)
	if matches(sts, secret, q.signature) {
		return nil
	}
	if other := otherPath(path); other != "" && matches(stringToSign(r, q, headers, other), secret, q.signature) {
		return nil
	}
	return &auth.SignatureError{AccessKey: q.accessKey, Host: r.Host, Provided: q.signature, StringToSign: string(sts)}
}

func matches(sts []byte, secret, signature string) bool {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(sts)
	var sum [sha1.Size]byte
	var text [28]byte
	base64.StdEncoding.Encode(text[:], mac.Sum(sum[:0]))
	return subtle.ConstantTimeCompare(text[:], []byte(signature)) == 1
}

// stringToSign is the text that the signature is over.
func stringToSign(r *http.Request, q *query, headers []param, path string) []byte {
	b := make([]byte, 0, 256+len(path))
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = append(b, standard(r.Header["Content-Md5"], q.header("content-md5"))...)
	b = append(b, '\n')
	b = append(b, standard(r.Header["Content-Type"], q.header("content-type"))...)
	b = append(b, '\n')
	b = append(b, q.expires...)
	b = append(b, '\n')
	for i := range headers {
		b = append(b, headers[i].name...)
		b = append(b, ':')
		b = append(b, headers[i].value...)
		b = append(b, '\n')
	}
	b = append(b, path...)
	for i := range q.resources {
		b = append(b, "?&"[min(i, 1)])
		b = append(b, q.resources[i].name...)
		if v := q.resources[i].value; v != "" {
			b = append(b, '=')
			b = append(b, v...)
		}
	}
	return b
}

// standard is the value of a header, or of the parameter that stands for it
// where there is no header.
func standard(values []string, hoisted string) string {
	if v := joined(values); v != "" {
		return v
	}
	return hoisted
}

func joined(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, ",")
}

// resourcePath is the path as it was sent, behind the bucket of the host.
func resourcePath(r *http.Request, bucket string) string {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if bucket != "" {
		return "/" + bucket + path
	}
	return path
}

// otherPath is the path of a bucket with its final slash put on or taken off,
// "" for any other path.
func otherPath(path string) string {
	rest, ok := strings.CutPrefix(path, "/")
	bucket, key, slash := strings.Cut(rest, "/")
	switch {
	case !ok || bucket == "" || key != "":
		return ""
	case slash:
		return "/" + bucket
	}
	return path + "/"
}
