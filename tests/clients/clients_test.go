// Package clients runs real, unmodified S3 clients against a running server
// on real directories. Each client has an environment of the test's own. With
// HOLDFAST_REQUIRE_CLIENTS set a missing client fails, else it skips. The
// deployments are tested in parallel, as many at once as there are cores.
package clients

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// programs returns every installed version of a client by full path.
func programs(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin") {
		p := filepath.Join(dir, name)
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			p = filepath.Join(real, name)
		}
		if st, err := os.Stat(p); err == nil && st.Mode()&0o111 != 0 && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		missing(t, name)
	}
	return found
}

func missing(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("HOLDFAST_REQUIRE_CLIENTS") != "" {
		t.Fatalf("client %s is missing; run tests/clients/install", name)
	}
	t.Skipf("client %s is missing; run tests/clients/install", name)
}

// client runs programs with an environment of the test's own.
type client struct {
	t   *testing.T
	s   *harness.Server
	dir string
	env []string
}

func newClient(t *testing.T, s *harness.Server) *client {
	dir := t.TempDir()
	env := []string{"HOME=" + dir, "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "TMPDIR=" + dir,
		"AWS_ACCESS_KEY_ID=" + harness.User, "AWS_SECRET_ACCESS_KEY=" + harness.Password, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_ENDPOINT_URL=" + s.Endpoint(), "PYTHONWARNINGS=ignore"}
	if s.CAFile != "" {
		env = append(env, "AWS_CA_BUNDLE="+s.CAFile)
	}
	for _, keep := range []string{"PYENV_ROOT", "PYENV_VERSION"} {
		if v := os.Getenv(keep); v != "" {
			env = append(env, keep+"="+v)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		if _, err := os.Stat(filepath.Join(home, ".pyenv")); err == nil {
			env = append(env, "PYENV_ROOT="+filepath.Join(home, ".pyenv"))
		}
	}
	return &client{t, s, dir, env}
}

// run runs a program and returns what it wrote; a failure fails the test.
func (c *client) run(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

// commandLimit is how long a program may run: the longest takes seconds on an
// idle machine.
const commandLimit = 5 * time.Minute

func (c *client) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("still running after %v: %w", commandLimit, err)
	}
	return out.String(), err
}

// file writes n random bytes and returns the path.
func (c *client) file(name string, n int) string {
	c.t.Helper()
	p := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(p, random(c.t, n), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return p
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// same fails unless two files hold the same bytes.
func (c *client) same(a, b string) {
	c.t.Helper()
	if out, err := exec.Command("cmp", a, b).CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
}

// tree writes a directory of n files of growing size, odd names included.
func (c *client) tree(name string, n int) string {
	c.t.Helper()
	for i := range n {
		c.file(fmt.Sprintf("%s/d%d/file %d+%%ü.bin", name, i%3, i), i*i*701)
	}
	return filepath.Join(c.dir, name)
}

// sameTree fails unless two directories hold the same files.
func (c *client) sameTree(a, b string) {
	c.t.Helper()
	if out, err := exec.Command("diff", "-r", a, b).CombinedOutput(); err != nil {
		c.t.Fatalf("trees differ: %v\n%.2000s", err, out)
	}
}

// deployments are the servers that every client is run against.
var deployments = []harness.Options{{Dirs: 1, Scheme: "rep-1"}, {Dirs: 4, Scheme: "rs-2+2"}}

// each runs f against every deployment with every version of a program.
func each(t *testing.T, program string, f func(t *testing.T, c *client, path string)) {
	t.Parallel()
	paths := programs(t, program)
	for _, d := range deployments {
		t.Run(d.Scheme, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, d)
			for _, path := range paths {
				t.Run(testName(path), func(t *testing.T) { f(t, newClient(t, s), path) })
			}
		})
	}
}

// testName makes a test's name of a path.
func testName(path string) string { return strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "_") }

// overBoth runs f against every deployment, over http and over https.
func overBoth(t *testing.T, f func(t *testing.T, s *harness.Server)) {
	for _, tls := range []bool{false, true} {
		for _, d := range deployments {
			d.TLS = tls
			t.Run(d.Scheme+map[bool]string{true: " https", false: " http"}[tls], func(t *testing.T) {
				t.Parallel()
				f(t, harness.Start(t, d))
			})
		}
	}
}

// bucketName makes a bucket name of the test's own.
func bucketName(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("b-%x", random(t, 6))
}
