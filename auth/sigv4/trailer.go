package sigv4

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"slices"

	"holdfast/auth"
)

const trailerSignature = "x-amz-trailer-signature"

// finishFramed handles what comes after the line of the last, empty chunk and
// returns io.EOF when all is verified.
func (b *Body) finishFramed() error {
	if b.remaining > 0 {
		return b.srcError(io.EOF)
	}
	if err := b.checkChunk(); err != nil {
		return err
	}
	rest, err := b.readRest()
	if err != nil {
		return err
	}
	if b.res.Payload == Chunked {
		// Some clients leave out the last CRLF; all data is verified by now.
		if len(rest) > 0 && string(rest) != "\r\n" {
			return fmt.Errorf("bytes after the last chunk: %w", auth.ErrChunkMalformed)
		}
		return io.EOF
	}
	if err := b.parseTrailer(rest); err != nil {
		return err
	}
	return io.EOF
}

// readRest reads up to the end of the source, within the buffer.
func (b *Body) readRest() ([]byte, error) {
	c := &b.chunk
	for {
		switch n := c.w - c.r; {
		case n == maxTrailer:
			return nil, fmt.Errorf("over %d bytes: %w", maxTrailer, auth.ErrTrailerMalformed)
		case n == len(c.frame.data):
			c.frame.grow()
		}
		switch err := b.fill(); err {
		case nil:
		case io.EOF:
			return c.frame.data[c.r:c.w], nil
		default:
			return nil, b.srcError(err)
		}
	}
}

// parseTrailer parses and verifies the trailing headers. Clients differ in
// how they end lines: minio-go ends each with LF and puts CRLF before the
// signature, the .NET SDK leaves out the last CRLF, others put an empty line
// first. So lines end with LF or CRLF and empty ones are skipped; what counts
// is that the names are exactly those announced, and the signature.
func (b *Body) parseTrailer(text []byte) error {
	c := &b.chunk
	trailer := make(http.Header, len(b.res.Trailers))
	var signed, sig []byte // what the signature covers, and the signature
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		name, value = bytes.TrimSpace(name), bytes.TrimSpace(value)
		if !ok || sig != nil {
			return fmt.Errorf("trailer line: %w", auth.ErrTrailerMalformed)
		}
		if c.signed && foldEqual(name, trailerSignature) {
			sig = value
			continue
		}
		i := slices.IndexFunc(b.res.Trailers, func(n string) bool { return foldEqual(name, n) })
		if i < 0 {
			return fmt.Errorf("trailer %.64q was not announced: %w", name, auth.ErrTrailerMalformed)
		}
		key := http.CanonicalHeaderKey(b.res.Trailers[i])
		if trailer[key] != nil {
			return fmt.Errorf("trailer %s comes twice: %w", key, auth.ErrTrailerMalformed)
		}
		trailer[key] = []string{string(value)}
		if c.signed {
			signed = append(append(signed, b.res.Trailers[i]...), ':')
			signed = append(append(signed, value...), '\n')
		}
	}
	if len(trailer) != len(b.res.Trailers) {
		return fmt.Errorf("an announced trailer is missing: %w", auth.ErrTrailerMalformed)
	}
	if c.signed {
		if len(sig) != len(c.want) {
			return fmt.Errorf("%s: %w", trailerSignature, auth.ErrTrailerMalformed)
		}
		sum := sha256.Sum256(signed)
		want := signature(&b.res.key, appendHex(b.chainPrefix(trailerPrefix), sum[:]))
		if subtle.ConstantTimeCompare(want[:], sig) != 1 {
			return auth.ErrTrailerSignature
		}
	}
	c.trailer = trailer
	return nil
}
