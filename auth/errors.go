package auth

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/fault"
)

// Sentinels of credentials and signatures.
var (
	// ErrCredentials: configured credentials are out of bounds.
	ErrCredentials = fault.New(fault.Invalid, "auth.credentials", "credentials are not well-formed")
	// ErrAccessDenied: the identity may not do this.
	ErrAccessDenied = fault.New(fault.Denied, "auth.access-denied", "access denied")
	// ErrMissingCredentials: an anonymous request where credentials are required.
	ErrMissingCredentials = fault.New(fault.Denied, "auth.missing-credentials", "the request carries no credentials")
	// ErrUnknownAccessKey: no such access key.
	ErrUnknownAccessKey = fault.New(fault.Denied, "auth.unknown-access-key", "the access key does not exist")
	// ErrInvalidToken: a security token was sent, and none is ever issued.
	ErrInvalidToken = fault.New(fault.Invalid, "auth.invalid-token", "the security token is not valid")
	// ErrHeaderMalformed: the Authorization header cannot be parsed, or its scope is wrong.
	ErrHeaderMalformed = fault.New(fault.Invalid, "auth.header-malformed", "the authorization header is malformed")
	// ErrQueryMalformed: the parameters of a presigned URL cannot be parsed, or their scope is wrong.
	ErrQueryMalformed = fault.New(fault.Invalid, "auth.query-malformed", "the query-string authentication parameters are malformed")
	// ErrQueryNotSigned: a presigned URL of version 2 has a parameter that its signature does not cover.
	ErrQueryNotSigned = fault.New(fault.Denied, "auth.query-not-signed", "the query has a parameter that the signature does not cover")
	// ErrInvalidURI: the path or the query has an invalid percent-encoding.
	ErrInvalidURI = fault.New(fault.Invalid, "auth.invalid-uri", "the URI cannot be parsed")
	// ErrMultipleAuth: more than one way of authentication in one request.
	ErrMultipleAuth = fault.New(fault.Invalid, "auth.multiple-mechanisms", "only one authentication mechanism is allowed")
	// ErrUnsupportedSignature: an Authorization header of version 2, version 4A or another scheme.
	ErrUnsupportedSignature = fault.New(fault.Invalid, "auth.unsupported-signature",
		"the authorization mechanism is not supported, use AWS4-HMAC-SHA256")
	// ErrRegion: strict mode, and the scope names another region; see RegionError.
	ErrRegion = fault.New(fault.Invalid, "auth.region", "the region of the credential scope is wrong")
	// ErrSignatureMismatch: the signature is not the one computed; see SignatureError.
	ErrSignatureMismatch = fault.New(fault.Denied, "auth.signature-mismatch", "the signature does not match")
	// ErrHeadersNotSigned: headers that must be signed are not; see UnsignedHeadersError.
	ErrHeadersNotSigned = fault.New(fault.Denied, "auth.headers-not-signed", "there were headers present which were not signed")
	// ErrMissingDate: neither x-amz-date nor Date is there and valid.
	ErrMissingDate = fault.New(fault.Denied, "auth.missing-date", "a valid Date or x-amz-date header is required")
	// ErrTimeSkewed: the request's time is too far from the server's; see SkewError.
	ErrTimeSkewed = fault.New(fault.Denied, "auth.time-skewed", "the difference between the request time and the server's time is too large")
	// ErrExpired: the presigned URL has expired; see ExpiredError.
	ErrExpired = fault.New(fault.Denied, "auth.expired", "the request has expired")
	// ErrNotYetValid: the presigned URL lies in the future; see ExpiredError.
	ErrNotYetValid = fault.New(fault.Denied, "auth.not-yet-valid", "the request is not yet valid")
	// ErrBadExpiry: X-Amz-Expires is not a number from 1 to 604800.
	ErrBadExpiry = fault.New(fault.Invalid, "auth.bad-expiry", "X-Amz-Expires must be from 1 to 604800 seconds")
)

// Sentinels of bodies.
var (
	// ErrMissingContentSHA256: a header-signed request without x-amz-content-sha256.
	ErrMissingContentSHA256 = fault.New(fault.Invalid, "auth.missing-content-sha256", "the header x-amz-content-sha256 is required")
	// ErrBadContentSHA256: the value of x-amz-content-sha256 is none of the known ones.
	ErrBadContentSHA256 = fault.New(fault.Invalid, "auth.bad-content-sha256",
		"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING value or a SHA-256 in hex")
	// ErrContentSHA256Mismatch: the body is not the one that was signed; see DigestError.
	ErrContentSHA256Mismatch = fault.New(fault.Invalid, "auth.content-sha256-mismatch", "the provided x-amz-content-sha256 does not match the body")
	// ErrMissingLength: a streaming body without x-amz-decoded-content-length.
	ErrMissingLength = fault.New(fault.Invalid, "auth.missing-decoded-length", "the header x-amz-decoded-content-length is required")
	// ErrBadLength: x-amz-decoded-content-length is not a number of bytes.
	ErrBadLength = fault.New(fault.Invalid, "auth.bad-decoded-length", "x-amz-decoded-content-length is not valid")
	// ErrIncompleteBody: the body ended before the length that was announced.
	ErrIncompleteBody = fault.New(fault.Invalid, "auth.incomplete-body", "the body is shorter than announced")
	// ErrBodyTooLong: the body goes on after the length that was announced.
	ErrBodyTooLong = fault.New(fault.Invalid, "auth.body-too-long", "the body is longer than announced")
	// ErrChunkMalformed: the framing of an aws-chunked body is wrong.
	ErrChunkMalformed = fault.New(fault.Invalid, "auth.chunk-malformed", "the aws-chunked body is malformed")
	// ErrChunkSignature: the signature of a chunk does not match.
	ErrChunkSignature = fault.New(fault.Denied, "auth.chunk-signature", "the signature of a chunk does not match")
	// ErrTrailerMalformed: the trailer cannot be parsed or is not the one announced in x-amz-trailer.
	ErrTrailerMalformed = fault.New(fault.Invalid, "auth.trailer-malformed", "the trailing headers are malformed or not those announced")
	// ErrTrailerSignature: the signature of the trailer does not match.
	ErrTrailerSignature = fault.New(fault.Denied, "auth.trailer-signature", "the signature of the trailer does not match")
	// ErrInvalidDigest: Content-MD5 or a checksum header is not a digest of its algorithm.
	ErrInvalidDigest = fault.New(fault.Invalid, "auth.invalid-digest", "the digest is not valid")
	// ErrBadDigest: the body's digest is not the one sent; see DigestError.
	ErrBadDigest = fault.New(fault.Invalid, "auth.bad-digest", "the digest does not match the body")
)

// Sentinels of browser form policies.
var (
	// ErrPolicyMalformed: the policy document cannot be parsed.
	ErrPolicyMalformed = fault.New(fault.Invalid, "auth.policy-malformed", "the policy document is malformed")
	// ErrPolicyExpired: the policy's expiration has passed.
	ErrPolicyExpired = fault.New(fault.Denied, "auth.policy-expired", "the policy has expired")
	// ErrPolicyDenied: a condition of the policy does not hold, or a field is covered by none; see PolicyError.
	ErrPolicyDenied = fault.New(fault.Denied, "auth.policy-denied", "the form does not satisfy its policy")
	// ErrPostMissingField: a form field that the signature needs is missing.
	ErrPostMissingField = fault.New(fault.Invalid, "auth.post-missing-field", "a required form field is missing")
	// ErrPostMalformed: a form field of the signature cannot be parsed.
	ErrPostMalformed = fault.New(fault.Invalid, "auth.post-malformed", "a form field of the signature is malformed")
)

// SignatureError tells a client why its signature was not accepted. None of
// its fields is a secret of the server: all derive from what was sent.
type SignatureError struct {
	AccessKey        string
	Host             string // the Host as the server saw it
	Provided         string // the client's signature
	StringToSign     string
	CanonicalRequest string // empty for a browser form and for version 2
}

// Error implements error. The text holds no signature.
func (e *SignatureError) Error() string {
	return fmt.Sprintf("access key %q at host %q: %v", e.AccessKey, e.Host, ErrSignatureMismatch)
}

// Unwrap returns ErrSignatureMismatch.
func (e *SignatureError) Unwrap() error { return ErrSignatureMismatch }

// SkewError carries the two times that lie too far apart.
type SkewError struct {
	RequestTime, ServerTime time.Time
	MaxAllowed              time.Duration
}

// Error implements error.
func (e *SkewError) Error() string {
	return fmt.Sprintf("request time %s, server time %s: %v", e.RequestTime.Format(time.RFC3339), e.ServerTime.Format(time.RFC3339), ErrTimeSkewed)
}

// Unwrap returns ErrTimeSkewed.
func (e *SkewError) Unwrap() error { return ErrTimeSkewed }

// ExpiredError carries the validity of a presigned URL that is not valid now.
// Version 2 does not tell when a URL was signed: Signed and Seconds are zero.
type ExpiredError struct {
	Signed, Expires, ServerTime time.Time
	Seconds                     int64 // X-Amz-Expires
}

// Error implements error.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("valid from %s to %s, server time %s: %v", e.Signed.Format(time.RFC3339), e.Expires.Format(time.RFC3339),
		e.ServerTime.Format(time.RFC3339), e.Unwrap())
}

// Unwrap returns ErrNotYetValid for a URL of the future, else ErrExpired.
func (e *ExpiredError) Unwrap() error {
	if e.ServerTime.Before(e.Signed) {
		return ErrNotYetValid
	}
	return ErrExpired
}

// RegionError carries the region of the scope and the one the server expects.
// Query says that the credential stood in a presigned URL.
type RegionError struct {
	Given, Want string
	Query       bool
}

// Error implements error.
func (e *RegionError) Error() string {
	return fmt.Sprintf("the region %q is wrong, expecting %q: %v", e.Given, e.Want, ErrRegion)
}

// Unwrap returns ErrRegion.
func (e *RegionError) Unwrap() error { return ErrRegion }

// UnsignedHeadersError lists the headers (lowercase) that had to be signed.
type UnsignedHeadersError struct{ Headers []string }

// Error implements error.
func (e *UnsignedHeadersError) Error() string {
	return strings.Join(e.Headers, ", ") + ": " + ErrHeadersNotSigned.Error()
}

// Unwrap returns ErrHeadersNotSigned.
func (e *UnsignedHeadersError) Unwrap() error { return ErrHeadersNotSigned }

// DigestError carries both digests of a body, as text in the encoding that the
// client used. Sentinel is ErrContentSHA256Mismatch or ErrBadDigest.
type DigestError struct {
	Sentinel           *fault.Error
	Algorithm          string
	Provided, Computed string
}

// Error implements error.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%s provided %s, computed %s: %v", e.Algorithm, e.Provided, e.Computed, e.Sentinel)
}

// Unwrap returns the sentinel.
func (e *DigestError) Unwrap() error { return e.Sentinel }

// PolicyError says which condition of a form policy failed, in the words that
// S3 uses ("Policy Condition failed", "Extra input fields").
type PolicyError struct{ Reason string }

// Error implements error.
func (e *PolicyError) Error() string { return e.Reason + ": " + ErrPolicyDenied.Error() }

// Unwrap returns ErrPolicyDenied.
func (e *PolicyError) Unwrap() error { return ErrPolicyDenied }
