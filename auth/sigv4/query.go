package sigv4

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"holdfast/auth"
)

// MaxExpires is the longest validity of a presigned URL.
const MaxExpires = 7 * 24 * time.Hour

// presign holds the authentication parameters of a query, decoded.
type presign struct {
	algorithm, credential, date, expires, signedHeaders, signature, token, contentSHA256 string
	seen                                                                                 [8]bool
	v2key, v2sig                                                                         bool
}

// present reports whether the query claims to be a version 4 presigned URL.
func (p *presign) present() bool { return p.seen[0] || p.seen[1] || p.seen[5] }

// v2 reports whether the query claims to be a version 2 presigned URL.
func (p *presign) v2() bool { return p.v2key && p.v2sig }

// field returns where the value of a name goes, by the name in any letter case.
func (p *presign) field(name string) (*string, int) {
	switch {
	case foldEqual(name, "x-amz-algorithm"):
		return &p.algorithm, 0
	case foldEqual(name, "x-amz-credential"):
		return &p.credential, 1
	case foldEqual(name, "x-amz-date"):
		return &p.date, 2
	case foldEqual(name, "x-amz-expires"):
		return &p.expires, 3
	case foldEqual(name, "x-amz-signedheaders"):
		return &p.signedHeaders, 4
	case foldEqual(name, "x-amz-signature"):
		return &p.signature, 5
	case foldEqual(name, "x-amz-security-token"):
		return &p.token, 6
	case foldEqual(name, "x-amz-content-sha256"):
		return &p.contentSHA256, 7
	}
	return nil, 0
}

// scanPresign finds the authentication parameters in a raw query. A parameter
// given twice is an error, since two parsers could choose differently.
func scanPresign(raw string) (p presign, err error) {
	for {
		name, value, rest, more := nextParam(raw)
		if !more {
			return p, nil
		}
		raw = rest
		if name, err = unescape(name); err != nil {
			return p, err
		}
		switch name {
		case "AWSAccessKeyId":
			p.v2key = true
		case "Signature":
			p.v2sig = true
		}
		if len(name) < len("x-amz-") || !foldEqual(name[:6], "x-amz-") {
			continue
		}
		to, i := p.field(name)
		if to == nil {
			continue
		}
		if p.seen[i] {
			return p, fmt.Errorf("%s is given twice: %w", name, auth.ErrQueryMalformed)
		}
		p.seen[i] = true
		if *to, err = unescape(value); err != nil {
			return p, err
		}
	}
}

// unescape decodes a name or a value; without '%' and '+' it does not allocate.
func unescape(s string) (string, error) {
	out, err := url.QueryUnescape(s)
	if err != nil {
		return "", auth.ErrInvalidURI
	}
	return out, nil
}

// parse checks the parameters and returns the claim, the time of signing and
// how long the URL is valid.
func (p *presign) parse() (c claim, signed time.Time, expires time.Duration, err error) {
	bad := auth.ErrQueryMalformed
	for i, name := range [...]string{"Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"} {
		if !p.seen[i] {
			return c, signed, 0, fmt.Errorf("X-Amz-%s is missing: %w", name, bad)
		}
	}
	if p.algorithm != Algorithm {
		return c, signed, 0, fmt.Errorf("X-Amz-Algorithm %.32q: %w", p.algorithm, auth.ErrUnsupportedSignature)
	}
	if c.credential, err = parseCredential(p.credential, bad); err != nil {
		return c, signed, 0, err
	}
	signed, ok := parseISO(p.date)
	if !ok {
		return c, signed, 0, fmt.Errorf("X-Amz-Date must be in the ISO8601 long format: %w", bad)
	}
	if p.date[:len(dateLayout)] != c.date {
		return c, signed, 0, fmt.Errorf("credential date %s is not the date of X-Amz-Date: %w", c.date, bad)
	}
	n, err := strconv.ParseInt(p.expires, 10, 64)
	if err != nil || n < 1 || n > int64(MaxExpires/time.Second) {
		return c, signed, 0, fmt.Errorf("%.32q: %w", p.expires, auth.ErrBadExpiry)
	}
	c.signedHeaders, c.signature = p.signedHeaders, p.signature
	if err = checkSignedHeaders(c.signedHeaders, bad); err != nil {
		return c, signed, 0, err
	}
	if c.signature == "" {
		return c, signed, 0, fmt.Errorf("X-Amz-Signature is empty: %w", bad)
	}
	return c, signed, time.Duration(n) * time.Second, nil
}
