package cluster

import (
	"os"
	"strconv"
	"testing"
	"time"

	"holdfast/tests/harness"
	"holdfast/tracker"
)

// groups is the shape of docker-compose.yml: copies in one group,
// Reed-Solomon shards in the other.
func groups() []harness.GroupSpec {
	return []harness.GroupSpec{{Name: "fast", Scheme: "rep-3", Nodes: 3}, {Name: "bulk", Scheme: "rs-4+2", Class: "STANDARD_IA", Nodes: 7}}
}

// TestFaults puts a cluster under load from several clients while its
// processes are killed, paused and emptied: no acknowledged write is lost, no
// byte is wrong, and within the redundancy no request fails for good.
func TestFaults(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 2, Groups: groups()})
	l := startLoad(t, c, 6, "STANDARD", "STANDARD_IA")
	n := scaled(150)
	l.enter("control")
	l.wait(n)
	kill := func(name string) { c.Process(name).Kill() }
	back := func(names ...string) {
		for _, name := range names {
			c.Process(name).Launch()
		}
		c.WaitReady()
	}
	pause := func(name string, d time.Duration) {
		p := c.Process(name)
		p.Pause()
		time.AfterFunc(d, p.Continue)
	}
	for _, f := range []struct {
		name string
		do   func() func() // returns what ends it
	}{
		{"gateway killed", func() func() { kill("gateway1"); return func() { back("gateway1") } }},
		{"gateway paused 3 s", func() func() { pause("gateway2", 3*time.Second); return func() {} }},
		{"leading tracker killed", func() func() {
			name := leader(t, c)
			kill(name)
			return func() { back(name) }
		}},
		{"leading tracker paused 4 s", func() func() { pause(leader(t, c), 4*time.Second); return func() {} }},
		{"node of rep-3 killed", func() func() { kill("fast2"); return func() { back("fast2") } }},
		{"node of rep-3 paused 4 s", func() func() { pause("fast1", 4*time.Second); return func() {} }},
		{"two nodes of rs-4+2 killed", func() func() {
			kill("bulk3")
			kill("bulk5")
			return func() { back("bulk3", "bulk5") }
		}},
		{"rolling restart of all", func() func() {
			for _, p := range c.All() {
				p.Stop()
				p.Launch()
				c.WaitReady()
			}
			return func() {}
		}},
	} {
		l.enter(f.name)
		end := f.do()
		l.wait(n)
		end()
		l.enter("after: " + f.name)
		l.wait(n / 3)
	}
	l.end()
}

// TestEmptiedNode empties a node's directory: it is refused until a person
// gives the node up, and what it held is rebuilt.
func TestEmptiedNode(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{
		Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 3}},
	})
	l := startLoad(t, c, 4, "STANDARD")
	l.enter("control")
	l.wait(100)
	p := c.Process("default1")
	id := nodeAt(t, c, p.Addr)
	p.Kill()
	if err := os.RemoveAll(p.Dir); err != nil {
		t.Fatal(err)
	}
	p.Launch()
	harness.Until(t, 30*time.Second, "the emptied directory is refused", p.Exited)
	l.enter("emptied node")
	l.wait(50)
	harness.Until(t, time.Minute, "the node can be given up", func() bool {
		_, err := c.Gateways[0].Admin("node", "forget", id)
		return err == nil
	})
	p.Launch()
	l.wait(50)
	l.end()
	settled(t, c)
	for _, cl := range l.clients {
		cl.checkAll()
	}
}

// settled waits until repair has nothing to do.
func settled(t *testing.T, c *harness.Cluster) {
	t.Helper()
	settledBy(t, c.Gateways[0].Status)
}

// asked is how a cluster answers of itself.
type asked func() (*tracker.Status, error)

func settledBy(t *testing.T, status asked) {
	t.Helper()
	harness.Until(t, 2*time.Minute, "repair is done", func() bool {
		st, err := status()
		return err == nil && st.BlobsBelow == 0 && st.Queues["repair"].Length == 0
	})
}

// nodeAt is the id of the node of an address, as admin takes it.
func nodeAt(t *testing.T, c *harness.Cluster, addr string) string {
	t.Helper()
	st, err := c.Gateways[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range st.Map.Nodes {
		if n.Addr == addr && n.State != tracker.NodeGone {
			return idText(n)
		}
	}
	t.Fatalf("no node at %s", addr)
	return ""
}

func idText(n tracker.Node) string { return strconv.FormatUint(uint64(n.ID), 10) }
