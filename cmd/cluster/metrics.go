package cluster

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/cmd/observe"
	"holdfast/storage"
	"holdfast/tracker"
)

// Metrics shows the copy of the catalog, and of the tracker that leads the
// queues and the cluster's nodes.
func (t *Tracker) Metrics() prometheus.Collector {
	return observe.Collector(observe.Source{Cluster: t.svc.Status, Voters: t.itself, LogSyncs: func() uint64 { return t.replica.Metrics().LogSyncs }})
}

// itself is this tracker's own copy of the catalog: nothing until it has one.
// The others show theirs.
func (t *Tracker) itself() (out []tracker.Voter) {
	for _, m := range t.replica.Status().Members {
		if m.Self {
			out = append(out, tracker.Voter{ID: m.ID, Applied: m.Applied, Leader: m.Leader})
		}
	}
	return out
}

// Ready reports whether the tracker can do its work; see Facts.
func (t *Tracker) Ready() error { return t.facts(context.Background()).err() }

// Metrics shows the nodes of the process.
func (s *Storage) Metrics() prometheus.Collector {
	return observe.Collector(observe.Source{Nodes: s.statuses})
}

// statuses is what the nodes say of themselves.
func (s *Storage) statuses(ctx context.Context) (out []storage.Status) {
	for _, n := range s.nodes() {
		st, err := n.Status(ctx)
		if err != nil {
			st = storage.Status{Node: n.Node(), Err: err.Error()}
		}
		out = append(out, st)
	}
	return out
}

// Ready reports whether the nodes can be served; see Facts.
func (s *Storage) Ready() error { return s.facts(context.Background()).err() }
