package s3

import (
	"net/http"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/auth"
	"holdfast/gateway/s3err"
	"holdfast/internal/health"
)

// routes are the few paths beside S3. "-" is no bucket name, so nothing is
// hidden by them in path style; in virtual-host style they are object keys,
// which ownHost sees to. Everything else is S3's, whose own parser reads the
// path as it came: nothing is cleaned, and no pattern is applied to a key.
func (s *Server) routes(reg *prometheus.Registry) *mux.Router {
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	ready := health.Ready(s.deps.Ready, s.log)
	r.Path(health.LivePath).MatcherFunc(s.ownHost).HandlerFunc(health.Live)
	r.Path(health.ReadyPath).MatcherFunc(s.ownHost).HandlerFunc(ready)
	r.Path(health.MetricsPath).MatcherFunc(s.ownHost).Handler(s.guardMetrics(health.Metrics(reg)))
	for _, m := range s.mounts {
		r.PathPrefix(m.prefix).MatcherFunc(s.ownHost).Handler(m.h)
	}
	for path, h := range map[string]http.HandlerFunc{"live": health.Live, "ready": ready, "cluster": ready} {
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
	may := health.Scrapers{Public: s.cfg.MetricsPublic, Token: s.cfg.MetricsToken}
	if allowed, decided := may.May(r); allowed {
		return nil
	} else if decided {
		return auth.ErrAccessDenied
	}
	res, err := s.verifier.Verify(r)
	if err != nil {
		return err
	}
	return auth.Authorize(res.Identity, "admin:Metrics", "*")
}
