// Package observe shows nodes, copies of the catalog and queues as Prometheus
// metrics, under the same names whether one process holds them all or each has
// its own. It reads them when it is asked, and keeps nothing.
package observe

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"holdfast/storage"
	"holdfast/tracker"
)

// Source is what a process knows. Nil functions are for what it has not got.
type Source struct {
	// Nodes returns the nodes of this process; those that do not answer are
	// left out.
	Nodes func(ctx context.Context) []storage.Status
	// Cluster returns the cluster as a whole: an error where somebody else
	// leads.
	Cluster func(ctx context.Context) (*tracker.Status, error)
	// Voters returns the copies of the catalog that this process answers for.
	Voters func() []tracker.Voter
	// LogSyncs counts the syncs of their logs.
	LogSyncs func() uint64
	// Map returns the cluster map as last heard, nil for none, and how old
	// that is.
	Map func() (*tracker.Map, time.Duration)
}

// Registry returns a registry with the process's own figures.
func Registry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// collectTime bounds the questions of one scrape.
const collectTime = 5 * time.Second

// collector implements prometheus.Collector.
type collector struct {
	s                                               Source
	total, free, used, shards, quarantined          *prometheus.Desc
	syncs, writes, bad, readOnly, frozen            *prometheus.Desc
	queueLength, queueOldest, below, applied        *prometheus.Desc
	logSyncs, leads, nodes, mapAge, held, strangers *prometheus.Desc
	all                                             []*prometheus.Desc
}

// Collector returns a collector of what s knows.
func Collector(s Source) prometheus.Collector {
	c := &collector{s: s}
	d := func(name, help string, labels ...string) *prometheus.Desc {
		desc := prometheus.NewDesc("holdfast_"+name, help, labels, nil)
		c.all = append(c.all, desc)
		return desc
	}
	c.total = d("node_capacity_bytes", "Size of the node's file system.", "node")
	c.free = d("node_free_bytes", "Free bytes of the node, the reserve excluded.", "node")
	c.used = d("node_used_bytes", "Bytes of sealed shards.", "node")
	c.shards = d("node_shards", "Sealed shards.", "node")
	c.quarantined = d("node_quarantined_shards", "Shards that no reference names and that wait for the end of their quarantine.", "node")
	c.syncs = d("node_syncs_total", "Data syncs since start.", "node")
	c.writes = d("node_shards_written_total", "Shards sealed since start.", "node")
	c.bad = d("node_bad_shards_total", "Bad shards found since start.", "node")
	c.readOnly = d("node_read_only", "1 while the node takes no new data.", "node")
	c.frozen = d("node_frozen", "1 while the node deletes nothing until holdfast admin fsck --adopt.", "node")
	c.queueLength = d("queue_length", "Work that waits.", "queue")
	c.queueOldest = d("queue_oldest_timestamp_seconds", "Since when the oldest of it waits, 0 for none.", "queue")
	c.below = d("blobs_below_target", "Blobs with fewer good shards than their scheme is wide; absent while they are being counted.")
	c.applied = d("catalog_applied_index", "Log index that a copy of the catalog has applied.", "voter")
	c.leads = d("catalog_leads", "1 for the copy of the catalog that leads.", "voter")
	c.logSyncs = d("catalog_log_syncs_total", "Syncs of the copies' logs since start.")
	c.held = d("catalog_held", "1 while the catalog answers no client until a person has decided.")
	c.strangers = d("unknown_nodes", "Storage nodes that ask for the catalog and that it does not know.")
	c.nodes = d("nodes", "Storage nodes of the cluster by state.", "state")
	c.mapAge = d("map_age_seconds", "Since when no tracker has answered.")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// scrape is one answer.
type scrape chan<- prometheus.Metric

func (s scrape) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s scrape) count(d *prometheus.Desc, v uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// truth is 1 for true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	out := scrape(ch)
	if c.s.Nodes != nil {
		for _, st := range c.s.Nodes(ctx) {
			c.node(out, &st)
		}
	}
	if c.s.LogSyncs != nil {
		out.count(c.logSyncs, c.s.LogSyncs())
	}
	if c.s.Voters != nil {
		for _, v := range c.s.Voters() {
			out.gauge(c.applied, float64(v.Applied), v.ID)
			out.gauge(c.leads, truth(v.Leader), v.ID)
		}
	}
	if c.s.Cluster != nil {
		if st, err := c.s.Cluster(ctx); err == nil {
			c.cluster(out, st)
		}
	}
	if c.s.Map != nil {
		m, age := c.s.Map()
		out.gauge(c.mapAge, age.Seconds())
		if m != nil {
			c.states(out, m)
		}
	}
}

func (c *collector) node(out scrape, st *storage.Status) {
	id := fmt.Sprint(st.Node)
	out.gauge(c.total, float64(st.Total), id)
	out.gauge(c.free, float64(st.Free), id)
	out.gauge(c.used, float64(st.Used), id)
	out.gauge(c.shards, float64(st.Shards), id)
	out.gauge(c.quarantined, float64(st.Quarantined), id)
	out.gauge(c.readOnly, truth(st.ReadOnly), id)
	out.gauge(c.frozen, truth(st.Frozen), id)
	out.count(c.syncs, st.Syncs, id)
	out.count(c.writes, st.Writes, id)
	out.count(c.bad, st.Bad, id)
}

func (c *collector) cluster(out scrape, st *tracker.Status) {
	if st.BlobsBelow >= 0 {
		out.gauge(c.below, float64(st.BlobsBelow))
	}
	for name, q := range st.Queues {
		out.gauge(c.queueLength, float64(q.Length), name)
		out.gauge(c.queueOldest, float64(q.Oldest)/1000, name)
	}
	out.gauge(c.held, truth(st.Held))
	out.gauge(c.strangers, float64(len(st.Strangers)))
	c.states(out, st.Map)
}

// states counts the nodes of a map by state; a state that none is in is 0.
func (c *collector) states(out scrape, m *tracker.Map) {
	count := map[tracker.NodeState]int{}
	for i := range m.Nodes {
		count[m.Nodes[i].State]++
	}
	for s := tracker.NodeJoining; s < tracker.NodeGone; s++ {
		out.gauge(c.nodes, float64(count[s]), s.String())
	}
}
