package allinone

import (
	"context"
	"fmt"

	"holdfast/storage"
	"holdfast/tracker"
)

// Status implements gateway.Operator. Where the catalog has no majority of its
// copies it says what this process knows by itself: what is missing.
func (s *Server) Status(ctx context.Context) (*tracker.Status, error) {
	l := s.shown.Load()
	var st *tracker.Status
	if c := s.log.Status(); !c.Quorum && !c.ReadOnly {
		st = s.statusAlone(ctx, l)
	} else {
		var err error
		if st, err = s.svc.Status(ctx); err != nil {
			return nil, err
		}
	}
	for i := range st.Voters {
		v := &st.Voters[i]
		if place := l.voterByID(v.ID); v.Dir == "" && place != nil && l.byNode(place.Node) != nil {
			v.Dir = s.cfg.FS.PathJoin(l.byNode(place.Node).Dir, catalogDir)
		}
	}
	m := *st.Map
	m.Nodes = append([]tracker.Node(nil), m.Nodes...)
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.State != tracker.NodeGone && s.nodes.get(n.ID) == nil {
			n.Load.Err = fmt.Sprintf("missing or empty: mount it and restart; if it is lost: holdfast admin disk replace %s", shellQuote(n.Addr))
		}
	}
	st.Map = &m
	for _, n := range s.nodes.all() {
		st.Frozen = st.Frozen || n.Frozen()
	}
	return st, nil
}

// statusAlone is the status by the layout and the nodes of this process.
func (s *Server) statusAlone(ctx context.Context, l *Layout) *tracker.Status {
	st := &tracker.Status{Map: &tracker.Map{Cluster: l.Cluster}, Incarnation: l.Incarnation, Queues: map[string]tracker.Queue{}, BlobsBelow: -1}
	st.Leader, st.Voters = s.voterStatus()
	for _, mem := range l.Nodes {
		n := tracker.Node{ID: mem.Node, Addr: mem.Dir, State: tracker.NodeDown}
		if api := s.nodes.get(mem.Node); api != nil {
			n.State = tracker.NodeActive
			if hb, err := api.Status(ctx); err == nil {
				n.ReadOnly, n.Load = hb.ReadOnly, loadOf(&hb)
			}
		}
		if mem.Gone {
			n.State = tracker.NodeGone
		}
		st.Map.Nodes = append(st.Map.Nodes, n)
	}
	return st
}

func loadOf(hb *storage.Status) tracker.Load {
	return tracker.Load{Total: hb.Total, Free: hb.Free, Used: hb.Used, Errors: hb.Bad + hb.ReadErrors, Err: hb.Err}
}
