// Package compose starts the cluster of docker-compose.yml in containers,
// where there is a Docker engine.
package compose

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// TestCompose brings the cluster up as a user does, writes through one gateway
// and reads through the other, and finds that clients reach nothing else.
func TestCompose(t *testing.T) {
	if testing.Short() {
		t.Skip("containers take their time")
	}
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("no Docker engine: %.100s", out)
	}
	if _, err := exec.LookPath("docker-compose"); err != nil && exec.Command("docker", "compose", "version").Run() != nil {
		t.Skip("neither docker compose nor docker-compose is here")
	}
	for _, port := range []string{"9000", "9002"} {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			t.Skipf("port %s is taken", port)
		}
		_ = l.Close()
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	image(t, root)
	up := &project{t: t, dir: t.TempDir(), name: fmt.Sprintf("holdfast-test-%d", os.Getpid())}
	file, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(up.dir, "docker-compose.yml"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = up.compose("down", "-v", "-t", "3") })
	up.must("up", "-d")
	harness.Until(t, 4*time.Minute, "every container is healthy", func() bool {
		out, err := up.docker("ps", "--filter", "label=com.docker.compose.project="+up.name, "--format", "{{.Status}}")
		return err == nil && strings.Count(out, "(healthy)") == 15
	})
	one, two := harness.At("127.0.0.1:9000"), harness.At("127.0.0.1:9002")
	one.Must(t, 200, "PUT", "/bucket", "", nil)
	for class, size := range map[string]int{"STANDARD": 3_000_000, "STANDARD_IA": 5_000_000} {
		want := bytes.Repeat([]byte(class), size/len(class))
		one.Must(t, 200, "PUT", "/bucket/"+class, "", want, "x-amz-storage-class", class)
		if a := two.Must(t, 200, "GET", "/bucket/"+class, "", nil); !bytes.Equal(a.Body, want) {
			t.Errorf("%s: other bytes", class)
		}
	}
	up.private()
}

// image makes the image of the binary under test, with nothing to pull.
func image(t *testing.T, root string) {
	t.Helper()
	ctx := t.TempDir()
	if err := os.MkdirAll(filepath.Join(ctx, "rootfs", "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(ctx, "rootfs", "data"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	bin, err := os.ReadFile(harness.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ctx, "rootfs", "holdfast"), bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("docker", "build", "-q", "-t", "holdfast", "--target", "local", "-f", filepath.Join(root, "Dockerfile"), ctx).CombinedOutput(); err != nil {
		t.Fatalf("image: %v: %s", err, out)
	}
}

type project struct {
	t         *testing.T
	dir, name string
}

func (p *project) docker(args ...string) (string, error) {
	out, err := exec.Command("docker", args...).CombinedOutput()
	return string(out), err
}

// compose runs the compose plugin, or the older program.
func (p *project) compose(args ...string) (string, error) {
	args = append([]string{"-p", p.name}, args...)
	cmd := exec.Command("docker-compose", args...)
	if exec.Command("docker", "compose", "version").Run() == nil {
		cmd = exec.Command("docker", append([]string{"compose"}, args...)...)
	}
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "HOLDFAST_CLUSTER_SECRET="+harness.ClusterSecret, "HOLDFAST_ROOT_USER="+harness.User, "HOLDFAST_ROOT_PASSWORD="+harness.Password)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *project) must(args ...string) {
	p.t.Helper()
	if out, err := p.compose(args...); err != nil {
		p.t.Fatalf("compose %v: %v: %s", args, err, out)
	}
}

// private finds that only the gateways have a network that clients reach, and
// that the cluster's own is internal.
func (p *project) private() {
	p.t.Helper()
	out, err := p.docker("network", "inspect", p.name+"_cluster", "--format", "{{.Internal}}")
	if err != nil || strings.TrimSpace(out) != "true" {
		p.t.Errorf("the cluster's network is internal: %s %v", strings.TrimSpace(out), err)
	}
	out, err = p.docker("network", "inspect", p.name+"_clients", "--format", "{{range .Containers}}{{.Name}} {{end}}")
	if err != nil {
		p.t.Error(err, out)
	}
	for _, name := range strings.Fields(out) {
		if !strings.Contains(name, "gateway") {
			p.t.Errorf("%s is on the clients' network", name)
		}
	}
}
