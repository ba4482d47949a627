package service

import (
	"context"
	"fmt"
	"time"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/placement"
)

// Place implements tracker.Scheduler: a decision in memory, with no round of
// the log and no write.
func (s *Service) Place(ctx context.Context, r *tracker.PlaceRequest) (*tracker.Grant, error) {
	st, err := s.leading(ctx)
	if err != nil {
		return nil, err
	}
	ch, err := s.choose(st, r)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	g := &tracker.Grant{Blob: s.blobID(ch.Group.ID, now), Scheme: ch.Group.Scheme, Shards: ch.Shards}
	g.Ticket = storage.Ticket{Blob: g.Blob, Op: storage.OpWrite, Expiry: now + s.cfg.TicketLife.Milliseconds(), Nodes: ch.Nodes}
	s.sign(&g.Ticket)
	return g, nil
}

// blobID makes an id that no blob ever had: catalog time in ms and a counter
// that begins at a random number with each process.
func (s *Service) blobID(group uint16, ms int64) storage.BlobID {
	return storage.MakeBlobID(s.cfg.Home, group, uint64(ms), s.unique.Add(1))
}

func (s *Service) sign(t *storage.Ticket) {
	if s.cfg.SignTickets {
		t.Sign(s.cfg.TicketKey)
	}
}

// Renew implements tracker.Scheduler. The nodes must be at the epochs of the
// ticket still, else storage.ErrStaleEpoch; a ticket that has expired, or
// does not bear our signature, is storage.ErrTicket.
//
// A shard keeps in its header the expiry of the ticket that its writer was
// given last; the commit must carry the least expiry among its shards.
func (s *Service) Renew(ctx context.Context, t *storage.Ticket) (*storage.Ticket, error) {
	st, err := s.leading(ctx)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	if t.Op != storage.OpWrite || t.Expiry <= max(now, s.Fence()) || s.cfg.SignTickets && !t.Signed(s.cfg.TicketKey) && !t.Signed(s.cfg.OldTicketKeys...) {
		return nil, fmt.Errorf("renew for %s: %w", t.Blob, storage.ErrTicket)
	}
	for _, g := range t.Nodes {
		if n := st.m.Node(g.Node); n == nil || n.Epoch != g.Epoch {
			return nil, fmt.Errorf("renew for %s, node %d: %w", t.Blob, g.Node, storage.ErrStaleEpoch)
		}
	}
	out := &storage.Ticket{Blob: t.Blob, Op: t.Op, Expiry: now + s.cfg.TicketLife.Milliseconds(), Nodes: t.Nodes}
	s.sign(out)
	return out, nil
}

// TicketLife is how long after its grant a ticket may be committed under.
func (s *Service) TicketLife() time.Duration { return s.cfg.TicketLife }

// RepairTicket grants a node a ticket to make a shard of an existing blob.
func (s *Service) RepairTicket(blob storage.BlobID, to storage.Grantee) storage.Ticket {
	t := storage.Ticket{Blob: blob, Op: storage.OpRepair, Expiry: s.Now() + s.cfg.TicketLife.Milliseconds(), Nodes: []storage.Grantee{to}}
	s.sign(&t)
	return t
}

// Map implements tracker.Scheduler.
func (s *Service) Map(ctx context.Context) (*tracker.Map, error) {
	st, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	return st.m, nil
}

// Plan is the map prepared for decisions, for the workers.
func (s *Service) Plan(ctx context.Context) (*placement.Plan, *tracker.Map, error) {
	st, err := s.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	return st.plan, st.m, nil
}

// Rank appends the indexes of a blob's shards in the order in which a read
// should ask for them; see placement.Plan.Rank.
func (s *Service) Rank(dst []uint8, scheme erasure.Scheme, shards []storage.Placement) []uint8 {
	st := s.state.Load()
	if st == nil {
		for i := range shards {
			dst = append(dst, uint8(i))
		}
		return dst
	}
	return st.plan.Rank(dst, scheme, shards, s.seed.Add(1))
}

// ReportDamage implements tracker.Scheduler.
func (s *Service) ReportDamage(_ context.Context, damage []storage.Damage) error {
	s.damage.add(damage)
	return nil
}
