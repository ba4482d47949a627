package harness

import (
	"os"
	"os/exec"
	"strings"
)

// Command runs holdfast ARGS with the cluster's secret, and in as its input,
// and returns what it prints.
func (c *Cluster) Command(in string, args ...string) (string, error) {
	return c.CommandEnv(nil, in, args...)
}

// CommandEnv is Command with further variables, as NAME=VALUE; they win.
func (c *Cluster) CommandEnv(env []string, in string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), Binary(c.t), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Root, "HOLDFAST_CLUSTER_SECRET=" + ClusterSecret,
		"HOLDFAST_ROOT_USER=" + User, "HOLDFAST_ROOT_PASSWORD=" + Password}
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Env sets further variables for the next Launch, as NAME=VALUE; they win.
func (p *Process) Env(kv ...string) { p.env = kv }
