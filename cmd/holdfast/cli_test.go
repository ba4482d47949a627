package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	vcs := func(kv ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{}
		for i := 0; i < len(kv); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return info
	}
	for want, got := range map[string]string{
		"holdfast revision 0123456789ab (":              describe("", vcs("vcs.revision", "0123456789abcdef", "vcs.modified", "false")),
		"holdfast revision 0123456789ab with changes (": describe("", vcs("vcs.revision", "0123456789abcdef", "vcs.modified", "true")),
		"holdfast 1.2.3 revision 0123456789ab (":        describe("1.2.3", vcs("vcs.revision", "0123456789abcdef")),
		"holdfast revision unknown (":                   describe("", nil),
	} {
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q at its start", got, want)
		}
	}
	if a, b := runCommand(t, command(t.Context()), "version"), runCommand(t, command(t.Context()), "--version"); a != b || a != buildVersion()+"\n" {
		t.Errorf("version says %q and --version %q", a, b)
	}
}

// TestServerRefuses holds what is refused before a directory is looked at.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		want []string
	}{
		{"server", []string{"holdfast server ./data", "holdfast server '/disk{1...4}'"}},
		{"tracker", []string{"holdfast tracker /var/lib/holdfast --trackers", "--bootstrap"}},
		{"tracker a b", []string{"name one directory"}},
		{"tracker recover", []string{"holdfast tracker recover /var/lib/holdfast"}},
		{"storage", []string{"holdfast storage '/disk{1...4}'", "--trackers"}},
		{"storage --metrics-address 127.0.0.1:1 " + dir, []string{"holdfast init"}},
		{"server " + file, []string{"is a file; give a directory"}},
		{"server --catalog-copies 7 " + dir, []string{"--catalog-copies 7", "1, 2 or 3"}},
		{"server --catalog-copies -1 " + dir, []string{"1, 2 or 3"}},
		{"server --cors-origin foo " + dir, []string{`"foo"`, "https://app.example.org"}},
		{"server --inline-limit 1GiB " + dir, []string{"inline limit"}},
		{"server --log-level loud " + dir, []string{"debug, info, warn or error"}},
		{"server --domain http://x " + dir, []string{"not a host name"}},
		{"server --tls-cert x " + dir, []string{"--tls-key"}},
	} {
		cmd := command(t.Context())
		cmd.SetArgs(strings.Fields(tc.args))
		err := cmd.ExecuteContext(t.Context())
		for _, w := range tc.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %v, want %q in it", tc.args, err, w)
			}
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused start left %s: %v", dir, err)
	}
}

func TestCheckEnvironment(t *testing.T) {
	t.Parallel()
	known := knownNames(command(t.Context()))
	for _, name := range []string{"HOLDFAST_ROOT_PASSWORD_FILE", "HOLDFAST_METRICS_TOKEN", "HOLDFAST_CATALOG_COPIES", "HOLDFAST_TRACKERS", "HOLDFAST_CLUSTER_SECRET"} {
		if !known[name] {
			t.Errorf("%s is not known", name)
		}
	}
	for name, want := range map[string]string{
		"HOLDFAST_SCHEM=rs-4+2":                   "did you mean HOLDFAST_SCHEME?",
		"HOLDFAST_ADRESS=:1":                      "did you mean HOLDFAST_ADDRESS?",
		"HOLDFAST_DOMAINS=a":                      "did you mean HOLDFAST_DOMAIN?",
		"HOLDFAST_ROOT_PASSWORT=secret":           "did you mean HOLDFAST_ROOT_PASSWORD?",
		"HOLDFAST_CATALOGCOPIES=1":                "did you mean HOLDFAST_CATALOG_COPIES?",
		"HOLDFAST_CORS_ORIGINS=https://a.example": "did you mean HOLDFAST_CORS_ORIGIN?",
	} {
		if _, err := checkEnvironment(known, []string{"PATH=/bin", name}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	odd, err := checkEnvironment(known, []string{"HOME=/", "HOLDFAST_SCHEME=rep-2", "HOLDFAST_SOAK=1", "HOLDFAST_UID=7", "HOLDFASTER=1",
		"HOLDFAST_PORT=tcp://10.0.0.1:9000", "HOLDFAST_SERVICE_HOST=10.0.0.1", "HOLDFAST_PORT_9000_TCP_ADDR=10.0.0.1", "HOLDFAST_S3_SERVICE_PORT_HTTP=9000"})
	if d := cmp.Diff([]string{"HOLDFAST_SOAK", "HOLDFAST_UID"}, odd); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ac", 1}, {"ac", "abc", 1}, {"abc", "", 3}, {"kitten", "sitting", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q to %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	for args, ok := range map[string]bool{
		"--endpoint " + srv.URL: true, "--endpoint " + srv.URL + "/": true, "--url " + srv.URL + "/-/ready": true,
		"--url " + srv.URL + "/-/live": false, "--endpoint http://127.0.0.1:1": false,
	} {
		cmd := healthcheckCommand()
		cmd.SetArgs(strings.Fields(args))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.ExecuteContext(t.Context()); (err == nil) != ok {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestMistyped holds that a wrong word on the command line is an error which
// says where to look, and that a group of commands alone still shows its help.
func TestMistyped(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"serve":                      "server",
		"admin stauts":               "did you mean status?",
		"admin node lsit":            "did you mean list",
		"admin node list x":          "usage: holdfast admin node list",
		"admin inspect":              "usage: holdfast admin inspect s3://BUCKET/KEY",
		"admin node set 1":           "usage: holdfast admin node set ID ro|rw",
		"server --adress :1 ./x":     "holdfast server --help",
		"healthcheck --role gateway": "--endpoint",
	} {
		cmd := command(t.Context())
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", args, err, want)
		}
	}
	help := runCommand(t, command(t.Context()), "admin", "node")
	if !strings.Contains(help, "  holdfast admin node [command]\n") || strings.Contains(help, "admin node [flags]") || !strings.Contains(help, "Give up a node") {
		t.Errorf("the help of a group of commands is\n%s", help)
	}
	if help := runCommand(t, command(t.Context()), "tracker", "--help"); !strings.Contains(help, "holdfast tracker DIR [flags]") || !strings.Contains(help, "holdfast tracker [command]") {
		t.Errorf("the help of a command with others below is\n%s", help)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	if got := password([]byte{0xf8, 0, 0}); got != "xAAA" {
		t.Errorf("a password that began with a dash is %q", got)
	}
	if got := password([]byte{0, 0xf8, 0}); got != "APgA" {
		t.Errorf("password is %q", got)
	}
}
