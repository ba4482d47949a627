package sigv4

import (
	"crypto/sha256"
	"strings"
	"time"

	"holdfast/auth"
)

// Scheme says how a request was authenticated.
type Scheme uint8

// The schemes.
const (
	Anonymous Scheme = iota // no credentials; the identity is the zero value
	Header                  // Authorization header
	Presigned               // query parameters
)

// Payload says how the body is protected and framed.
type Payload uint8

// The payload modes, by the value of x-amz-content-sha256.
const (
	Unsigned        Payload = iota // UNSIGNED-PAYLOAD, or none given in a presigned or anonymous request
	Signed                         // the SHA-256 of the whole body in hex
	Chunked                        // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	ChunkedTrailer                 // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
	UnsignedTrailer                // STREAMING-UNSIGNED-PAYLOAD-TRAILER
)

// The values of x-amz-content-sha256 that are no hash.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingPayload         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// Framed reports whether the body is aws-chunked, so that Content-Length is
// not the length of the object.
func (p Payload) Framed() bool { return p >= Chunked }

// Trailing reports whether headers follow the body.
func (p Payload) Trailing() bool { return p == ChunkedTrailer || p == UnsignedTrailer }

// Result is what a verified request is known to be.
type Result struct {
	Identity auth.Identity
	Scheme   Scheme
	Payload  Payload
	// Region is the one of the credential scope; empty for anonymous and for
	// a presigned URL of version 2.
	Region string
	// Time is when the request was signed, zero where Region is empty. Expires
	// is when a presigned URL ends, zero otherwise.
	Time, Expires time.Time
	// ContentSHA256 is the hash (hex as sent) that a Signed body must have.
	ContentSHA256 string
	// DecodedLength is x-amz-decoded-content-length in bytes when the payload
	// is framed, else -1.
	DecodedLength int64
	// Trailers are the lowercase names announced in x-amz-trailer.
	Trailers []string
	// SignedHeaders is the list that the signature covers, ';' between names.
	SignedHeaders string

	timestamp string // as in the string to sign
	scope     string
	seed      [2 * sha256.Size]byte // signature of the request, hex
	key       [sha256.Size]byte     // signing key; meaningless for anonymous
	buffers   *bufferPool           // of framed bodies; may be nil
}

// Covers reports whether the header with this lowercase name is signed.
func (r *Result) Covers(name string) bool {
	for rest := r.SignedHeaders; rest != ""; {
		var n string
		n, rest, _ = strings.Cut(rest, ";")
		if n == name {
			return true
		}
	}
	return false
}

// HasChunked reports whether the value of a Content-Encoding header names
// aws-chunked.
func HasChunked(encoding string) bool {
	for part := range strings.SplitSeq(encoding, ",") {
		if isChunked(part) {
			return true
		}
	}
	return false
}

func isChunked(coding string) bool {
	return strings.EqualFold(strings.TrimSpace(coding), "aws-chunked")
}

// StripChunked removes "aws-chunked" from the value of a Content-Encoding
// header: it describes the transfer, not the object.
func StripChunked(encoding string) string {
	if !HasChunked(encoding) {
		return encoding
	}
	var keep []string
	for part := range strings.SplitSeq(encoding, ",") {
		if part = strings.TrimSpace(part); part != "" && !isChunked(part) {
			keep = append(keep, part)
		}
	}
	return strings.Join(keep, ",")
}
