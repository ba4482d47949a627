package s3

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/auth"
	"holdfast/gateway/s3err"
)

// routes are the few paths beside S3. "-" is no bucket name, so nothing is
// hidden by them in path style; in virtual-host style they are object keys,
// which ownHost sees to. Everything else is S3's, whose own parser reads the
// path as it came: nothing is cleaned, and no pattern is applied to a key.
func (s *Server) routes(reg *prometheus.Registry) *mux.Router {
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.Path("/-/live").MatcherFunc(s.ownHost).HandlerFunc(s.live)
	r.Path("/-/ready").MatcherFunc(s.ownHost).HandlerFunc(s.ready)
	r.Path("/-/metrics").MatcherFunc(s.ownHost).Handler(s.guardMetrics(promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 30 * time.Second})))
	for _, m := range s.mounts {
		r.PathPrefix(m.prefix).MatcherFunc(s.ownHost).Handler(m.h)
	}
	for path, h := range map[string]http.HandlerFunc{"live": s.live, "ready": s.ready, "cluster": s.ready} {
		r.Path("/minio/health/" + path).MatcherFunc(s.unsigned).HandlerFunc(h)
	}
	r.NotFoundHandler = s
	return r
}

// ownHost reports whether the request's host is no bucket's.
func (s *Server) ownHost(r *http.Request, _ *mux.RouteMatch) bool {
	return s.domains.Bucket(r.Host) == ""
}

// unsigned matches probes: somebody may have a bucket of the name "minio", and
// would sign.
func (s *Server) unsigned(r *http.Request, m *mux.RouteMatch) bool {
	return s.ownHost(r, m) && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Authorization") == "" && r.URL.RawQuery == ""
}

// live answers as long as the process serves at all.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "live\n") }

// ready answers whether requests can be served now. Why not is in the log.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.deps.Ready != nil {
		if err := s.deps.Ready(); err != nil {
			s.log.Debug().Err(err).Msg("not ready")
			answerText(w, http.StatusServiceUnavailable, "not ready\n")
			return
		}
	}
	answerText(w, http.StatusOK, "ready\n")
}

func answerText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a probe that is gone needs no answer
}

// guardMetrics asks for root's signature or the bearer token, unless metrics
// are public.
func (s *Server) guardMetrics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.mayReadMetrics(r); err != nil {
			e := s3err.From(err)
			w.Header()["Content-Type"] = xmlType
			w.WriteHeader(e.Status)
			_, _ = w.Write(e.AppendXML(nil, r.URL.Path, newID(), s.hostID[0]))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) mayReadMetrics(r *http.Request) error {
	if s.cfg.MetricsPublic {
		return nil
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if s.cfg.MetricsToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.cfg.MetricsToken)) == 1 {
			return nil
		}
		return auth.ErrAccessDenied
	}
	res, err := s.verifier.Verify(r)
	if err != nil {
		return err
	}
	return auth.Authorize(res.Identity, "admin:Metrics", "*")
}
