package sigv4

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"holdfast/auth"
)

// Body is the plaintext of a request's body. Read returns io.EOF only after
// everything that was promised has been verified: the exact length, the
// SHA-256 of the whole body, the signature of every chunk and of the trailer,
// and that nothing follows. Bytes that Read returned before are not to be
// trusted until then, so a caller commits only after io.EOF. Any error is
// final and repeated. A Body buffers 1 KiB, of a trailer at most 8 KiB, is not
// safe for concurrent use and starts no goroutine.
type Body struct {
	src       io.Reader
	res       *Result
	err       error // final, io.EOF once verified
	remaining int64 // plaintext bytes to come, -1 when not known
	total     int64 // plaintext bytes handed out
	hash      hash.Hash
	sum       [sha256.Size]byte
	one       [1]byte
	chunk     chunkState
}

// NewBody returns the plaintext of src under what Verify found. length is
// Content-Length in bytes, or -1 when it is not known (HTTP chunked transfer);
// a framed body takes its length from x-amz-decoded-content-length. The Body
// does not close src.
func NewBody(src io.Reader, res *Result, length int64) *Body {
	b := &Body{src: src, res: res, remaining: length}
	if res.Payload.Framed() {
		b.remaining = res.DecodedLength
		b.chunk.init(res)
	}
	if res.Payload == Signed || b.chunk.signed {
		b.hash = sha256.New()
	}
	return b
}

// Length returns the number of plaintext bytes that the body must have, or -1
// when nothing announced it.
func (b *Body) Length() int64 {
	if b.remaining < 0 {
		return -1
	}
	return b.total + b.remaining
}

// Trailer returns the trailing headers, verified, under canonical MIME names.
// It is nil before Read has returned io.EOF and when there were none.
func (b *Body) Trailer() http.Header {
	if b.err != io.EOF {
		return nil
	}
	return b.chunk.trailer
}

// Read implements io.Reader. The last bytes may come together with io.EOF or
// with the error that refuses them.
func (b *Body) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 && b.remaining != 0 {
		return 0, nil
	}
	if b.res.Payload.Framed() {
		n, err = b.readFramed(p)
	} else {
		n, err = b.readPlain(p)
	}
	b.total += int64(n)
	if err != nil {
		b.err = err
		b.chunk.release(b.res)
	}
	return n, err
}

// Finish verifies the end of a body whose plaintext was read in full: it
// returns nil where Read would return io.EOF. It is for callers that read
// exactly Length bytes. Plaintext that is left over is ErrBodyTooLong.
func (b *Body) Finish() error {
	for b.err == nil {
		if n, err := b.Read(b.one[:]); n > 0 && (err == nil || err == io.EOF) {
			b.err = fmt.Errorf("after %d bytes: %w", b.total-1, auth.ErrBodyTooLong)
		}
	}
	if b.err == io.EOF {
		return nil
	}
	return b.err
}

// readPlain reads a body that is sent as it is.
func (b *Body) readPlain(p []byte) (n int, err error) {
	if b.remaining >= 0 && int64(len(p)) > b.remaining {
		p = p[:b.remaining]
	}
	if len(p) > 0 {
		n, err = b.src.Read(p)
		if b.hash != nil {
			b.hash.Write(p[:n])
		}
		if b.remaining > 0 {
			b.remaining -= int64(n)
		}
	}
	switch {
	case b.remaining == 0 && (err == nil || err == io.EOF):
		if err = b.expectEOF(); err != nil {
			return n, err
		}
	case err == io.EOF && b.remaining < 0:
	case err == nil:
		return n, nil
	default:
		return n, b.srcError(err)
	}
	return n, b.finishPlain()
}

// finishPlain compares the hash of the whole body and returns io.EOF.
func (b *Body) finishPlain() error {
	if b.hash == nil {
		return io.EOF
	}
	got := string(appendHex(make([]byte, 0, 2*sha256.Size), b.hash.Sum(b.sum[:0])))
	if !strings.EqualFold(got, b.res.ContentSHA256) {
		return &auth.DigestError{Sentinel: auth.ErrContentSHA256Mismatch, Algorithm: "SHA256", Provided: b.res.ContentSHA256, Computed: got}
	}
	return io.EOF
}

// expectEOF reads on to see that nothing follows.
func (b *Body) expectEOF() error {
	switch _, err := io.ReadFull(b.src, b.one[:]); err {
	case nil:
		return auth.ErrBodyTooLong
	case io.EOF:
		return nil
	default:
		return b.srcError(err)
	}
}

// srcError makes an early end ErrIncompleteBody. So is any other error of the
// source, for instance of HTTP's own chunks: the request cannot be read to its
// end. The error itself is kept, since a timeout is told apart by it.
func (b *Body) srcError(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%d bytes missing: %w", max(b.remaining, 0), auth.ErrIncompleteBody)
	}
	return fmt.Errorf("read body: %w: %w", auth.ErrIncompleteBody, err)
}
