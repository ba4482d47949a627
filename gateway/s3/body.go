package s3

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/minio/crc64nvme"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
)

// bodyOptions say what a body is for and what is wanted of it.
type bodyOptions struct {
	max        int64         // plaintext bytes; more is EntityTooLarge
	ask        askedChecksum // what the client asked, see askedChecksum
	etag       bool          // MD5 and CRC64NVME are wanted
	needLength bool          // without an announced length it is 411
}

// source is plaintext whose end proves that all of it came as promised:
// sigv4.Body, the file of a form, or an object that is copied.
type source interface {
	io.Reader
	// Finish verifies the end of a source that was read in full; bytes left
	// over are an error.
	Finish() error
}

// body is the one reader of request bodies. It streams plaintext, hashes it
// once as it goes, and returns io.EOF only after signature, length,
// Content-MD5 and checksums were found to hold. It is used by one goroutine.
type body struct {
	src    source
	signed *sigv4.Body // src, if it came with the request: it has trailers
	length int64       // announced, -1 if unknown
	min    int64       // bytes; fewer is EntityTooSmall
	max    int64       // bytes; more is EntityTooLarge
	ask    askedChecksum
	etag   bool
	pool   *checksum.MD5Pool
	stream *streamHash // nil until the first Read
	err    error       // final
	closed bool
	digests
}

// digests are what is known of a body after its end.
type digests struct {
	size     int64
	md5      [md5.Size]byte
	crc64    uint64
	checksum []byte // of the asked algorithm, nil if none was
}

// openBody opens the body of the call. It reads nothing yet: a client that
// waits for 100 Continue is told so by the first Read.
func (c *call) openBody(o bodyOptions) (*body, error) {
	length := c.r.ContentLength
	if length < 0 && o.needLength && !c.auth.Payload.Framed() {
		return nil, s3err.MissingContentLength
	}
	if err := c.checkFraming(length); err != nil {
		return nil, err
	}
	src := sigv4.NewBody(c.sent(), c.auth, length)
	if length = src.Length(); length > o.max {
		return nil, errTooLarge(length, o.max)
	}
	return &body{src: src, signed: src, length: length, max: o.max, ask: o.ask, etag: o.etag, pool: c.s.blobs.md5}, nil
}

// sent is the body as it is sent.
func (c *call) sent() io.Reader {
	if c.body.ReadCloser == nil {
		return c.r.Body
	}
	return &c.body
}

// checkFraming refuses headers of framing that the payload mode does not have,
// on a body of length bytes: the frames would be stored as data, or the
// trailer's checksum would not be looked for.
//
// S3 refuses aws-chunked under an unsigned payload, and takes it for the
// object's own coding where the whole body is signed (see objectHeaders).
func (c *call) checkFraming(length int64) error {
	mode := c.auth.Payload
	if v := c.header("X-Amz-Trailer"); v != "" && !mode.Trailing() {
		return fmt.Errorf("%.64q announced for a body without a trailer: %w", v, auth.ErrTrailerMalformed)
	}
	if mode.Framed() {
		return nil
	}
	if v := c.header("X-Amz-Decoded-Content-Length"); v != "" && v != formatInt(length) {
		return fmt.Errorf("%.32q for a body of %d bytes: %w", v, length, auth.ErrBadLength)
	}
	if v := c.contentEncoding(); mode == sigv4.Unsigned && sigv4.HasChunked(v) {
		return errArgument("aws-chunked encoding is not supported when x-amz-content-sha256 UNSIGNED-PAYLOAD is supplied", "content-encoding", v)
	}
	return nil
}

// contentEncoding is the request's Content-Encoding, hoisted or not.
func (c *call) contentEncoding() string {
	if v := joined(c.r.Header, "Content-Encoding"); v != "" {
		return v
	}
	return c.hoisted("Content-Encoding")
}

// openDocument opens a body that is an XML document of at most max bytes. On
// CompleteMultipartUpload the checksum headers speak of the object, not of
// the body.
func (c *call) openDocument(max int64) (*body, error) {
	o := bodyOptions{max: max}
	var err error
	if c.op.Name == "CompleteMultipartUpload" {
		o.ask.md5, err = c.contentMD5()
	} else {
		o.ask, err = c.askedChecksum()
	}
	if err != nil {
		return nil, err
	}
	return c.openBody(o)
}

// Read implements io.Reader. It hashes what it hands out.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.stream == nil {
		b.stream = b.newStream()
	}
	n, err := b.src.Read(p)
	if n > 0 {
		b.stream.write(p[:n])
		if b.size += int64(n); b.size > b.max {
			err = errTooLarge(b.size, b.max)
		}
	}
	if err == io.EOF {
		b.stream.sum(&b.digests, b.ask.algorithm)
		if e := b.verify(); e != nil {
			err = e
		}
	}
	if err != nil {
		b.err = bodyError(err)
		b.close()
	}
	return n, b.err
}

// readAll reads a body of the announced length into buf, which is as long,
// and hashes it in one go.
func (b *body) readAll(buf []byte) error {
	if b.err == nil {
		b.err = b.fill(buf, 0)
	}
	return b.err
}

// hold is readAll into a buffer of d. It begins in a small one and gets one
// four times as large whenever that is full, so that memory is taken for bytes
// that are there. take is asked for the whole length before more than freeHeld
// of it is held.
func (b *body) hold(d *dataPath, take func(n int64) error) (*[]byte, error) {
	length := int(b.length)
	buf, n := d.buffer(min(length, firstPiece)), 0
	for b.err == nil && len(*buf) < length {
		if b.err = b.readPiece((*buf)[n:], n); b.err == nil {
			n = len(*buf)
			if 4*n > freeHeld && length > freeHeld {
				if b.err = take(b.length); b.err != nil {
					break
				}
			}
			more := d.buffer(min(length, 4*n))
			copy(*more, *buf)
			d.giveBack(buf)
			buf = more
		}
	}
	if b.err == nil {
		b.err = b.fill(*buf, n)
	}
	if b.err != nil {
		d.giveBack(buf)
		return nil, b.err
	}
	return buf, nil
}

// fill reads the rest of a body whose first n bytes are in buf.
func (b *body) fill(buf []byte, n int) error {
	if err := b.readPiece(buf[n:], n); err != nil {
		return err
	}
	if err := b.src.Finish(); err != nil {
		return bodyError(err)
	}
	b.sumOnce(buf)
	return b.verify()
}

// readPiece reads the piece of a body behind its first at bytes.
func (b *body) readPiece(piece []byte, at int) error {
	n, err := io.ReadFull(b.src, piece)
	if n == len(piece) {
		return nil
	}
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = fmt.Errorf("%d of %d bytes: %w", at+n, b.length, auth.ErrIncompleteBody)
	}
	return bodyError(err)
}

// sumOnce hashes a body that is in memory.
func (b *body) sumOnce(buf []byte) {
	b.size = int64(len(buf))
	if b.etag || b.ask.md5 != nil {
		b.md5 = checksum.MD5Sum(buf)
	}
	if b.etag {
		b.crc64 = crc64nvme.Checksum(buf)
	}
	switch alg := b.ask.algorithm; {
	case alg == checksum.None:
	case alg == checksum.CRC64NVME && b.etag:
		b.checksum = appendCRC64(nil, b.crc64)
	default:
		h := checksum.New(alg)
		h.Write(buf)
		b.checksum = h.Sum(nil)
	}
}

// verify compares what was computed with what the client promised.
func (b *body) verify() error {
	if b.length >= 0 && b.size != b.length {
		return fmt.Errorf("%d of %d bytes: %w", b.size, b.length, auth.ErrIncompleteBody)
	}
	if b.size < b.min {
		return errTooSmall(b.size, b.min)
	}
	return b.ask.verify(&b.digests, b.signed)
}

// streamHash hashes a stream once, chunk by chunk while it is in the cache.
type streamHash struct {
	md5   *checksum.MD5Hash
	crc64 hash.Hash64
	asked hash.Hash // nil where one of the others serves
}

func (b *body) newStream() *streamHash {
	h := &streamHash{}
	if b.etag || b.ask.md5 != nil {
		h.md5 = b.pool.New(b.length)
	}
	if b.etag {
		h.crc64 = crc64nvme.New()
	}
	if b.ask.algorithm != checksum.None && !(b.etag && b.ask.algorithm == checksum.CRC64NVME) {
		h.asked = checksum.New(b.ask.algorithm)
	}
	return h
}

func (h *streamHash) write(p []byte) {
	if h.md5 != nil {
		h.md5.Write(p)
	}
	if h.crc64 != nil {
		h.crc64.Write(p)
	}
	if h.asked != nil {
		h.asked.Write(p)
	}
}

// sum puts the digests into d.
func (h *streamHash) sum(d *digests, asked checksum.Algorithm) {
	if h.md5 != nil {
		h.md5.Sum(d.md5[:0])
	}
	if h.crc64 != nil {
		d.crc64 = h.crc64.Sum64()
	}
	switch {
	case h.asked != nil:
		d.checksum = h.asked.Sum(nil)
	case asked == checksum.CRC64NVME:
		d.checksum = appendCRC64(nil, d.crc64)
	}
}

// begin waits for the first piece of a body that is longer than that, before
// anything is read otherwise; piece must last as long as the body is read.
func (b *body) begin(piece []byte) error {
	if b.err = b.readPiece(piece, 0); b.err == nil {
		b.src = &resumed{piece: piece, source: b.src}
	}
	return b.err
}

// resumed is a source whose first piece was read before.
type resumed struct {
	piece []byte
	source
}

// Read implements io.Reader.
func (r *resumed) Read(p []byte) (int, error) {
	if len(r.piece) == 0 {
		return r.source.Read(p)
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// Close implements io.Closer.
func (r *resumed) Close() error {
	if c, ok := r.source.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// readUpTo reads a body whose length nobody announced into buf. Where it does
// not end within buf, buf is full and the rest is to be read from b.
func (b *body) readUpTo(buf []byte) ([]byte, error) {
	n, err := io.ReadFull(b, buf)
	if b.err != nil { // ReadFull forgets what came with the last byte that it asked for
		err = b.err
	}
	if err == io.EOF {
		err = nil
	}
	return buf[:n], err
}

// close gives resources of hashing and of the source back. It may be called more than once.
func (b *body) close() {
	if b.stream != nil && b.stream.md5 != nil {
		b.stream.md5.Close()
		b.stream.md5 = nil
	}
	if closer, ok := b.src.(io.Closer); ok && !b.closed {
		b.closed = true
		closer.Close()
	}
}

// etagHex returns the ETag of the plain bytes, without quotes.
func (d *digests) etagHex() string { return hex.EncodeToString(d.md5[:]) }

// bodyError tells a client's slow or broken connection from our own failures.
func bodyError(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", auth.ErrIncompleteBody, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return s3err.RequestTimeout
	}
	return err
}
