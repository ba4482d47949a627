package allinone

import (
	"context"

	"holdfast/storage"
	"holdfast/tracker/consensus"
	"holdfast/tracker/kv"
)

// Snapshot returns one unchanging state of the catalog, for checks that look
// behind S3. release must be called once the state is no longer used.
func (s *Server) Snapshot(ctx context.Context) (r kv.Reader, release func(), err error) {
	return s.log.Snapshot(ctx)
}

// Nodes finds the open storage nodes of this process.
func (s *Server) Nodes() storage.Nodes { return s.nodes }

// LogMetrics returns the figures of the catalog's log.
func (s *Server) LogMetrics() consensus.Metrics { return s.log.Metrics() }
