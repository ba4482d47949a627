package allinone

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/gateway/s3"
	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/consensus"
)

// serveS3 makes the front end over the open catalog and nodes.
func (s *Server) serveS3() error {
	s.reg = prometheus.NewRegistry()
	s.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newStateCollector(s))
	deps := gateway.Deps{Catalog: s.svc, Scheduler: s.svc, Nodes: s.nodes, Keys: s.cfg.Keys, Ready: s.ready, Clock: s.cfg.Clock, Floor: s.svc.Fence}
	var opts []s3.Option
	if s.cfg.AccessLog != nil {
		opts = append(opts, s3.WithAccessLog(s.cfg.AccessLog))
	}
	strict := ""
	if s.cfg.Gateway.StrictRegion {
		strict = s.cfg.Gateway.Region
	}
	verify := sigv4.New(sigv4.Config{Keys: s.cfg.Keys, Region: strict})
	opts = append(opts, s3.WithMount(admin.Prefix, admin.New(s, verify, s.cfg.Log)))
	front, err := s3.NewServer(s.cfg.Gateway, deps, s.cfg.Log, s.reg, opts...)
	if err != nil {
		return err
	}
	s.front = front
	return nil
}

// ready reports whether the catalog answers now.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, release, err := s.log.Read(ctx)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	release()
	return nil
}

func voterAt(id string, fs vfs.FS, dir string) consensus.Voter {
	return consensus.Voter{ID: id, FS: fs, Dir: dir}
}

func (l *Layout) voterByID(id string) *VoterPlace {
	for i := range l.Voters {
		if l.Voters[i].ID == id {
			return &l.Voters[i]
		}
	}
	return nil
}

// stateCollector shows nodes, queues and catalog copies as metrics. It reads
// them when it is asked.
type stateCollector struct {
	s                                                  *Server
	total, free, used, shards, syncs, writes, bad      *prometheus.Desc
	queueLength, queueOldest, below, applied, logSyncs *prometheus.Desc
}

func newStateCollector(s *Server) *stateCollector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("holdfast_"+name, help, labels, nil)
	}
	return &stateCollector{s: s,
		total:       d("node_capacity_bytes", "Size of the node's file system.", "node"),
		free:        d("node_free_bytes", "Free bytes of the node, the reserve excluded.", "node"),
		used:        d("node_used_bytes", "Bytes of sealed shards.", "node"),
		shards:      d("node_shards", "Sealed shards.", "node"),
		syncs:       d("node_syncs_total", "Data syncs since start.", "node"),
		writes:      d("node_shards_written_total", "Shards sealed since start.", "node"),
		bad:         d("node_bad_shards_total", "Bad shards found since start.", "node"),
		queueLength: d("queue_length", "Work that waits.", "queue"),
		queueOldest: d("queue_oldest_timestamp_seconds", "Since when the oldest of it waits, 0 for none.", "queue"),
		below:       d("blobs_below_target", "Blobs with fewer good shards than their scheme is wide; absent while they are being counted."),
		applied:     d("catalog_applied_index", "Log index that a copy of the catalog has applied.", "voter"),
		logSyncs:    d("catalog_log_syncs_total", "Syncs of the copies' logs since start."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.total, c.free, c.used, c.shards, c.syncs, c.writes, c.bad, c.queueLength, c.queueOldest, c.below, c.applied, c.logSyncs} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for _, n := range c.s.nodes.all() {
		st, err := n.Status(ctx)
		if err != nil {
			continue
		}
		id := fmt.Sprint(st.Node)
		gauge(c.total, float64(st.Total), id)
		gauge(c.free, float64(st.Free), id)
		gauge(c.used, float64(st.Used), id)
		gauge(c.shards, float64(st.Shards), id)
		count(c.syncs, float64(st.Syncs), id)
		count(c.writes, float64(st.Writes), id)
		count(c.bad, float64(st.Bad), id)
	}
	count(c.logSyncs, float64(c.s.log.Metrics().LogSyncs))
	if st, err := c.s.svc.Status(ctx); err == nil {
		c.cluster(st, gauge)
	}
}

func (c *stateCollector) cluster(st *tracker.Status, gauge func(*prometheus.Desc, float64, ...string)) {
	if st.BlobsBelow >= 0 {
		gauge(c.below, float64(st.BlobsBelow))
	}
	for name, q := range st.Queues {
		gauge(c.queueLength, float64(q.Length), name)
		gauge(c.queueOldest, float64(q.Oldest)/1000, name)
	}
	for _, v := range st.Voters {
		gauge(c.applied, float64(v.Applied), v.ID)
	}
}
