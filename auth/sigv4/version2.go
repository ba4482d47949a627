package sigv4

import (
	"fmt"
	"net/http"

	"holdfast/auth"
	"holdfast/auth/sigv2"
)

// verifyV2 verifies a presigned URL of version 2. It has no region, so strict
// mode lets it pass, and no time of signing. A signature of a body's chunks
// cannot follow it, since there is no key for one.
func (v *Verifier) verifyV2(r *http.Request, q *presign) (*Result, error) {
	bucket := ""
	if v.cfg.Bucket != nil {
		bucket = v.cfg.Bucket(r.Host)
	}
	url, err := sigv2.Verify(r.Context(), v.cfg.Keys, r, bucket, v.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	res := &Result{Identity: url.Identity, Scheme: Presigned, Expires: url.Expires, DecodedLength: -1,
		SignedHeaders: url.SignedHeaders, buffers: &v.bufs}
	hash := q.contentSHA256
	if hash == "" {
		hash = first(r.Header, "X-Amz-Content-Sha256")
	}
	if err := res.setPayload(hash, r.Header); err != nil {
		return nil, err
	}
	if res.Payload == Chunked || res.Payload == ChunkedTrailer {
		return nil, fmt.Errorf("signed chunks in a URL of version 2: %w", auth.ErrUnsupportedSignature)
	}
	return res, nil
}
