package sigv4

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"sync"

	"holdfast/auth"
)

const (
	frameBuffer     = 1 << 10 // bytes buffered of a framed body
	maxTrailer      = 8 << 10 // bytes of its trailer
	maxChunkHeader  = 256     // bytes of a chunk's first line
	chunkExtension  = ";chunk-signature="
	payloadPrefix   = "AWS4-HMAC-SHA256-PAYLOAD\n"
	trailerPrefix   = "AWS4-HMAC-SHA256-TRAILER\n"
	maxEmptyReads   = 100
	directReadBytes = 2 << 10 // reads of at least this many bytes bypass the buffer
)

// bufferPool keeps the buffers of framed bodies.
type bufferPool struct{ pool sync.Pool }

// frame is the memory of one framed body.
type frame struct {
	data  []byte // first, or more for a long trailer
	first [frameBuffer]byte
	sts   [512]byte // string to sign
}

func (p *bufferPool) get() *frame {
	if p != nil {
		if f, _ := p.pool.Get().(*frame); f != nil {
			return f
		}
	}
	f := new(frame)
	f.data = f.first[:]
	return f
}

// grow makes room for maxTrailer bytes.
func (f *frame) grow() {
	more := make([]byte, maxTrailer)
	copy(more, f.data)
	f.data = more
}

// chunkState is the state of an aws-chunked body:
//
//	1*( hex-size [";chunk-signature=" 64-hex] CRLF data CRLF )
//	"0" [";chunk-signature=" 64-hex] CRLF
//	*( trailer-line ) CRLF
type chunkState struct {
	signed  bool
	inData  bool
	left    int64 // bytes of the chunk to come
	prev    [2 * sha256.Size]byte
	want    [2 * sha256.Size]byte
	frame   *frame
	r, w    int // frame.data[r:w] is buffered
	eof     bool
	trailer http.Header
}

func (c *chunkState) init(res *Result) {
	c.signed = res.Payload != UnsignedTrailer
	c.prev = res.seed
	c.frame = res.buffers.get()
}

// release gives the buffer back.
func (c *chunkState) release(res *Result) {
	if c.frame != nil && res.buffers != nil {
		c.frame.data = c.frame.first[:]
		res.buffers.pool.Put(c.frame)
	}
	c.frame, c.r, c.w = nil, 0, 0
}

// readFramed fills p from as many chunks as are there without waiting for more
// once it has something.
func (b *Body) readFramed(p []byte) (n int, err error) {
	c := &b.chunk
	for {
		if !c.inData {
			if n > 0 && c.r == c.w {
				return n, nil
			}
			if err = b.readChunkHeader(); err != nil {
				return n, err
			}
			if c.left == 0 {
				return n, b.finishFramed()
			}
			c.inData = true
		}
		if n == len(p) {
			return n, nil
		}
		m, err := b.readData(p[n:min(int64(len(p)), int64(n)+c.left)])
		n += m
		if err != nil {
			return n, err
		}
		if c.left > 0 {
			if c.r == c.w {
				return n, nil
			}
			continue
		}
		if err = b.endChunk(); err != nil {
			return n, err
		}
	}
}

// readData reads bytes of the current chunk into p, which is not longer than
// what is left of it.
func (b *Body) readData(p []byte) (n int, err error) {
	c := &b.chunk
	if c.r == c.w && len(p) >= directReadBytes {
		n, err = b.src.Read(p)
	} else {
		if c.r == c.w {
			err = b.fill()
		}
		n = copy(p, c.frame.data[c.r:c.w])
		c.r += n
	}
	if c.signed {
		b.hash.Write(p[:n])
	}
	c.left -= int64(n)
	b.remaining -= int64(n)
	if err != nil && !(err == io.EOF && n > 0) {
		return n, b.srcError(err)
	}
	return n, nil
}

// fill reads more bytes behind those that are buffered. It returns io.EOF at
// the end of the source.
func (b *Body) fill() error {
	c := &b.chunk
	if c.eof {
		return io.EOF
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.r > 0 {
		c.w = copy(c.frame.data, c.frame.data[c.r:c.w])
		c.r = 0
	}
	for range maxEmptyReads {
		n, err := b.src.Read(c.frame.data[c.w:])
		c.w += n
		if err == io.EOF {
			c.eof = true
		}
		if n > 0 && (err == nil || err == io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readChunkHeader reads the line that opens a chunk, with its CRLF.
func (b *Body) readChunkHeader() error {
	c := &b.chunk
	var line []byte
	for {
		view := c.frame.data[c.r:min(c.w, c.r+maxChunkHeader)]
		if i := bytes.IndexByte(view, '\n'); i >= 0 {
			line = view[:i]
			c.r += i + 1
			break
		}
		if len(view) == maxChunkHeader {
			return fmt.Errorf("chunk header over %d bytes: %w", maxChunkHeader, auth.ErrChunkMalformed)
		}
		if err := b.fill(); err != nil {
			return b.srcError(err)
		}
	}
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return fmt.Errorf("chunk header without CRLF: %w", auth.ErrChunkMalformed)
	}
	return b.parseChunkHeader(line[:len(line)-1])
}

// parseChunkHeader takes the size and the signature from a chunk's line.
func (b *Body) parseChunkHeader(line []byte) error {
	c := &b.chunk
	size, i := int64(0), 0
	for ; i < len(line) && line[i] != ';'; i++ {
		d := unhex(line[i])
		if d < 0 || i >= 15 {
			return fmt.Errorf("chunk size: %w", auth.ErrChunkMalformed)
		}
		size = size<<4 | int64(d)
	}
	if i == 0 {
		return fmt.Errorf("chunk without size: %w", auth.ErrChunkMalformed)
	}
	if c.signed {
		ext := line[i:]
		if len(ext) != len(chunkExtension)+len(c.want) || string(ext[:len(chunkExtension)]) != chunkExtension {
			return fmt.Errorf("chunk signature: %w", auth.ErrChunkMalformed)
		}
		copy(c.want[:], ext[len(chunkExtension):])
		b.hash.Reset()
	}
	if size > b.remaining {
		return fmt.Errorf("chunk of %d bytes where %d are left: %w", size, b.remaining, auth.ErrBodyTooLong)
	}
	c.left = size
	return nil
}

// endChunk reads the CRLF behind a chunk's data and checks its signature.
func (b *Body) endChunk() error {
	c := &b.chunk
	for c.w-c.r < 2 {
		if err := b.fill(); err != nil {
			return b.srcError(err)
		}
	}
	if c.frame.data[c.r] != '\r' || c.frame.data[c.r+1] != '\n' {
		return fmt.Errorf("chunk data without CRLF: %w", auth.ErrChunkMalformed)
	}
	c.r += 2
	c.inData = false
	return b.checkChunk()
}

// checkChunk compares the signature of the chunk whose data was hashed.
func (b *Body) checkChunk() error {
	c := &b.chunk
	if !c.signed {
		return nil
	}
	sts := append(b.chainPrefix(payloadPrefix), emptySHA256+"\n"...)
	sts = appendHex(sts, b.hash.Sum(b.sum[:0]))
	sig := signature(&b.res.key, sts)
	if subtle.ConstantTimeCompare(sig[:], c.want[:]) != 1 {
		return fmt.Errorf("chunk that ends %d bytes before the end: %w", b.remaining, auth.ErrChunkSignature)
	}
	c.prev = sig
	return nil
}

// chainPrefix begins a string to sign that continues the chain of signatures.
func (b *Body) chainPrefix(algorithm string) []byte {
	sts := append(b.chunk.frame.sts[:0], algorithm...)
	sts = append(sts, b.res.timestamp...)
	sts = append(sts, '\n')
	sts = append(sts, b.res.scope...)
	sts = append(sts, '\n')
	sts = append(sts, b.chunk.prev[:]...)
	return append(sts, '\n')
}
