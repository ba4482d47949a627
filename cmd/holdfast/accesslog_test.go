package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLinesOfTheAccessLog holds that a line is written soon after it came,
// also the first after a long rest and the last before the end.
func TestLinesOfTheAccessLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLineBuffer(&out)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			l.Run(ctx)
			close(done)
		}()
		want := ""
		written := func(when string) {
			t.Helper()
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			if out.String() != want {
				t.Errorf("%s: %d bytes written, want %d", when, out.Len(), len(want))
			}
		}
		line := func(text string) {
			want += text
			if _, err := l.Write([]byte(text)); err != nil {
				t.Error(err)
			}
		}
		for round := range 3 {
			line(fmt.Sprintln("first of round", round))
			time.Sleep(lineBufferFlush / 2)
			line("second\n")
			time.Sleep(lineBufferFlush/2 + 1)
			written("after a flush")
			time.Sleep(time.Hour)
		}
		line(strings.Repeat("x", lineBufferSize-1) + "\n")
		written("a full buffer")
		line("after a full buffer\n")
		time.Sleep(lineBufferFlush + 1)
		written("after a full buffer")
		line("last\n")
		cancel()
		<-done
		written("at the end")
	})
}
