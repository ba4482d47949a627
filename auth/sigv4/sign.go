package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Signer signs requests as a client. It keeps the signing key of the last day
// and is safe for concurrent use.
type Signer struct {
	accessKey, secret, region string

	last atomic.Pointer[dayKey]
	pool scratchPool
}

type dayKey struct {
	date string
	key  [32]byte
}

// NewSigner returns a signer for one credential and region.
func NewSigner(accessKey, secret, region string) *Signer {
	return &Signer{accessKey: accessKey, secret: secret, region: region}
}

// Sign signs req with an Authorization header, once. See Signer.Sign.
func Sign(req *http.Request, accessKey, secret, region, payloadHash string, t time.Time) {
	NewSigner(accessKey, secret, region).Sign(req, payloadHash, t)
}

// Presign returns a presigned URL, once. See Signer.Presign.
func Presign(req *http.Request, accessKey, secret, region string, expires time.Duration, t time.Time) *url.URL {
	return NewSigner(accessKey, secret, region).Presign(req, expires, t)
}

func (s *Signer) key(date string) [32]byte {
	if d := s.last.Load(); d != nil && d.date == date {
		return d.key
	}
	d := &dayKey{date, signingKey(s.secret, date, s.region)}
	s.last.Store(d)
	return d.key
}

// Sign sets x-amz-date, x-amz-content-sha256 and Authorization on req. It signs
// the host, Content-MD5, Content-Type, Content-Encoding, Range and every x-amz-* header that
// is set, and returns the signature in hex, which seeds a chunked body.
// payloadHash is a hash in hex or one of the constants; empty means
// UNSIGNED-PAYLOAD.
func (s *Signer) Sign(req *http.Request, payloadHash string, t time.Time) string {
	if payloadHash == "" {
		payloadHash = UnsignedPayload
	}
	stamp := t.UTC().Format(isoLayout)
	req.Header["X-Amz-Date"] = []string{stamp}
	req.Header["X-Amz-Content-Sha256"] = []string{payloadHash}
	signed := signableHeaders(req.Header)
	scope := stamp[:len(dateLayout)] + "/" + s.region + "/" + service + "/" + terminator
	sig, err := s.sign(req, signed, payloadHash, stamp, scope, false)
	if err != nil {
		sig = "" // an invalid query: the server will refuse the request
	}
	req.Header["Authorization"] = []string{Algorithm + " Credential=" + s.accessKey + "/" + scope +
		", SignedHeaders=" + signed + ", Signature=" + sig}
	return sig
}

// Presign returns req's URL with query parameters that make it valid for
// expires (rounded down to seconds) from t on. The headers that Sign would
// sign have to be sent with it as they are in req.
func (s *Signer) Presign(req *http.Request, expires time.Duration, t time.Time) *url.URL {
	stamp := t.UTC().Format(isoLayout)
	signed := signableHeaders(req.Header)
	scope := stamp[:len(dateLayout)] + "/" + s.region + "/" + service + "/" + terminator
	out := *req.URL
	var q strings.Builder
	if out.RawQuery != "" {
		q.WriteString(out.RawQuery + "&")
	}
	q.WriteString("X-Amz-Algorithm=" + Algorithm + "&X-Amz-Credential=" + url.QueryEscape(s.accessKey+"/"+scope) +
		"&X-Amz-Date=" + stamp + "&X-Amz-Expires=" + strconv.FormatInt(int64(expires/time.Second), 10) +
		"&X-Amz-SignedHeaders=" + url.QueryEscape(signed))
	out.RawQuery = q.String()
	clone := *req
	clone.URL = &out
	sig, err := s.sign(&clone, signed, UnsignedPayload, stamp, scope, true)
	if err != nil {
		sig = ""
	}
	out.RawQuery += "&X-Amz-Signature=" + sig
	return &out
}

func (s *Signer) sign(req *http.Request, signed, payloadHash, stamp, scope string, presigned bool) (string, error) {
	buf := s.pool.get()
	defer s.pool.put(buf)
	if err := buf.canonical(req, signed, payloadHash, presigned); err != nil {
		return "", err
	}
	buf.stringToSign(stamp, scope)
	key := s.key(stamp[:len(dateLayout)])
	sig := signature(&key, buf.sts)
	return string(sig[:]), nil
}

// signableHeaders lists what Sign covers.
func signableHeaders(h http.Header) string {
	names := make([]string, 1, 8)
	names[0] = "host"
	for name := range h {
		switch name {
		case "Content-Md5", "Content-Type", "Content-Encoding", "Range":
		default:
			if !strings.HasPrefix(name, "X-Amz-") {
				continue
			}
		}
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	return strings.Join(names, ";")
}
