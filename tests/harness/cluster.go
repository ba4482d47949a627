package harness

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"holdfast/tracker"
)

// ClusterSecret is the secret of every cluster that a test starts.
const ClusterSecret = "the secret of a test's cluster, of no other"

// GroupSpec is a storage group of one-directory processes.
type GroupSpec struct {
	Name, Scheme, Class string
	Nodes               int
}

// ClusterOptions says what cluster to start.
type ClusterOptions struct {
	Trackers, Gateways int // 3 and 1 by default
	Groups             []GroupSpec
	// Isolated gives every process a network of its own, so that Cut and Heal
	// work. It needs root and is skipped without.
	Isolated bool
	// Disks gives processes, by name, a file system of their own of so many
	// bytes, in memory, which Resize makes smaller and larger. It needs root
	// and is skipped without.
	Disks map[string]int64
	Args  map[string][]string // further flags by role
}

// Cluster is the processes of a cluster on this machine.
type Cluster struct {
	Trackers, Storage, Gateways []*Process

	t        testing.TB
	o        ClusterOptions
	Root     string
	net      *lab
	trackers []string // that run elsewhere
}

// Process is one process of a cluster.
type Process struct {
	Name, Role string
	Addr       string // for the other roles; of a gateway, for clients
	Dir        string // "" for a gateway
	Group      string

	c    *Cluster
	args []string
	env  []string
	cmd  *exec.Cmd
	log  logBuffer
	done chan struct{}
	ns   string

	mounted bool
}

// StartCluster starts a cluster and waits until each gateway is ready and all
// nodes are active; the test's end stops it.
func StartCluster(t testing.TB, o ClusterOptions) *Cluster {
	t.Helper()
	if o.Trackers == 0 {
		o.Trackers = 3
	}
	if o.Gateways == 0 {
		o.Gateways = 1
	}
	c := &Cluster{t: t, o: o, Root: t.TempDir()}
	if o.Isolated {
		c.net = newLab(t)
	}
	t.Cleanup(c.end)
	for i := range o.Trackers {
		p := c.process("tracker", fmt.Sprintf("tracker%d", i+1))
		c.Trackers = append(c.Trackers, p)
	}
	for i, p := range c.Trackers {
		p.args = append([]string{"tracker", p.Dir, "--id", p.Name}, c.network(p)...)
		if i == 0 {
			p.args = append(p.args, "--bootstrap")
		}
	}
	for _, g := range o.Groups {
		for i := range g.Nodes {
			p := c.process("storage", fmt.Sprintf("%s%d", g.Name, i+1))
			p.Group = g.Name
			p.args = append([]string{"storage", p.Dir, "--group", g.Name, "--scheme", g.Scheme, "--host", p.Name}, c.network(p)...)
			if g.Class != "" {
				p.args = append(p.args, "--class", g.Class)
			}
			c.Storage = append(c.Storage, p)
		}
	}
	for i := range o.Gateways {
		p := c.process("gateway", fmt.Sprintf("gateway%d", i+1))
		p.args = []string{"gateway", "--address", p.Addr, "--access-log", "off", "--trackers", c.TrackerAddrs()}
		c.Gateways = append(c.Gateways, p)
	}
	for _, p := range c.All() {
		if size := o.Disks[p.Name]; size > 0 {
			p.mount(size)
		}
		p.args = append(p.args, o.Args[p.Role]...)
		p.Launch()
	}
	c.WaitReady()
	return c
}

// process is a process with a place of its own; it is not started.
func (c *Cluster) process(role, name string) *Process {
	p := &Process{Name: name, Role: role, c: c}
	p.log = logBuffer{}
	if role != "gateway" {
		p.Dir = filepath.Join(c.Root, name)
	}
	if c.net != nil {
		var ip string
		p.ns, ip = c.net.host(name)
		p.Addr = net.JoinHostPort(ip, "9000")
	} else {
		p.Addr = freeAddr(c.t)
	}
	return p
}

// Add makes a further process of a role, with its flags, and starts it.
func (c *Cluster) Add(role, name string, args ...string) *Process {
	c.t.Helper()
	p := c.process(role, name)
	p.args = append([]string{role}, args...)
	if p.Dir != "" {
		p.args = append(append([]string{role, p.Dir}, args...), c.network(p)...)
	}
	switch role {
	case "tracker":
		p.args = append(p.args, "--id", name)
		c.Trackers = append(c.Trackers, p)
	case "storage":
		c.Storage = append(c.Storage, p)
	default:
		p.args = append(p.args, "--address", p.Addr, "--access-log", "off", "--trackers", c.TrackerAddrs())
		c.Gateways = append(c.Gateways, p)
	}
	p.Launch()
	return p
}

func (c *Cluster) network(p *Process) []string {
	return []string{"--listen", p.Addr, "--advertise", p.Addr, "--trackers", c.TrackerAddrs()}
}

// TrackerAddrs is what --trackers takes.
func (c *Cluster) TrackerAddrs() string {
	out := slices.Clone(c.trackers)
	for _, p := range c.Trackers {
		out = append(out, p.Addr)
	}
	return strings.Join(out, ",")
}

// All returns every process: trackers, storage, gateways.
func (c *Cluster) All() []*Process {
	return append(append(append([]*Process(nil), c.Trackers...), c.Storage...), c.Gateways...)
}

// Process returns the process of a name.
func (c *Cluster) Process(name string) *Process {
	for _, p := range c.All() {
		if p.Name == name {
			return p
		}
	}
	c.t.Fatalf("no process %s", name)
	return nil
}

// WaitReady waits until every gateway is ready and the catalog has every node
// as active.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	for _, g := range c.Gateways {
		Until(c.t, time.Minute, g.Name+" is ready", func() bool {
			resp, err := (&http.Client{Timeout: 2 * time.Second}).Get("http://" + g.Addr + "/-/ready")
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
	Until(c.t, time.Minute, "every node is active", func() bool {
		st, err := c.Gateways[0].Status()
		if err != nil {
			return false
		}
		active := 0
		for _, n := range st.Map.Nodes {
			if n.State == tracker.NodeActive {
				active++
			}
		}
		return active >= len(c.Storage)
	})
}

// Launch starts the process on its address and directory. It does not wait.
func (p *Process) Launch() {
	p.c.t.Helper()
	name, args := Binary(p.c.t), p.args
	if p.ns != "" {
		name, args = "ip", append([]string{"netns", "exec", p.ns, Binary(p.c.t)}, args...)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.c.Root, "HOLDFAST_CLUSTER_SECRET=" + ClusterSecret,
		"HOLDFAST_ROOT_USER=" + User, "HOLDFAST_ROOT_PASSWORD=" + Password}, p.env...)
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.c.t.Fatal(err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(cmd, p.done)
}

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Log is the end of what the process wrote.
func (p *Process) Log() string { return p.log.tail(64 << 10) }

// Kill ends the process with SIGKILL, Stop with SIGTERM; both wait for it.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

// Stop ends the process with SIGTERM and waits for it.
func (p *Process) Stop() { p.signal(syscall.SIGTERM) }

// Pause stops the process with SIGSTOP until Continue.
func (p *Process) Pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue lets a paused process run on.
func (p *Process) Continue() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Restart kills the process and starts it again.
func (p *Process) Restart() {
	p.c.t.Helper()
	p.Kill()
	p.Launch()
}

func (p *Process) signal(sig syscall.Signal) {
	if p.cmd == nil || p.Exited() {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	if sig != syscall.SIGKILL {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	}
	select {
	case <-p.done:
	case <-time.After(40 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.c.t.Errorf("%s did not stop within 40 s of %v", p.Name, sig)
	}
}

// Cut takes the process off the network, Heal brings it back. The cluster must
// be Isolated.
func (p *Process) Cut() { p.c.net.link(p.ns, "down") }

// Heal ends a Cut.
func (p *Process) Heal() { p.c.net.link(p.ns, "up") }

// CutFrom takes away what either process sends to the other, HealFrom gives it
// back; both reach the rest. The cluster must be Isolated.
func (p *Process) CutFrom(o *Process) { p.between("add", o) }

// HealFrom ends a CutFrom.
func (p *Process) HealFrom(o *Process) { p.between("del", o) }

func (p *Process) between(do string, o *Process) {
	p.c.net.between(do, p.ns, o.ns)
	p.c.net.between(do, o.ns, p.ns)
}

// Sent is the bytes that the process has sent over its network so far, headers
// and all, over every start. The cluster must be Isolated.
func (p *Process) Sent() uint64 { return p.c.net.sent(p.ns) }

// mount gives the process a disk of its own, until the test ends.
func (p *Process) mount(size int64) {
	t := p.c.t
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("disks of the test's own need root")
	}
	err := os.MkdirAll(p.Dir, 0o755)
	if err == nil {
		err = syscall.Mount("tmpfs", p.Dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", size))
	}
	if err != nil {
		t.Skipf("no disks of the test's own here: %v", err)
	}
	p.mounted = true
}

// Resize makes the disk of a process larger, or smaller: so that just so many
// bytes are free where that is what left says, else of so many in all.
func (p *Process) Resize(size int64, left bool) {
	p.c.t.Helper()
	if left {
		var st syscall.Statfs_t
		if err := syscall.Statfs(p.Dir, &st); err != nil {
			p.c.t.Fatal(err)
		}
		size += int64(st.Blocks-st.Bfree) * st.Bsize
	}
	if err := syscall.Mount("tmpfs", p.Dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		p.c.t.Fatalf("disk of %s: %v", p.Name, err)
	}
}

// Admin runs holdfast admin ARGS against the gateway and returns what it prints.
func (p *Process) Admin(args ...string) (string, error) {
	cmd := exec.Command(Binary(p.c.t), append([]string{"admin"}, append(args, "--endpoint", "http://"+p.Addr)...)...)
	cmd.Env = []string{"HOLDFAST_ROOT_USER=" + User, "HOLDFAST_ROOT_PASSWORD=" + Password}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// S3 returns a client of a gateway at its default settings, path style.
func (p *Process) S3(options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + p.Addr), Region: "us-east-1", UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(_ ctx) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: User, SecretAccessKey: Password}, nil
		}),
	}, options...)
}

// Raw returns a client of a gateway that does just what it is told.
func (p *Process) Raw() *Raw { return At(p.Addr) }

// At returns a sender of signed requests to an address.
func At(addr string) *Raw {
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	return &Raw{func() string { return "http://" + addr }, c, time.Now}
}

// Status asks a gateway how the cluster is.
func (p *Process) Status() (*tracker.Status, error) {
	a, err := p.Raw().Do("GET", "/-/admin/v1/status", "", nil)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("status: %d: %.300s", a.Status, a.Body)
	}
	st := new(tracker.Status)
	return st, json.Unmarshal(a.Body, st)
}

// end stops every process, and fails the test for one that panicked.
func (c *Cluster) end() {
	for _, p := range c.All() {
		if p.cmd == nil {
			continue
		}
		p.Kill()
		p.log.mu.Lock()
		panics := p.log.mu.panics
		p.log.mu.Unlock()
		if len(panics) > 0 {
			c.t.Errorf("%s: %s", p.Name, panics[0])
		}
	}
	if c.t.Failed() {
		for _, p := range c.All() {
			c.t.Logf("log of %s:\n%s", p.Name, p.log.tail(4<<10))
		}
	}
	for _, p := range c.All() {
		if p.mounted {
			if err := syscall.Unmount(p.Dir, 0); err != nil {
				c.t.Errorf("disk of %s: %v", p.Name, err)
			}
		}
	}
	if c.net != nil {
		c.net.close()
	}
}
