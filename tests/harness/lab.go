package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// lab is a network of the test's own: a bridge, and for each host a network
// namespace with one wire to it. It needs root.
type lab struct {
	t      testing.TB
	bridge string
	subnet string // the first three numbers
	hosts  []string
}

func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("networks of the test's own need root")
	}
	// Names and addresses of this process, so that two test processes do not meet.
	n := os.Getpid() % 60000
	l := &lab{t: t, bridge: fmt.Sprintf("hf%d", n), subnet: fmt.Sprintf("10.%d.%d", 80+n/250%100, n%250)}
	if out, err := exec.Command("ip", "link", "add", l.bridge, "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("no networks of the test's own here: %v %s", err, out)
	}
	l.must("ip", "addr", "add", l.subnet+".254/24", "dev", l.bridge)
	l.must("ip", "link", "set", l.bridge, "up")
	// A host that filters what is bridged, as one with containers does, lets
	// this bridge's own traffic through.
	_ = exec.Command("iptables", l.rule("-I")...).Run()
	return l
}

func (l *lab) must(args ...string) {
	l.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func (l *lab) rule(do string) []string {
	return []string{do, "FORWARD", "-i", l.bridge, "-o", l.bridge, "-j", "ACCEPT"}
}

// wire is the name of a host's end at the bridge.
func (l *lab) wire(i int) string { return fmt.Sprintf("%sw%d", l.bridge, i) }

// host makes a namespace and returns it with its address.
func (l *lab) host(name string) (ns, ip string) {
	l.t.Helper()
	i := len(l.hosts) + 1
	ns, ip = fmt.Sprintf("%s-%s", l.bridge, name), fmt.Sprintf("%s.%d", l.subnet, i)
	l.hosts = append(l.hosts, ns)
	l.must("ip", "netns", "add", ns)
	l.must("ip", "link", "add", l.wire(i), "type", "veth", "peer", "name", "eth0", "netns", ns)
	l.must("ip", "link", "set", l.wire(i), "master", l.bridge, "up")
	l.must("ip", "netns", "exec", ns, "ip", "addr", "add", ip+"/24", "dev", "eth0")
	l.must("ip", "netns", "exec", ns, "ip", "link", "set", "eth0", "up")
	l.must("ip", "netns", "exec", ns, "ip", "link", "set", "lo", "up")
	return ns, ip
}

// link sets a host's wire up or down.
func (l *lab) link(ns, state string) {
	l.t.Helper()
	for i, h := range l.hosts {
		if h == ns {
			l.must("ip", "link", "set", l.wire(i+1), state)
			return
		}
	}
	l.t.Fatalf("the cluster has no network of its own")
}

// between does "add" or "del" with what swallows the packets from one host to
// the other.
func (l *lab) between(do, from, to string) {
	l.t.Helper()
	for i, h := range l.hosts {
		if h == to {
			l.must("ip", "-n", from, "route", do, "blackhole", fmt.Sprintf("%s.%d/32", l.subnet, i+1))
			return
		}
	}
	l.t.Fatalf("the cluster has no network of its own")
}

// sent is the bytes that a host's wire took from it, headers included.
func (l *lab) sent(ns string) uint64 {
	l.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", ns, "cat", "/proc/net/dev").CombinedOutput()
	if err != nil {
		l.t.Fatalf("counters of %s: %v: %s", ns, err, out)
	}
	for _, line := range strings.Split(string(out), "\n") {
		name, figures, _ := strings.Cut(strings.TrimSpace(line), ":")
		if f := strings.Fields(figures); name == "eth0" && len(f) > 8 {
			n, err := strconv.ParseUint(f[8], 10, 64)
			if err != nil {
				l.t.Fatal(err)
			}
			return n
		}
	}
	l.t.Fatalf("no counters of %s: %s", ns, out)
	return 0
}

func (l *lab) close() {
	for _, ns := range l.hosts {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
	_ = exec.Command("iptables", l.rule("-D")...).Run()
	_ = exec.Command("ip", "link", "del", l.bridge).Run()
}
