package remote

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/peer"
	"holdfast/internal/rpc"
	"holdfast/storage"
	"holdfast/storage/memory"
	"holdfast/storage/storagetest"
)

const secretText = "a secret of the tests, long enough to be one"

// one is the nodes of a process that has one.
type one struct{ n storage.Shards }

func (o one) Shards(id storage.NodeID) (storage.Shards, error) {
	if id != o.n.Node() {
		return nil, storage.ErrOffline
	}
	return o.n, nil
}

// serve serves a node on loopback, behind the cluster's TLS, and returns its address.
func serve(tb testing.TB, n storage.Shards) string {
	tb.Helper()
	secret, err := peer.ParseSecret(secretText)
	if err != nil {
		tb.Fatal(err)
	}
	creds, err := peer.Derived(secret, peer.Storage)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := peer.Listen("127.0.0.1:0", creds, peer.Control, peer.Data)
	if err != nil {
		tb.Fatal(err)
	}
	s := NewServer(one{n}, secret.TicketKeys(), zerolog.Nop())
	h := s.HTTPServer()
	g, err := rpc.NewServer(s.Service())
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run() })
	wg.Go(func() { _ = h.Serve(l.Protocol(peer.Data)) })
	wg.Go(func() { _ = g.Serve(l.Protocol(peer.Control)) })
	tb.Cleanup(func() {
		_ = l.Close()
		_ = h.Close()
		g.Close(0)
		wg.Wait()
	})
	return l.Addr().String()
}

func connect(tb testing.TB, addrs map[storage.NodeID]string) *Nodes {
	tb.Helper()
	secret, err := peer.ParseSecret(secretText)
	if err != nil {
		tb.Fatal(err)
	}
	creds, err := peer.Derived(secret, peer.Gateway)
	if err != nil {
		tb.Fatal(err)
	}
	dial := func(p peer.Protocol) func(context.Context, string) (net.Conn, error) {
		return func(ctx context.Context, addr string) (net.Conn, error) {
			return creds.Dial(ctx, addr, peer.Storage, p)
		}
	}
	n := NewNodes(Config{DialData: dial(peer.Data), DialControl: dial(peer.Control)})
	n.Update(addrs)
	tb.Cleanup(func() { _ = n.Close() })
	return n
}

// signing signs every ticket on its way, as the tracker does.
type signing struct {
	storage.Shards
	key []byte
}

func (s signing) sign(t *storage.Ticket) *storage.Ticket {
	if t == nil {
		return nil
	}
	u := *t
	u.Sign(s.key)
	return &u
}

func (s signing) Create(ctx context.Context, t *storage.Ticket, id storage.ShardID, size int64) (storage.ShardWriter, error) {
	w, err := s.Shards.Create(ctx, s.sign(t), id, size)
	if err != nil {
		return nil, err
	}
	return signingWriter{w, s}, nil
}

func (s signing) Rebuild(ctx context.Context, r *storage.Rebuild) (storage.Seal, error) {
	q := *r
	q.Ticket = *s.sign(&r.Ticket)
	return s.Shards.Rebuild(ctx, &q)
}

type signingWriter struct {
	storage.ShardWriter
	s signing
}

func (w signingWriter) Renew(t *storage.Ticket) error {
	return w.ShardWriter.(storage.Renewer).Renew(w.s.sign(t))
}

func TestConformance(t *testing.T) {
	secret, err := peer.ParseSecret(secretText)
	if err != nil {
		t.Fatal(err)
	}
	storagetest.Run(t, func(t *testing.T, id storage.NodeID, nodes storage.Nodes) storagetest.Target {
		n := memory.New(id, nodes)
		s, err := connect(t, map[storage.NodeID]string{id: serve(t, n)}).Shards(id)
		if err != nil {
			t.Fatal(err)
		}
		return storagetest.Target{Shards: signing{s, secret.TicketKey()}, Epoch: 1, SetEpoch: n.SetEpoch,
			EndQuarantine: func(now time.Time) { n.EndQuarantine(now, 24*time.Hour) }}
	})
}

// TestForgedTickets: what the tracker did not sign is refused before a byte is taken.
func TestForgedTickets(t *testing.T) {
	t.Parallel()
	n := memory.New(1, nil)
	s, err := connect(t, map[storage.NodeID]string{1: serve(t, n)}).Shards(1)
	if err != nil {
		t.Fatal(err)
	}
	id := storagetest.ID(1)
	forged := storagetest.Ticket(id.Blob, storage.OpWrite, 1, 1)
	forged.Sign([]byte("another key of thirty-two bytes or more"))
	for name, ticket := range map[string]*storage.Ticket{"unsigned": storagetest.Ticket(id.Blob, storage.OpWrite, 1, 1), "of another key": forged} {
		if err := storagetest.Put(t.Context(), s, ticket, id, storagetest.Payload(1, 100)); !errors.Is(err, storage.ErrTicket) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Rebuild(t.Context(), &storage.Rebuild{Ticket: *ticket, Target: id}); !errors.Is(err, storage.ErrTicket) {
			t.Errorf("rebuild, %s: %v", name, err)
		}
	}
	if _, err := s.Stat(t.Context(), id); !errors.Is(err, storage.ErrNotHere) {
		t.Error("a forged ticket left a shard behind:", err)
	}
}

// TestOffline: a node that is not there is offline, at once.
func TestOffline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	nodes := connect(t, map[storage.NodeID]string{1: l.Addr().String()})
	s, err := nodes.Shards(1)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	id := storagetest.ID(1)
	if _, err := s.Open(t.Context(), id, 0, -1); !errors.Is(err, storage.ErrOffline) {
		t.Error("open:", err)
	}
	if _, err := s.Create(t.Context(), storagetest.Ticket(id.Blob, storage.OpWrite, 1, 1), id, 1); !errors.Is(err, storage.ErrOffline) {
		t.Error("create:", err)
	}
	if _, err := s.Status(t.Context()); !errors.Is(err, storage.ErrOffline) {
		t.Error("status:", err)
	}
	if _, err := nodes.Shards(2); !errors.Is(err, storage.ErrOffline) {
		t.Error("unknown node:", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzPath(f *testing.F) {
	f.Add(shardPath(1, storagetest.ID(7)))
	f.Add("/v1/shards/1/../2/3.4")
	f.Fuzz(func(t *testing.T, p string) {
		node, id, err := parsePath(p)
		if err != nil {
			return
		}
		if n2, id2, err := parsePath(shardPath(node, id)); err != nil || n2 != node || id2 != id {
			t.Errorf("%q is shard %s of node %d, which reads back as %s of %d, %v", p, id, node, id2, n2, err)
		}
	})
}
