package s3

import (
	"io"
	"net/http"
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
type stallReader struct {
	io.ReadCloser
	w     http.ResponseWriter // net/http's
	stall time.Duration
	next  time.Time
	read  int64
	ended bool
}

// Read implements io.Reader.
func (b *stallReader) Read(p []byte) (int, error) {
	if now := time.Now(); now.After(b.next) {
		b.next = now.Add(b.stall / 4)
		_ = http.NewResponseController(b.w).SetReadDeadline(now.Add(b.stall))
	}
	n, err := b.ReadCloser.Read(p)
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
