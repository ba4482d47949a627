package health

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// serve runs a server and returns what GETs a path with a bearer token.
func serve(t *testing.T, may Scrapers) (*Server, func(path, token string) (int, string)) {
	t.Helper()
	reg := prometheus.NewRegistry()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdfast_test", Help: "Is there."})
	g.Set(7)
	reg.MustRegister(g)
	s := NewServer(reg, may, zerolog.Nop())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return s, func(path, token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	s, get := serve(t, Scrapers{Token: "sesame"})
	for _, c := range []struct {
		path, token string
		status      int
		has         string
	}{
		{LivePath, "", 200, "live"},
		{ReadyPath, "", 503, "not ready"},
		{MetricsPath, "", 403, "HOLDFAST_METRICS_TOKEN"},
		{MetricsPath, "Bearer ", 403, ""},
		{MetricsPath, "Bearer sesam", 403, ""},
		{MetricsPath, "sesame", 403, ""},
		{MetricsPath, "Bearer sesame", 200, "holdfast_test 7"},
		{"/", "Bearer sesame", 404, ""},
		{"/debug/pprof/", "Bearer sesame", 404, ""},
	} {
		if status, body := get(c.path, c.token); status != c.status || !strings.Contains(body, c.has) {
			t.Errorf("GET %s with %q: %d %.100s, want %d with %q", c.path, c.token, status, body, c.status, c.has)
		}
	}
	s.SetReady(func() error { return nil })
	if status, _ := get(ReadyPath, ""); status != 200 {
		t.Errorf("ready: %d", status)
	}
	s.SetReady(func() error { return errors.New("a secret reason") })
	if status, body := get(ReadyPath, ""); status != 503 || strings.Contains(body, "secret") {
		t.Errorf("not ready: %d %s", status, body)
	}
}

// TestWhoMayRead: no token is nobody's, and public is anyone's.
func TestWhoMayRead(t *testing.T) {
	t.Parallel()
	_, closed := serve(t, Scrapers{})
	for _, token := range []string{"", "Bearer ", "Bearer x"} {
		if status, _ := closed(MetricsPath, token); status != 403 {
			t.Errorf("without a token set, %q reads metrics: %d", token, status)
		}
	}
	_, public := serve(t, Scrapers{Public: true})
	if status, _ := public(MetricsPath, ""); status != 200 {
		t.Errorf("public metrics: %d", status)
	}
}
