package s3

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// response is the writer that handlers see. It remembers what was sent, and
// bounds the time that a client may take to receive a large answer.
type response struct {
	http.ResponseWriter
	status int   // 0 until the header was written
	sent   int64 // bytes of body
	stall  time.Duration
	next   time.Time // when the deadline is moved again; zero if none was set
	plain  bool      // no TLS between here and the connection
}

// stallFree is how many bytes are written without a deadline: the kernel takes
// them whether or not the client reads.
const stallFree = 64 << 10

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if status >= 200 && w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.sent > stallFree || len(p) > stallFree {
		w.extend()
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// WriteVec writes bufs one after the other, on a plain connection with one
// system call for all that it takes at once: a frame that is sent alone ends in
// a packet of a few bytes. It uses bufs up.
func (w *response) WriteVec(bufs [][]byte) (total int64, err error) {
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || !w.plain || len(bufs) == 1 {
		for _, p := range bufs {
			n, err := w.Write(p)
			if total += int64(n); err != nil {
				return total, err
			}
		}
		return total, nil
	}
	// net/http hands what it reads from to the connection, which lets
	// net.Buffers write itself.
	for rest := net.Buffers(bufs); ; {
		w.extend()
		n, err := to.ReadFrom(&rest)
		total += n
		w.sent += n
		// A client need not take more before the deadline than in Write.
		if n < stallFree || !errors.Is(err, os.ErrDeadlineExceeded) {
			return total, err
		}
	}
}

// extend moves the write deadline, at most four times in a stall's length.
func (w *response) extend() {
	if now := time.Now(); now.After(w.next) {
		w.next = now.Add(w.stall / 4)
		// A writer that knows no deadlines has no slow client either.
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stall))
	}
}

// Unwrap lets http.ResponseController find the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish takes the deadline off the connection for the next request.
func (w *response) finish() {
	if !w.next.IsZero() {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// stallReader is a request's body with a bound on the time between two bytes.
// It knows how fast they come.
type stallReader struct {
	io.ReadCloser
	pace  pace
	w     http.ResponseWriter // net/http's
	stall time.Duration
	next  time.Time
	read  int64
	ended bool
}

// Read implements io.Reader.
func (b *stallReader) Read(p []byte) (int, error) {
	now := time.Now()
	if now.After(b.next) {
		b.next = now.Add(b.stall / 4)
		_ = http.NewResponseController(b.w).SetReadDeadline(now.Add(b.stall))
	}
	if !b.pace.begin(now) {
		b.ended = true
		return 0, os.ErrDeadlineExceeded
	}
	n, err := b.ReadCloser.Read(p)
	b.pace.end(time.Now(), n)
	b.read += int64(n)
	if err == nil || b.ended {
		return n, err
	}
	b.ended = true
	if err == io.EOF {
		// What the handler does now is not the client's time. After any
		// other error the connection is not read again.
		_ = http.NewResponseController(b.w).SetReadDeadline(time.Time{})
	}
	return n, err
}

// drainTime is how long a client may take to send the rest of a body that
// nobody wants. net/http reads at most 256 KiB of it, else it closes.
const drainTime = 5 * time.Second

// abandon bounds the reading of what is left of the body.
func (b *stallReader) abandon() {
	if b.ReadCloser != nil && !b.ended {
		b.ended = true
		_ = http.NewResponseController(b.w).SetReadDeadline(time.Now().Add(drainTime))
	}
}
