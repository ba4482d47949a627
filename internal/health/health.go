// Package health is what probes and scrapers ask of a process over HTTP:
// /-/live, /-/ready and /-/metrics. It owns the rule who may read metrics, and
// the small server of roles that have no other HTTP port for clients. It knows
// nothing of what is measured and has no files.
//
// # Goroutines
//
// Server's are net/http's.
package health

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// The paths that are served.
const (
	LivePath    = "/-/live"
	ReadyPath   = "/-/ready"
	MetricsPath = "/-/metrics"
)

// Scrapers says who may read metrics.
type Scrapers struct {
	Public bool   // anyone
	Token  string // whoever brings it as a bearer token; "" for nobody
}

// May judges a request: allowed says that it may read; decided that nothing
// else it carries can change that. A request without a token is not decided.
func (s Scrapers) May(r *http.Request) (allowed, decided bool) {
	if s.Public {
		return true, true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false, false
	}
	return s.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1, true
}

// Metrics shows what is registered, in Prometheus' text, without asking who reads.
func Metrics(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second})
}

// Live answers as long as the process serves at all.
func Live(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "live\n") }

// Ready answers whether the process can do its work now, by what check says;
// nil is always. Why it cannot is in the log, since anyone may ask.
func Ready(check func() error, log zerolog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if check != nil {
			if err := check(); err != nil {
				log.Debug().Err(err).Msg("not ready")
				answer(w, http.StatusServiceUnavailable, "not ready\n")
				return
			}
		}
		answer(w, http.StatusOK, "ready\n")
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a probe that is gone needs no answer
}

// Server serves the paths on a port of their own.
type Server struct {
	http  *http.Server
	ready atomic.Pointer[func() error]
}

var errStarting = errors.New("the process is starting")

// NewServer returns a server of what reg shows. It is not ready until
// SetReady.
func NewServer(reg *prometheus.Registry, may Scrapers, log zerolog.Logger) *Server {
	s := &Server{}
	starting := func() error { return errStarting }
	s.ready.Store(&starting)
	metrics := Metrics(reg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+LivePath, Live)
	mux.HandleFunc("GET "+ReadyPath, Ready(func() error { return (*s.ready.Load())() }, log))
	mux.HandleFunc("GET "+MetricsPath, func(w http.ResponseWriter, r *http.Request) {
		if allowed, _ := may.May(r); !allowed {
			answer(w, http.StatusForbidden, "metrics need the bearer token of HOLDFAST_METRICS_TOKEN, or --metrics-public\n")
			return
		}
		metrics.ServeHTTP(w, r)
	})
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: stdlog.New(io.Discard, "", 0)}
	return s
}

// SetReady says what /-/ready asks from now on.
func (s *Server) SetReady(check func() error) { s.ready.Store(&check) }

// Serve serves until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Close ends the server; answers under way have a second.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		return s.http.Close()
	}
	return nil
}
