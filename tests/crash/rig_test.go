// Package crash cuts the power of a whole server at every point where it
// makes something durable, starts it again on what a power loss may leave,
// and holds it to its word: everything acknowledged is there and identical,
// of everything else either all or nothing, and the catalog's own rules hold.
//
// A server runs on vfs.Mem. A hook is called before each file and directory
// sync; there the tape takes clones of the file system with none, half and
// all of the unsynced blocks and names kept. What was just synced needs no
// clone of its own: with nothing unsynced kept, the state after one sync is
// the state before the next, and there more has been acknowledged. A clone
// with nothing kept is also taken at each acknowledgement.
package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/cmd/allinone"
	"holdfast/gateway"
	"holdfast/internal/vfs"
	"holdfast/storage/node"
	"holdfast/tests/harness"
)

// shape is how a server is laid out.
type shape struct {
	scheme string
	dirs   int
}

var (
	single = shape{"rep-1", 1}
	coded  = shape{"rs-2+2", 4}
)

func (s shape) paths() []string {
	var out []string
	for i := range s.dirs {
		out = append(out, fmt.Sprintf("/crash-disks/d%d", i+1))
	}
	return out
}

// tune makes a server small: volumes of 2 MiB, nothing kept free. The readers'
// grace passes only when the clock is moved.
func tune() allinone.Tune {
	return allinone.Tune{Reserve: -1, Ballast: -1, Node: node.Limits{VolumeSize: 1}}
}

// rig is a running server and a client of it.
type rig struct {
	ctx   context.Context
	srv   *allinone.Server
	clock *harness.Clock
	stop  func() error
}

// open starts a server on fs. The clock is ahead of the machine's by ahead.
func open(fs vfs.FS, s shape, tune allinone.Tune, clock *harness.Clock) (*rig, error) {
	keys, err := auth.NewStatic(harness.User, harness.Password)
	if err != nil {
		return nil, err
	}
	log := zerolog.Nop()
	if os.Getenv("HOLDFAST_CRASH_LOG") != "" {
		log = zerolog.New(os.Stderr).Level(zerolog.WarnLevel)
	}
	starting, started := context.WithTimeout(context.Background(), time.Minute)
	defer started()
	srv, err := allinone.Open(starting, allinone.Config{FS: fs, Dirs: s.paths(), Scheme: s.scheme, Keys: keys,
		Gateway: gateway.DefaultConfig(), Log: log, Clock: clock, Tune: tune})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()
	stop := func() error {
		cancel()
		if err := <-ran; !errors.Is(err, context.Canceled) {
			return errors.Join(fmt.Errorf("run: %w", err), srv.Close())
		}
		return srv.Close()
	}
	return &rig{ctx: ctx, srv: srv, clock: clock, stop: stop}, nil
}

// answer is a whole response; the status of one that was cut off is 0.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) etag() string { return strings.Trim(a.header.Get("Etag"), `"`) }

// do sends a signed request straight to the handler. target is escaped;
// headers come in pairs.
func (r *rig) do(method, target string, body []byte, headers ...string) (a answer) {
	req := httptest.NewRequest(method, "http://crash.test"+target, bytes.NewReader(body)).WithContext(r.ctx)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	sum := sha256.Sum256(body)
	sigv4.Sign(req, harness.User, harness.Password, "us-east-1", hex.EncodeToString(sum[:]), time.Now())
	w := httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			a = answer{body: []byte("answer was cut off")}
		}
	}()
	r.srv.Handler().ServeHTTP(w, req)
	return answer{w.Code, w.Result().Header, w.Body.Bytes()}
}

// want sends a request and returns an error unless the status is the wanted.
func (r *rig) want(status int, method, target string, body []byte, headers ...string) (answer, error) {
	a := r.do(method, target, body, headers...)
	if a.status != status {
		return a, fmt.Errorf("%s %s: status %d, want %d: %.300s", method, target, a.status, status, a.body)
	}
	return a, nil
}

// lapse lets catalog time pass, a little at once, until done or the deadline.
// It reports whether done was reached.
func (r *rig) lapse(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
			r.clock.Jump(2 * time.Second)
		case <-deadline:
			return done()
		}
	}
	return true
}

// newRoom bounds how many cuts are verified at once; some of them wait more
// than they work.
func newRoom() chan struct{} { return make(chan struct{}, 2*runtime.GOMAXPROCS(0)) }

func soak() bool { return os.Getenv("HOLDFAST_SOAK") != "" }

// fatal fails the test if there is an error.
func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
