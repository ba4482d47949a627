// Package harness starts real Holdfast servers for the integration tests: the
// binary itself on real directories, its own ports on loopback, and an
// environment of the test's own.
package harness

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Root credentials of every server that a test starts.
const (
	User     = "holdfast-test"
	Password = "holdfast-test-secret"
)

// Options says what server to start.
type Options struct {
	Dirs   int      // directories, 1 by default
	Scheme string   // "" is the default
	Args   []string // further flags
	Env    []string // further environment
	Root   string   // directory that holds the data directories; the test's own by default
	TLS    bool     // serve https with a certificate of the test's own
}

// Server is a server process.
type Server struct {
	Addr   string // host:port
	Dirs   []string
	CAFile string // certificate to trust, under TLS

	t    testing.TB
	o    Options
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
	raws struct {
		sync.Mutex
		clients []*http.Client
		once    sync.Once
		own     *Raw
	}
}

var build struct {
	sync.Once
	path string
	err  error
}

// Binary returns the path of the holdfast binary: HOLDFAST_BIN, else one
// built once for this test process.
func Binary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("HOLDFAST_BIN"); p != "" {
		return p
	}
	build.Do(func() {
		dir, err := os.MkdirTemp("", "holdfast-bin")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "holdfast")
		out, err := exec.Command("go", "build", "-o", build.path, "holdfast/cmd/holdfast").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if build.err != nil {
		t.Fatalf("building holdfast: %v", build.err)
	}
	return build.path
}

// Start starts a server and waits until it is ready; the test's end stops it.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	s := &Server{t: t, o: o, Addr: freeAddr(t)}
	for i := range max(o.Dirs, 1) {
		s.Dirs = append(s.Dirs, filepath.Join(o.Root, fmt.Sprintf("d%d", i+1)))
	}
	if o.TLS {
		s.o.Args = append(s.o.Args, s.certificate()...)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("server log:\n%s", s.log.tail(16<<10))
		}
	})
	s.Launch()
	s.WaitReady()
	return s
}

// Launch starts the process again on the same address and directories. It
// does not wait.
func (s *Server) Launch() {
	s.t.Helper()
	s.forgetConnections()
	args := []string{"server", "--address", s.Addr, "--access-log", "off"}
	if s.o.Scheme != "" {
		args = append(args, "--scheme", s.o.Scheme)
	}
	args = append(append(args, s.o.Args...), s.Dirs...)
	cmd := exec.Command(Binary(s.t), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.o.Root,
		"HOLDFAST_ROOT_USER=" + User, "HOLDFAST_ROOT_PASSWORD=" + Password}, s.o.Env...)
	if s.log == nil {
		s.log = &logBuffer{}
	}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(cmd, s.done)
}

// WaitReady waits until the server answers that it is ready.
func (s *Server) WaitReady() {
	s.t.Helper()
	client := s.HTTPClient()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if s.Exited() {
			s.t.Fatalf("server exited: %s", s.log.tail(4<<10))
		}
		resp, err := client.Get(s.Endpoint() + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("server is not ready: %s", s.log.tail(4<<10))
}

// Exited reports whether the process has ended.
func (s *Server) Exited() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// PID is the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log returns the end of what the server wrote.
func (s *Server) Log() string { return s.log.tail(64 << 10) }

// Kill ends the process with SIGKILL and waits for it.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop ends the process with SIGTERM and waits for it.
func (s *Server) Stop() { s.signal(syscall.SIGTERM) }

func (s *Server) signal(sig syscall.Signal) {
	if s.cmd == nil || s.Exited() {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
		s.t.Errorf("server did not stop within 30 s of %v", sig)
	}
}

// Restart stops the server gracefully and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Launch()
	s.WaitReady()
}

// Endpoint is the server's URL.
func (s *Server) Endpoint() string {
	if s.o.TLS {
		return "https://" + s.Addr
	}
	return "http://" + s.Addr
}

// S3 returns a client at its default settings, path style.
func (s *Server) S3(options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint()),
		Region:       "us-east-1",
		UsePathStyle: true,
		HTTPClient:   s.HTTPClient(),
		Credentials: aws.CredentialsProviderFunc(func(_ ctx) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: User, SecretAccessKey: Password}, nil
		}),
	}, options...)
}

// freeAddr is an address on which nobody listens. Its port is below those that
// the system gives to connections (32768 and up), so that none of these takes it
// while the process that is to listen there is away.
func freeAddr(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			if err = l.Close(); err == nil {
				return addr
			}
		}
	}
	t.Fatal(err)
	return ""
}

// logBuffer keeps the last megabyte or so of what a process wrote, and every
// line that speaks of a panic.
type logBuffer struct {
	mu struct {
		sync.Mutex
		b      bytes.Buffer
		line   []byte // the last line so far
		panics []string
	}
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.b.Len() > 1<<20 {
		l.mu.b.Next(512 << 10)
	}
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		l.mu.line = append(l.mu.line, line...)
		if rest = after; !whole {
			break
		}
		if bytes.Contains(l.mu.line, []byte("panic")) && len(l.mu.panics) < 20 {
			l.mu.panics = append(l.mu.panics, string(l.mu.line))
		}
		l.mu.line = l.mu.line[:0]
	}
	return l.mu.b.Write(p)
}

// Panics returns the lines of the log, since the first start, that speak of a
// panic; at most 20.
func (s *Server) Panics() []string {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return slices.Clone(s.log.mu.panics)
}

// OpenFiles counts the process's open files, sockets among them.
func (s *Server) OpenFiles() int {
	s.t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(names)
}

func (l *logBuffer) tail(n int) string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.mu.b.Bytes()
	return string(b[max(0, len(b)-n):])
}
