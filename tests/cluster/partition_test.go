package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
	"holdfast/tracker"
)

// TestPartition takes trackers and a storage node off the network under load,
// whole and from some of the others only, and brings them back: no acknowledged
// write is lost, no byte is wrong, no request fails for good, and afterwards
// the trackers hold the same and every shard is where the catalog has it.
func TestPartition(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Isolated: true, Gateways: 2,
		Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 4}}})
	l := startLoad(t, c, 6, "STANDARD")
	n := scaled(150)
	l.enter("control")
	l.wait(n)
	cut := func(name string) func() {
		p := c.Process(name)
		p.Cut()
		return p.Heal
	}
	apart := func(name string, others ...*harness.Process) func() {
		p := c.Process(name)
		var from []*harness.Process
		for _, o := range others {
			if o != p {
				p.CutFrom(o)
				from = append(from, o)
			}
		}
		return func() {
			for _, o := range from {
				p.HealFrom(o)
			}
		}
	}
	for _, f := range []struct {
		name string
		do   func() func() // returns what heals it
	}{
		{"leading tracker cut off", func() func() { return cut(leader(t, c)) }},
		{"following tracker cut off", func() func() { return cut(follower(t, c)) }},
		// The gateways reach it still: it must not answer what it cannot know.
		{"leading tracker cut from trackers", func() func() { return apart(leader(t, c), c.Trackers...) }},
		// It leads on, and none of those who need it reaches it: they wait.
		{"leading tracker cut from gateways 4 s", func() func() {
			heal := apart(leader(t, c), c.Gateways...)
			<-time.After(4 * time.Second)
			heal()
			return func() {}
		}},
		{"storage node cut off", func() func() {
			heal := cut("default1")
			harness.Until(t, time.Minute, "the node is suspected", func() bool {
				n := nodeOf(c, c.Process("default1").Addr)
				return n != nil && n.State != tracker.NodeActive
			})
			return heal
		}},
		{"storage node cut from gateways", func() func() { return apart("default2", c.Gateways...) }},
		{"storage node cut from trackers", func() func() { return apart("default3", c.Trackers...) }},
	} {
		l.enter(f.name)
		heal := f.do()
		l.wait(n)
		heal()
		l.enter("after: " + f.name)
		c.WaitReady()
		l.wait(n / 3)
	}
	l.end()
	converged(t, c)
	census(t, c, "load")
}

// follower is the name of a tracker that does not lead.
func follower(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	lead := leader(t, c)
	for _, p := range c.Trackers {
		if p.Name != lead {
			return p.Name
		}
	}
	t.Fatal("there is one tracker only")
	return ""
}

// converged waits until every tracker follows the leader with all that was
// committed, all nodes are active and repair has nothing to do.
func converged(t *testing.T, c *harness.Cluster) {
	t.Helper()
	convergedBy(t, c.Gateways[0].Status, len(c.Trackers))
}

func convergedBy(t *testing.T, status asked, trackers int) {
	t.Helper()
	var why string
	defer func() {
		if t.Failed() {
			t.Log(why)
		}
	}()
	harness.Until(t, 2*time.Minute, "the cluster converges", func() bool {
		st, err := status()
		if err != nil {
			why = err.Error()
			return false
		}
		why = behind(st, trackers)
		return why == ""
	})
	settledBy(t, status)
}

// behind says what is not whole yet in a cluster that rests, "" if all is.
func behind(st *tracker.Status, trackers int) string {
	var out []string
	var most uint64
	for _, v := range st.Voters {
		most = max(most, v.Applied)
	}
	voters := 0
	for _, v := range st.Voters {
		// The rows of time and fence are written all the while.
		if v.Err != "" || v.Joining || v.Applied+20 < most {
			out = append(out, fmt.Sprintf("tracker %+v", v))
			continue
		}
		voters++
	}
	if voters != trackers {
		out = append(out, fmt.Sprintf("%d of %d trackers are there", voters, trackers))
	}
	for _, n := range st.Map.Nodes {
		if n.State != tracker.NodeActive && n.State != tracker.NodeGone {
			out = append(out, fmt.Sprintf("node %d is %s", n.ID, n.State))
		}
	}
	return strings.Join(out, "; ")
}
