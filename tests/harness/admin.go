package harness

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/tracker"
)

// Admin runs `holdfast admin` against the server and returns what it printed.
func (s *Server) Admin(args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), Binary(s.t), append([]string{"admin", "--endpoint", s.Endpoint(), "--insecure"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.o.Root, "HOLDFAST_ROOT_USER=" + User, "HOLDFAST_ROOT_PASSWORD=" + Password}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// MustAdmin is Admin that fails the test on an error.
func (s *Server) MustAdmin(args ...string) string {
	s.t.Helper()
	out, err := s.Admin(args...)
	if err != nil {
		s.t.Fatalf("holdfast admin %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// Status asks the server how it is.
func (s *Server) Status() *tracker.Status {
	s.t.Helper()
	var st tracker.Status
	a := s.own().Must(s.t, http.StatusOK, "GET", "/-/admin/v1/status", "", nil)
	if err := json.Unmarshal(a.Body, &st); err != nil {
		s.t.Fatalf("status: %v: %.300s", err, a.Body)
	}
	return &st
}

// Until waits for a condition with a deadline; what says what is waited for.
func Until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// Metrics reads /-/metrics: values by series, as "name{labels}".
func (s *Server) Metrics() map[string]float64 {
	s.t.Helper()
	a := s.own().Must(s.t, http.StatusOK, "GET", "/-/metrics", "", nil)
	out := map[string]float64{}
	for _, line := range strings.Split(string(a.Body), "\n") {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			out[line[:i]] = v
		}
	}
	return out
}

// Sum adds up the series of a name.
func Sum(metrics map[string]float64, name string) (sum float64) {
	for k, v := range metrics {
		if k == name || strings.HasPrefix(k, name+"{") {
			sum += v
		}
	}
	return sum
}

// Disk is what directories take.
type Disk struct {
	Files     int
	Bytes     int64 // lengths of files
	Allocated int64 // blocks that the file system gave them
}

// DiskUse adds up what directories take.
func DiskUse(t testing.TB, dirs ...string) (d Disk) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil // removed meanwhile
				}
				return err
			}
			info, err := e.Info()
			if err != nil {
				return nil // removed meanwhile
			}
			if info.Mode().IsRegular() {
				d.Files++
				d.Bytes += info.Size()
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				d.Allocated += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}
