package allinone

import (
	"context"
	"fmt"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/cmd/observe"
	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/gateway/s3"
	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/consensus"
)

// serveS3 makes the front end over the open catalog and nodes.
func (s *Server) serveS3() error {
	s.reg = observe.Registry()
	s.reg.MustRegister(observe.Collector(observe.Source{
		Nodes: s.nodes.statuses, Cluster: s.svc.Status, LogSyncs: func() uint64 { return s.log.Metrics().LogSyncs },
		Voters: func() []tracker.Voter { _, voters := s.voterStatus(); return voters },
	}))
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
