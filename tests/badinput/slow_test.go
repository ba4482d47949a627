package badinput

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/tests/harness"
)

const (
	// The test binary runs itself as the client where this is set: ten
	// thousand connections and their server are in two processes.
	slowClient = "HOLDFAST_TEST_SLOW_ADDR"
	slowCount  = "HOLDFAST_TEST_SLOW_COUNT"
	// And as the server that it compares with where this is.
	slowBare = "HOLDFAST_TEST_SLOW_BARE"

	slowConnections = 10_000
	// slowRatio is how many times as much as a bare net/http server the server
	// may grow, in percent.
	slowRatio = 125
	// slowLife bounds a connection that stands still: the stall timeout of
	// a body is a minute, and of headers less.
	slowLife = 100 * time.Second
)

// TestSlowConnections opens ten thousand connections that stop in the middle:
// half of them in their headers, half in their body. Beside it, a bare net/http
// server that does nothing gets as many; what a connection costs there is what
// it has to cost.
func TestSlowConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for timeouts")
	}
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	s.Raw().Must(t, 200, "PUT", "/slow", "", nil)
	var bareGrown int64
	var beside sync.WaitGroup
	beside.Go(func() { bareGrown = besideBare(t) })
	before := s.Usage()
	slowly(t, s.Addr, func() { sane(t, s) })
	after := s.Usage()
	beside.Wait()
	grown := after.PeakRSS - before.RSS
	t.Logf("RSS %d MiB before, peak %d MiB, %d MiB after; grown by %d MiB, a bare server by %d MiB",
		before.RSS>>20, after.PeakRSS>>20, after.RSS>>20, grown>>20, bareGrown>>20)
	if grown > bareGrown*slowRatio/100 {
		t.Errorf("the server grew by %d MiB over %d connections, and a bare one by %d MiB", grown>>20, slowConnections, bareGrown>>20)
	}
	harness.Until(t, 15*time.Second, "the server closes what its clients see as closed", func() bool { return s.OpenFiles() < 500 })
	list := s.Raw().Must(t, 200, "GET", "/slow", "list-type=2", nil)
	if strings.Contains(string(list.Body), "<Key>") {
		t.Errorf("an unfinished upload is visible: %.300s", list.Body)
	}
	sane(t, s)
}

// slowly runs the client process against a server, and calls each after each
// line that it writes.
func slowly(t *testing.T, addr string, each func()) {
	cmd, out := self(t, slowClient+"="+addr, slowCount+"="+strconv.Itoa(slowConnections))
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		t.Logf("client of %s: %s %s", addr, word, rest)
		if word == "error" {
			t.Error(rest)
		}
		each()
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("client of %s: %v", addr, err)
	}
}

// self starts the test binary as another process.
func self(t *testing.T, env ...string) (*exec.Cmd, io.Reader) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	return cmd, out
}

// besideBare returns by how many bytes a bare server grows.
func besideBare(t *testing.T) int64 {
	cmd, out := self(t, slowBare+"=1")
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Error("bare server: ", err)
		return 0
	}
	before := harness.UsageOf(t, cmd.Process.Pid)
	slowly(t, strings.TrimSpace(addr), func() {})
	return harness.UsageOf(t, cmd.Process.Pid).PeakRSS - before.RSS
}

// beBare is the bare server: it reads bodies and throws them away, within the
// server's own timeouts, and answers.
func beBare(w io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(w, ln.Addr())
	limits := gateway.DefaultConfig()
	h := http.Server{ReadHeaderTimeout: limits.HeaderTimeout, IdleTimeout: limits.IdleTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limits.StallTimeout))
			var b [512]byte
			for {
				if _, err := r.Body.Read(b[:]); err == io.EOF {
					return
				} else if err != nil {
					http.Error(w, "slow", http.StatusBadRequest)
					return
				}
			}
		})}
	return h.Serve(ln)
}

// beSlow is the client process: it opens the connections, waits until the
// server has ended each, and tells how it went.
func beSlow(addr, count string, w io.Writer) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	if err := raiseLimit(uint64(n) + 200); err != nil {
		return err
	}
	start := time.Now()
	conns, err := openSlow(addr, n)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "opened %d connections in %v\n", n, time.Since(start).Round(time.Millisecond))
	var wg sync.WaitGroup
	ends := make([]error, n)
	for i, c := range conns {
		wg.Go(func() { ends[i] = waitClosed(c, start.Add(slowLife)) })
	}
	wg.Wait()
	fmt.Fprintf(w, "closed all after %v\n", time.Since(start).Round(time.Millisecond))
	return errors.Join(ends...)
}

func raiseLimit(want uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur >= want {
		return nil
	}
	l.Cur = l.Max
	if l.Max < want {
		return fmt.Errorf("%d open files are allowed, the test needs %d", l.Max, want)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

func openSlow(addr string, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	room := make(chan struct{}, 64)
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if conns[i], errs[i] = net.DialTimeout("tcp", addr, 30*time.Second); errs[i] == nil {
				_, errs[i] = conns[i].Write(half(addr, i))
			}
		})
	}
	wg.Wait()
	return conns, errors.Join(errs...)
}

// half is the first half of the i-th request: of its headers, or of a body
// that is inline, packed or a file of its own.
func half(addr string, i int) []byte {
	sizes := [...]int{2000, 100_000, 3 << 20}
	r, err := http.NewRequest("PUT", fmt.Sprintf("http://%s/slow/%d", addr, i), nil)
	if err != nil {
		return nil // cannot be: the address came from a server
	}
	signer.Sign(r, sigv4.UnsignedPayload, time.Now())
	size := sizes[i/2%len(sizes)]
	h := head(r, int64(size))
	if i%2 == 0 {
		return h[:len(h)/2]
	}
	return append(h, make([]byte, min(size/2, 1000))...)
}

// waitClosed reads until the server ends the connection.
func waitClosed(c net.Conn, deadline time.Time) error {
	defer c.Close()
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	b := make([]byte, 512)
	for {
		_, err := c.Read(b)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return errors.New("a connection is still open after the timeouts")
		}
		if err != nil {
			return nil
		}
	}
}
