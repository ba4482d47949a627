package cluster

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
)

const metricsToken = "the token of a scraper"

var metricsAddr = regexp.MustCompile(`"addr":"([^"]+)"[^\n]*serving health and metrics`)

// scrape reads a path of the port that a role shows its health on.
func scrape(t *testing.T, p *harness.Process, path, token string) (int, string) {
	t.Helper()
	m := metricsAddr.FindStringSubmatch(p.Log())
	if m == nil {
		t.Fatalf("%s does not say where its metrics are", p.Name)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+m[1]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Timeout: 20 * time.Second}).Do(req)
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

// TestMetrics scrapes every process of a cluster.
func TestMetrics(t *testing.T) {
	seen := []string{"--metrics-address", "127.0.0.1:0", "--metrics-token", metricsToken}
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 2}},
		Args: map[string][]string{"tracker": seen, "storage": seen}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", "key"), "", body("key", 100_000))
	for _, p := range append(c.Trackers, c.Storage...) {
		for _, token := range []string{"", "another"} {
			if status, text := scrape(t, p, "/-/metrics", token); status != http.StatusForbidden || strings.Contains(text, "go_goroutines") {
				t.Errorf("%s shows metrics for the token %q: %d", p.Name, token, status)
			}
		}
		if status, _ := scrape(t, p, "/-/live", ""); status != http.StatusOK {
			t.Errorf("%s is not live: %d", p.Name, status)
		}
		harness.Until(t, 20*time.Second, p.Name+" is ready", func() bool {
			status, _ := scrape(t, p, "/-/ready", "")
			return status == http.StatusOK
		})
	}
	has := func(p *harness.Process, series ...string) {
		t.Helper()
		for _, want := range append(series, "process_open_fds ") {
			harness.Until(t, 20*time.Second, p.Name+" shows "+want, func() bool {
				_, text := scrape(t, p, "/-/metrics", metricsToken)
				return strings.Contains(text, "\n"+want)
			})
		}
	}
	lead := leader(t, c)
	for _, p := range c.Trackers {
		if p.Name == lead {
			has(p, `holdfast_catalog_leads{voter="`+p.Name+`"} 1`, `holdfast_queue_length{queue="garbage"}`, `holdfast_nodes{state="active"} 2`, "holdfast_blobs_below_target 0", "holdfast_catalog_held 0", "holdfast_unknown_nodes 0")
		} else {
			has(p, `holdfast_catalog_leads{voter="`+p.Name+`"} 0`)
			if _, text := scrape(t, p, "/-/metrics", metricsToken); strings.Contains(text, "holdfast_queue_length") {
				t.Errorf("%s shows queues and does not lead", p.Name)
			}
		}
		has(p, `holdfast_catalog_applied_index{voter="`+p.Name+`"}`, "holdfast_catalog_log_syncs_total ")
	}
	has(c.Storage[0], `holdfast_node_shards{node="`, `holdfast_node_frozen{node="`, `holdfast_node_free_bytes{node="`, `holdfast_node_shards_written_total{node="`)
	a := raw.Must(t, http.StatusOK, "GET", "/-/metrics", "", nil)
	for _, want := range []string{`holdfast_nodes{state="active"} 2`, "holdfast_map_age_seconds ", "process_open_fds "} {
		if !strings.Contains(string(a.Body), "\n"+want) {
			t.Errorf("the gateway lacks %s", want)
		}
	}
	// Without a majority a tracker lives and is not ready.
	for _, p := range c.Trackers[1:] {
		p.Kill()
	}
	harness.Until(t, 30*time.Second, "the last tracker says that it cannot work", func() bool {
		status, _ := scrape(t, c.Trackers[0], "/-/ready", "")
		return status == http.StatusServiceUnavailable
	})
	if status, _ := scrape(t, c.Trackers[0], "/-/live", ""); status != http.StatusOK {
		t.Errorf("a tracker without a majority is not live: %d", status)
	}
}
