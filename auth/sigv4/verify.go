package sigv4

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/internal/clock"
)

// Config configures a Verifier.
type Config struct {
	Keys auth.Keys
	// Clock tells the time; nil is the machine's clock.
	Clock clock.Clock
	// Region, when not empty, is the only region that a scope may name
	// (strict mode). When empty every region is accepted.
	Region string
	// Bucket tells the bucket that a Host header names, "" for none. Version 2
	// signs it as the head of the path; nil means that no host names one.
	Bucket func(host string) string
	// Skew is how far the time of a request may be from the server's; 0 is 15
	// minutes.
	Skew time.Duration
	// CacheKeys bounds the cache of signing keys, about 80 bytes each plus
	// names; 0 is 4096.
	CacheKeys int
}

// Verifier verifies requests. It is safe for concurrent use.
type Verifier struct {
	cfg   Config
	cache *keyCache
	pool  scratchPool
	bufs  bufferPool
}

// New returns a verifier; Keys is required.
func New(cfg Config) *Verifier {
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Skew == 0 {
		cfg.Skew = 15 * time.Minute
	}
	if cfg.CacheKeys == 0 {
		cfg.CacheKeys = 4096
	}
	return &Verifier{cfg: cfg, cache: newKeyCache(cfg.CacheKeys)}
}

// Verify authenticates a request as it came from the wire: nothing may have
// rewritten its path, query, headers or Host. It reads no byte of the body;
// pass the result to NewBody for that. A request without credentials is the
// anonymous caller and no error. Errors wrap the sentinels of package auth.
func (v *Verifier) Verify(r *http.Request) (*Result, error) {
	var q presign
	if r.URL.RawQuery != "" {
		var err error
		if q, err = scanPresign(r.URL.RawQuery); err != nil {
			return nil, err
		}
	}
	headers := r.Header["Authorization"]
	header := ""
	if len(headers) > 0 {
		header = headers[0]
	}
	switch {
	case len(headers) > 1 || header != "" && (q.present() || q.v2()) || q.present() && q.v2():
		return nil, auth.ErrMultipleAuth
	case header != "":
		return v.verifyHeader(r, header)
	case q.present():
		return v.verifyPresigned(r, &q)
	case q.v2():
		return v.verifyV2(r, &q)
	}
	res := &Result{DecodedLength: -1, buffers: &v.bufs}
	if err := res.setPayload(first(r.Header, "X-Amz-Content-Sha256"), r.Header); err != nil {
		return nil, err
	}
	if res.Payload == Chunked || res.Payload == ChunkedTrailer {
		return nil, fmt.Errorf("signed chunks: %w", auth.ErrMissingCredentials)
	}
	return res, nil
}

// verifyHeader verifies a request with an Authorization header.
func (v *Verifier) verifyHeader(r *http.Request, header string) (*Result, error) {
	c, err := parseAuthorization(header)
	if err != nil {
		return nil, err
	}
	if first(r.Header, "X-Amz-Security-Token") != "" {
		return nil, auth.ErrInvalidToken
	}
	res := &Result{Scheme: Header, Region: c.region, DecodedLength: -1,
		SignedHeaders: c.signedHeaders, scope: c.scope, buffers: &v.bufs}
	if err = res.setTime(r.Header); err != nil {
		return nil, err
	}
	if res.timestamp[:len(dateLayout)] != c.date {
		return nil, fmt.Errorf("invalid credential date %q, it is not the date of the request: %w", c.date, auth.ErrHeaderMalformed)
	}
	if err = v.checkRegion(c.region, false); err != nil {
		return nil, err
	}
	if err = checkUnsigned(r.Header, c.signedHeaders, false); err != nil {
		return nil, err
	}
	hash := first(r.Header, "X-Amz-Content-Sha256")
	if hash == "" {
		return nil, auth.ErrMissingContentSHA256
	}
	if err = res.setPayload(hash, r.Header); err != nil {
		return nil, err
	}
	secret, err := v.secret(r.Context(), res, &c)
	if err != nil {
		return nil, err
	}
	now := v.cfg.Clock.Now()
	if d := now.Sub(res.Time); d > v.cfg.Skew || d < -v.cfg.Skew {
		return nil, &auth.SkewError{RequestTime: res.Time, ServerTime: now.UTC(), MaxAllowed: v.cfg.Skew}
	}
	if err = v.check(r, res, &c, secret, hash); err != nil {
		return nil, err
	}
	return res, nil
}

// verifyPresigned verifies a request with a presigned URL.
func (v *Verifier) verifyPresigned(r *http.Request, q *presign) (*Result, error) {
	c, signed, valid, err := q.parse()
	if err != nil {
		return nil, err
	}
	if q.token != "" || first(r.Header, "X-Amz-Security-Token") != "" {
		return nil, auth.ErrInvalidToken
	}
	res := &Result{Scheme: Presigned, Region: c.region, Time: signed, Expires: signed.Add(valid), DecodedLength: -1,
		SignedHeaders: c.signedHeaders, timestamp: q.date, scope: c.scope, buffers: &v.bufs}
	if err = v.checkRegion(c.region, true); err != nil {
		return nil, err
	}
	if err = checkUnsigned(r.Header, c.signedHeaders, true); err != nil {
		return nil, err
	}
	// The hash that was signed is the one in the query or in a signed header.
	// One in an unsigned header still describes the body.
	sent := first(r.Header, "X-Amz-Content-Sha256")
	hash := UnsignedPayload
	switch {
	case q.contentSHA256 != "":
		hash, sent = q.contentSHA256, q.contentSHA256
	case sent == "":
		sent = hash
	case res.Covers("x-amz-content-sha256"):
		hash = sent
	}
	if err = res.setPayload(sent, r.Header); err != nil {
		return nil, err
	}
	secret, err := v.secret(r.Context(), res, &c)
	if err != nil {
		return nil, err
	}
	now := v.cfg.Clock.Now()
	if now.After(res.Expires) || now.Before(signed.Add(-v.cfg.Skew)) {
		return nil, &auth.ExpiredError{Signed: signed, Expires: res.Expires, ServerTime: now.UTC(), Seconds: int64(valid / time.Second)}
	}
	err = v.check(r, res, &c, secret, hash)
	if err != nil && sent != hash && v.check(r, res, &c, secret, sent) == nil {
		err = nil // signed over the body's hash, with the header left unsigned
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// secret looks the access key up and sets the identity.
func (v *Verifier) secret(ctx context.Context, res *Result, c *claim) (string, error) {
	secret, id, err := v.cfg.Keys.Secret(ctx, c.accessKey)
	if err != nil {
		return "", fmt.Errorf("access key %q: %w", c.accessKey, err)
	}
	res.Identity = id
	return secret, nil
}

// check computes the signature, compares it in constant time and leaves the
// signing key and the seed in res.
func (v *Verifier) check(r *http.Request, res *Result, c *claim, secret, payloadHash string) error {
	s := v.pool.get()
	defer v.pool.put(s)
	if err := s.canonical(r, c.signedHeaders, payloadHash, res.Scheme == Presigned); err != nil {
		return err
	}
	s.stringToSign(res.timestamp, c.scope)
	name := keyName{c.accessKey, c.date, c.region}
	key, cached := v.cache.get(name, secret)
	if !cached {
		key = signingKey(secret, c.date, c.region)
	}
	sig := signature(&key, s.sts)
	if len(c.signature) != len(sig) || subtle.ConstantTimeCompare(sig[:], []byte(c.signature)) != 1 {
		return &auth.SignatureError{AccessKey: c.accessKey, Host: r.Host, Provided: c.signature,
			StringToSign: string(s.sts), CanonicalRequest: string(s.buf)}
	}
	if !cached {
		// The names are parts of the request's headers: copy, or the cache
		// would keep those alive.
		name = keyName{strings.Clone(name.accessKey), strings.Clone(name.date), strings.Clone(name.region)}
		v.cache.put(name, keyEntry{secret: secret, key: key})
	}
	res.key, res.seed = key, sig
	return nil
}

// SigningKey returns the key of one access key, day (YYYYMMDD) and region,
// from the cache when it is there, and the identity behind it. It is for
// signatures that are not over a request, such as those of browser forms.
func (v *Verifier) SigningKey(ctx context.Context, accessKey, date, region string) ([32]byte, auth.Identity, error) {
	secret, id, err := v.cfg.Keys.Secret(ctx, accessKey)
	if err != nil {
		return [32]byte{}, auth.Identity{}, fmt.Errorf("access key %q: %w", accessKey, err)
	}
	if key, ok := v.cache.get(keyName{accessKey, date, region}, secret); ok {
		return key, id, nil
	}
	return signingKey(secret, date, region), id, nil
}

func (v *Verifier) checkRegion(region string, query bool) error {
	if v.cfg.Region != "" && region != v.cfg.Region {
		return &auth.RegionError{Given: region, Want: v.cfg.Region, Query: query}
	}
	return nil
}

// checkUnsigned refuses x-amz-* headers that the signature does not cover:
// somebody on the way could have added them. X-Amz-Cf-Id is added by
// CloudFront and means nothing here.
func checkUnsigned(h http.Header, signedHeaders string, presigned bool) error {
	var missing []string
	for name := range h {
		if !strings.HasPrefix(name, "X-Amz-") || isSigned(signedHeaders, name) || name == "X-Amz-Cf-Id" ||
			presigned && name == "X-Amz-Content-Sha256" {
			continue
		}
		missing = append(missing, strings.ToLower(name))
	}
	if missing == nil {
		return nil
	}
	slices.Sort(missing)
	return &auth.UnsignedHeadersError{Headers: missing}
}

// first returns the first value of a header by its canonical MIME name.
func first(h http.Header, mimeName string) string {
	if v := h[mimeName]; len(v) > 0 {
		return v[0]
	}
	return ""
}
