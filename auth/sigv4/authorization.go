package sigv4

import (
	"fmt"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/internal/fault"
)

// Bounds in bytes.
const (
	maxAuthorization = 12 << 10
	maxScopePart     = 128
)

// credential is a parsed credential. All fields are parts of what was sent.
type credential struct {
	accessKey string
	date      string // YYYYMMDD
	region    string
	scope     string // date/region/s3/aws4_request
}

// claim is what a request says of its own signature, from the header or the
// query.
type claim struct {
	credential
	signedHeaders string // lowercase names joined by ';'
	signature     string
}

// parseAuthorization parses an Authorization header.
func parseAuthorization(h string) (c claim, err error) {
	if len(h) > maxAuthorization {
		return c, fmt.Errorf("%d bytes: %w", len(h), auth.ErrHeaderMalformed)
	}
	h = strings.TrimSpace(h)
	mechanism, rest, _ := strings.Cut(h, " ")
	if mechanism != Algorithm {
		return c, fmt.Errorf("mechanism %.32q: %w", mechanism, auth.ErrUnsupportedSignature)
	}
	var cred string
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var to *string
		switch name {
		case "Credential":
			to = &cred
		case "SignedHeaders":
			to = &c.signedHeaders
		case "Signature":
			to = &c.signature
		case "":
			if value == "" {
				continue
			}
			fallthrough
		default:
			return c, fmt.Errorf("component %.32q: %w", name, auth.ErrHeaderMalformed)
		}
		if *to != "" || value == "" {
			return c, fmt.Errorf("component %s is empty or given twice: %w", name, auth.ErrHeaderMalformed)
		}
		*to = value
	}
	if cred == "" || c.signedHeaders == "" || c.signature == "" {
		return c, fmt.Errorf("Credential, SignedHeaders and Signature are required: %w", auth.ErrHeaderMalformed)
	}
	if c.credential, err = parseCredential(cred, auth.ErrHeaderMalformed); err != nil {
		return c, err
	}
	return c, checkSignedHeaders(c.signedHeaders, auth.ErrHeaderMalformed)
}

// parseCredential parses "<access key>/<date>/<region>/s3/aws4_request". bad is
// the sentinel of the place where the credential stood.
func parseCredential(s string, bad *fault.Error) (c credential, err error) {
	rest, term, ok1 := cutLast(s)
	rest, svc, ok2 := cutLast(rest)
	rest, region, ok3 := cutLast(rest)
	accessKey, date, ok4 := cutLast(rest)
	switch {
	case !ok1 || !ok2 || !ok3 || !ok4:
		return c, fmt.Errorf("the credential must be <access-key>/YYYYMMDD/REGION/SERVICE/aws4_request: %w", bad)
	case accessKey == "" || len(accessKey) > auth.MaxAccessKey:
		return c, fmt.Errorf("access key of %d bytes: %w", len(accessKey), bad)
	case !isDate(date):
		return c, fmt.Errorf("invalid credential date %.16q, expected YYYYMMDD: %w", date, bad)
	case region == "" || len(region) > maxScopePart:
		return c, fmt.Errorf("region of %d bytes: %w", len(region), bad)
	case svc != service:
		return c, fmt.Errorf("incorrect service %.32q, this endpoint belongs to \"s3\": %w", svc, bad)
	case term != terminator:
		return c, fmt.Errorf("incorrect terminal %.32q, this endpoint uses \"aws4_request\": %w", term, bad)
	}
	return credential{accessKey: accessKey, date: date, region: region, scope: s[len(accessKey)+1:]}, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isDate(s string) bool {
	if len(s) != len(dateLayout) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// checkSignedHeaders refuses names that are not lowercase tokens, lists that
// are not in strictly ascending order (so that none is listed twice), and
// lists without host.
func checkSignedHeaders(list string, bad *fault.Error) error {
	prev, host := "", false
	for rest, more := list, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		if name <= prev {
			return fmt.Errorf("SignedHeaders is not a sorted list of names: %w", bad)
		}
		for i := 0; i < len(name); i++ {
			if c := name[i]; c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' || c == ':' || c == ',' {
				return fmt.Errorf("SignedHeaders has the name %.32q: %w", name, bad)
			}
		}
		host = host || name == "host"
		prev = name
	}
	if !host {
		return &auth.UnsignedHeadersError{Headers: []string{"host"}}
	}
	return nil
}

// isSigned reports whether the canonical MIME name is in a SignedHeaders list.
func isSigned(list, mimeName string) bool {
	for rest := list; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, ";")
		if foldEqual(mimeName, name) {
			return true
		}
	}
	return false
}

// parseISO parses the basic ISO 8601 form of x-amz-date.
func parseISO(s string) (time.Time, bool) {
	if len(s) != len(isoLayout) {
		return time.Time{}, false
	}
	t, err := time.Parse(isoLayout, s)
	return t, err == nil
}

// parseHTTPDate parses a Date header in any of the forms of RFC 9110, section
// 5.6.7, or in the basic ISO 8601 form.
func parseHTTPDate(s string) (time.Time, bool) {
	if t, ok := parseISO(s); ok {
		return t, true
	}
	for _, layout := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123Z, time.RFC1123, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
