package main

import (
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// lineBuffer gathers access log lines, so that a request costs a copy and not
// a system call. Lines are whole and in order; Run writes what has gathered
// several times a second, and a full buffer at once. It sleeps while there is
// nothing.
type lineBuffer struct {
	w     io.Writer
	first chan struct{} // of size 1: a line came into the empty buffer
	mu    struct {
		sync.Mutex // held over the write of a full buffer, which bounds memory by design
		buf        []byte
	}
}

const (
	lineBufferSize  = 64 << 10
	lineBufferFlush = 200 * time.Millisecond
)

func newLineBuffer(w io.Writer) *lineBuffer { return &lineBuffer{w: w, first: make(chan struct{}, 1)} }

// Write implements io.Writer. It never fails: a log that cannot be written
// must not fail requests.
func (l *lineBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.buf) == 0 {
		select {
		case l.first <- struct{}{}:
		default:
		}
	}
	l.mu.buf = append(l.mu.buf, p...)
	if len(l.mu.buf) >= lineBufferSize {
		l.flush()
	}
	return len(p), nil
}

// flush writes what has gathered; mu is held.
func (l *lineBuffer) flush() {
	if len(l.mu.buf) > 0 {
		_, _ = l.w.Write(l.mu.buf)
		l.mu.buf = l.mu.buf[:0]
	}
}

// writer returns l as a writer, nil if there is no access log.
func (l *lineBuffer) writer() io.Writer {
	if l == nil {
		return nil
	}
	return l
}

// start runs the flushing and returns what ends it.
func (l *lineBuffer) start() (stop func()) {
	if l == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// Run flushes until ctx ends, and then once more.
func (l *lineBuffer) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-l.first:
			select {
			case <-ctx.Done():
			case <-time.After(lineBufferFlush):
			}
		}
		l.mu.Lock()
		l.flush()
		l.mu.Unlock()
	}
}

// openAccessLog opens the destination of the access log: "stdout", "off" or a
// file, which is appended to.
func openAccessLog(dest string) (*lineBuffer, error) {
	switch dest {
	case "off", "":
		return nil, nil
	case "stdout", "-":
		return newLineBuffer(os.Stdout), nil
	}
	f, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	return newLineBuffer(f), nil
}
