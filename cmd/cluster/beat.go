package cluster

import (
	"context"
	"fmt"
	"maps"
	"time"

	"holdfast/internal/peer"
	"holdfast/storage"
	"holdfast/tracker"
)

// beats tells the trackers of the nodes and does what they answer, until ctx
// ends.
func (s *Storage) beats(ctx context.Context) error {
	lost := false
	for {
		err := s.beat(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err != nil && !lost:
			s.cfg.Log.Warn().Err(err).Msg("trackers do not hear of this process; it goes on with what it knows")
		case err == nil && lost:
			s.cfg.Log.Info().Msg("trackers hear of this process again")
		}
		lost = err != nil
		if err := pause(ctx, s.cfg.Clock, s.cfg.BeatEvery); err != nil {
			return err
		}
	}
}

// beat is one heartbeat.
func (s *Storage) beat(ctx context.Context) error {
	b := &tracker.Beat{Cluster: s.cfg.Access.Cluster(), Boot: s.boot, Addr: s.cfg.Advertise, Domain: s.cfg.Domain}
	sent, received := s.server.Traffic()
	b.Nodes = s.statuses(ctx)
	for i := range b.Nodes {
		b.Nodes[i].SentBytes, b.Nodes[i].ReceivedBytes = sent, received
	}
	a, err := s.trackers.Beat(ctx, b)
	if err != nil {
		return err
	}
	s.obey(a)
	return s.learn(ctx, a.MapVersion)
}

// obey does what a tracker answered: epochs, the catalog's incarnation, and
// which nodes this process may serve.
func (s *Storage) obey(a *tracker.BeatAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.now = a.Now
	for _, b := range a.Nodes {
		n := s.mu.nodes[b.ID]
		if n == nil {
			continue
		}
		if was := s.mu.refused[b.ID]; was != b.Refused {
			s.mu.refused[b.ID] = b.Refused
			if b.Refused != "" {
				s.cfg.Log.Error().Uint32("node", uint32(b.ID)).Str("why", b.Refused).Msg("node is not served any more")
			} else {
				s.cfg.Log.Info().Uint32("node", uint32(b.ID)).Msg("node is served again")
			}
		}
		if b.Refused == "" {
			n.RaiseEpoch(b.Epoch)
		}
		// Of a catalog that does not know it either, a node must not drop anything.
		n.Follow(a.Incarnation)
	}
}

// learn reads the cluster map where it is newer, for the addresses that
// rebuilds need.
func (s *Storage) learn(ctx context.Context, version uint64) error {
	s.mu.Lock()
	known := s.mu.version
	s.mu.Unlock()
	if known == version {
		return nil
	}
	m, err := s.trackers.Refresh(ctx)
	if err != nil {
		return err
	}
	s.others.Update(addresses(m))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.version = version
	return nil
}

// addresses is where the nodes of a map are.
func addresses(m *tracker.Map) map[storage.NodeID]string {
	out := make(map[storage.NodeID]string, len(m.Nodes))
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.State != tracker.NodeGone && n.Addr != "" {
			out[n.ID] = n.Addr
		}
	}
	return out
}

// damageWait is how long reports are gathered before they are sent.
const damageWait = 500 * time.Millisecond

// reportDamage tells the trackers what reads and the scrubber found.
func (s *Storage) reportDamage(ctx context.Context) error {
	for {
		var batch []storage.Damage
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d := <-s.damage:
			batch = append(batch, d)
		}
		if err := pause(ctx, s.cfg.Clock, damageWait); err != nil {
			return err
		}
		for more := true; more && len(batch) < maxDamage; {
			select {
			case d := <-s.damage:
				batch = append(batch, d)
			default:
				more = false
			}
		}
		if err := s.trackers.ReportDamage(ctx, batch); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn().Err(err).Int("shards", len(batch)).Msg("damage could not be reported; scrub and reconcile find it again")
		}
	}
}

// maintainEvery is how often the nodes look for quarantines that ended.
const maintainEvery = 10 * time.Minute

// maintain tells the nodes catalog time, by which a quarantine ends.
func (s *Storage) maintain(ctx context.Context) error {
	for {
		if err := pause(ctx, s.cfg.Clock, maintainEvery); err != nil {
			return err
		}
		s.maintainOnce(ctx)
	}
}

// maintainOnce leaves out the nodes that this process must not serve: their
// quarantines are of a catalog whose time it has not heard.
func (s *Storage) maintainOnce(ctx context.Context) {
	s.mu.Lock()
	now := s.mu.now
	refused := maps.Clone(s.mu.refused)
	s.mu.Unlock()
	if now == 0 {
		return
	}
	for _, n := range s.nodes() {
		if refused[n.Node()] != "" {
			continue
		}
		if err := n.Maintain(ctx, time.UnixMilli(now)); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn().Uint32("node", uint32(n.Node())).Err(err).Msg("maintenance of a node did not finish; tried again later")
		}
	}
}

// facts is what this process says of itself.
func (s *Storage) facts(context.Context) *Facts {
	f := &Facts{Role: peer.Storage, Ready: true, Clock: s.cfg.Clock.Now().UnixMilli()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.now == 0 {
		f.Ready, f.Why = false, "no tracker has answered its heartbeat yet"
	}
	for id, why := range s.mu.refused {
		if why != "" {
			f.Ready, f.Why = false, fmt.Sprintf("node %d is not served: %s", id, why)
		}
	}
	return f
}
