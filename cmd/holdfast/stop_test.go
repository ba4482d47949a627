package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestSignals: the first asks to finish, the second to leave it, the third
// ends the process.
func TestSignals(t *testing.T) {
	t.Parallel()
	ch := make(chan os.Signal)
	exited := make(chan int, 1)
	i := follow(ch, func(code int) { exited <- code })
	if i.first.Err() != nil || i.second.Err() != nil {
		t.Fatal("done without a signal")
	}
	ch <- syscall.SIGTERM
	<-i.first.Done()
	if i.second.Err() != nil {
		t.Error("one signal leaves what is under way")
	}
	ch <- os.Interrupt
	<-i.second.Done()
	ch <- os.Interrupt
	if code := <-exited; code != 130 {
		t.Errorf("exit status %d", code)
	}
}

// TestDrain stops a server with a request in flight: it is finished where
// there is time, and else cut and named in the log.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, hurried := range map[string]bool{"finished": false, "hurried": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, release := make(chan struct{}), make(chan struct{})
			var open flights
			h := &http.Server{Handler: open.track(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(began)
				select {
				case <-release:
					_, _ = io.WriteString(w, "whole") // the client says what came
				case <-r.Context().Done():
				}
			}))}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- h.Serve(ln) }()
			answer := make(chan string, 1)
			go func() {
				resp, err := http.Get("http://" + ln.Addr().String() + "/bucket/slow?X-Amz-Signature=secret")
				if err != nil {
					answer <- "error"
					return
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				answer <- string(b)
			}()
			<-began
			if n := open.count(); n != 1 {
				t.Errorf("%d requests are open", n)
			}
			hurry, leave := context.WithCancel(t.Context())
			defer leave()
			var log bytes.Buffer
			stopped := make(chan error, 1)
			start := time.Now()
			go func() { stopped <- drain(hurry, h, &open, zerolog.New(&log)) }()
			if <-served; hurried {
				leave()
			} else {
				close(release)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > drainTime/2 {
				t.Errorf("it took %v", took)
			}
			got, lines := <-answer, log.String()
			if hurried != (got != "whole") || hurried != strings.Contains(lines, `"path":"/bucket/slow"`) || strings.Contains(lines, "secret") {
				t.Errorf("the client got %q, the log says %s", got, lines)
			}
		})
	}
}
