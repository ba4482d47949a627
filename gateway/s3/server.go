package s3

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	stdlog "log"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/gateway/route"
	"holdfast/internal/clock"
)

// Server is the S3 front end. It is safe for concurrent use.
type Server struct {
	cfg      gateway.Config
	deps     gateway.Deps
	log      zerolog.Logger
	access   *zerolog.Logger // nil for none
	verifier *sigv4.Verifier
	domains  route.Domains
	cors     cors
	metrics  *metrics
	handlers []handler // by operation index; nil if not built
	blobs    *dataPath
	asides   *asides
	reads    reads
	notices  notices
	router   *mux.Router
	mounts   []mount
	clock    clock.Clock // of this process: signatures, tickets to renew; nil is the machine's

	hostID, server []string // header values, shared by all answers
}

type mount struct {
	prefix string
	h      http.Handler
}

// Option configures what is beside a gateway's configuration.
type Option func(*Server)

// WithAccessLog writes one line of JSON for each request to w, which must be
// safe for concurrent use.
func WithAccessLog(w io.Writer) Option {
	return func(s *Server) {
		l := zerolog.New(w)
		s.access = &l
	}
}

// WithMount serves a path prefix under "/-/" by another handler, which does
// its own authentication.
func WithMount(prefix string, h http.Handler) Option {
	return func(s *Server) { s.mounts = append(s.mounts, mount{prefix, h}) }
}

// WithClock sets the clock that judges when requests were signed and when
// tickets are to be renewed; the machine's by default.
func WithClock(clk clock.Clock) Option {
	return func(s *Server) { s.clock = clk }
}

// NewServer returns a front end that is ready to serve. It starts nothing.
// Metrics are registered with reg, which /-/metrics shows; nil makes a
// registry of its own.
func NewServer(cfg gateway.Config, deps gateway.Deps, log zerolog.Logger, reg *prometheus.Registry, opts ...Option) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	s := &Server{cfg: cfg, deps: deps, log: log, domains: route.NewDomains(cfg.Domains), cors: newCORS(cfg.CORSOrigins),
		metrics: newMetrics(reg), asides: newAsides(), server: []string{"Holdfast"}}
	strict := ""
	if cfg.StrictRegion {
		strict = cfg.Region
	}
	s.hostID = []string{hostID()}
	var err error
	if s.handlers, err = table(handlers()); err != nil {
		return nil, err
	}
	for _, o := range opts {
		o(s)
	}
	s.verifier = sigv4.New(sigv4.Config{Keys: deps.Keys, Region: strict, Bucket: s.domains.Bucket, Clock: s.clock})
	s.blobs = newDataPath(deps, s.clock)
	s.blobs.writes.ended = s.tellEnded
	s.router = s.routes(reg)
	return s, nil
}

// hostID names this gateway in answers without giving its host name away.
func hostID() string {
	name, _ := os.Hostname()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", name, os.Getpid(), rand.Uint64()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// table lays handlers out by operation. A handler without an operation, or a
// built operation without a handler, is an error.
func table(named map[string]handler) ([]handler, error) {
	all := route.All()
	hs := make([]handler, len(all))
	for _, op := range all {
		hs[op.Index] = named[op.Name]
		if op.Built != (named[op.Name] != nil) {
			return nil, fmt.Errorf("operation %s: the table and the handlers disagree", op.Name)
		}
		delete(named, op.Name)
	}
	for name := range named {
		return nil, fmt.Errorf("handler %s has no operation", name)
	}
	return hs, nil
}

// Handler returns the front end as a handler of HTTP. The router sees only the
// paths that may be its own.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; strings.HasPrefix(p, "/-/") || strings.HasPrefix(p, "/minio/health/") {
			s.router.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// Verifier returns the verifier of signatures, so that endpoints beside S3
// share its cache and its rules.
func (s *Server) Verifier() *sigv4.Verifier { return s.verifier }

// HTTPServer returns a server with the limits that the front end counts on:
// time for the headers, idle time, and header bytes. Bodies have stall times
// instead of a total one, so there is no ReadTimeout and no WriteTimeout. The
// caller listens, sets TLS if it is wanted (HTTP/2 then comes with it), and
// shuts it down.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		// The request line counts here and may hold a key and hoisted
		// headers, each byte percent-encoded; headers are judged apart.
		MaxHeaderBytes: 2*gateway.MaxHeaderBytes + 8<<10,
		ErrorLog:       stdlog.New(quietLog{s.log}, "", 0),
	}
}

// quietLog takes what net/http says of single connections: scanners and cut
// handshakes, which nobody has to act upon.
type quietLog struct{ log zerolog.Logger }

func (q quietLog) Write(p []byte) (int, error) {
	n := len(p)
	for n > 0 && p[n-1] == '\n' {
		n--
	}
	q.log.Debug().Str("server", string(p[:n])).Msg("connection")
	return len(p), nil
}

// newID returns a request id: 16 upper-case hex digits.
func newID() string {
	const digits = "0123456789ABCDEF"
	var b [16]byte
	v := rand.Uint64()
	for i := range b {
		b[i] = digits[v&15]
		v >>= 4
	}
	return string(b[:])
}

// elapsed is the time since a call began.
func (c *call) elapsed() time.Duration { return time.Since(c.now) }
