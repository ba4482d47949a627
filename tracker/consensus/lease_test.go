package consensus

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"holdfast/internal/clock"
)

// The lease holds while a majority's promises do, for its own term and
// membership, and never again after leadership was to be handed over.
func TestLease(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(1e9, 0))
	l := newLease(c.Now)
	in := func(d time.Duration) time.Time { return c.Now().Add(d) }
	conf := func(need int, names ...string) *leaseConf {
		f := &leaseConf{need: need}
		for _, n := range names {
			f.voters = append(f.voters, ServerInfo{Server: n})
		}
		return f
	}
	expect := func(what string, term uint64, want bool) {
		t.Helper()
		if got := l.valid(term); got != want {
			t.Fatalf("%s: valid(%d) is %v", what, term, got)
		}
	}
	five := conf(2, "a", "b", "c", "d")
	expect("nobody leads", 0, false)
	l.begin(7)
	l.promised(7, "a", in(time.Second))
	l.promised(7, "b", in(time.Second))
	expect("the membership is not known", 7, false)
	l.setConf(6, five)
	expect("the membership of an earlier term", 7, false)
	l.setConf(7, five)
	expect("two of four others", 7, true)
	expect("an earlier term", 6, false)
	expect("a later term", 8, false)

	l.promised(7, "a", in(100*time.Millisecond)) // an answer that was late
	l.promised(6, "c", in(time.Hour))            // for another term
	c.Advance(time.Second - time.Nanosecond)
	expect("just before the end", 7, true)
	c.Advance(time.Nanosecond)
	expect("at the end", 7, false)

	l.promised(7, "c", in(300*time.Millisecond))
	expect("one of four others", 7, false)
	l.promised(7, "d", in(200*time.Millisecond))
	expect("two others", 7, true)
	c.Advance(200 * time.Millisecond)
	expect("the shorter one ran out", 7, false)

	l.promised(7, "a", in(time.Second))
	l.promised(7, "b", in(time.Second))
	expect("renewed", 7, true)
	l.setConf(7, nil)
	expect("the membership changes", 7, false)
	l.setConf(7, conf(1, "x", "y"))
	expect("promises of those that left", 7, false)
	l.promised(7, "x", in(time.Second))
	expect("one of two others", 7, true)
	l.forbid(6)
	expect("an earlier term was given up", 7, true)
	l.forbid(7)
	l.promised(7, "y", in(time.Hour))
	l.setConf(7, conf(1, "x", "y"))
	expect("the term was given up", 7, false)

	l.begin(9)
	l.setConf(9, conf(0))
	expect("alone", 9, true)
	c.Advance(time.Hour)
	expect("alone, later", 9, true)
	l.end()
	expect("deposed", 9, false)
}

// A lease that was found on one membership does not count once there was another.
func TestLeaseOfOtherMembership(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(1e9, 0))
	l := newLease(nil)
	a := &leaseConf{need: 1, voters: []ServerInfo{{Server: "a"}}}
	l.begin(3)
	l.setConf(3, a)
	l.promised(3, "a", c.Now().Add(time.Second))
	l.now = func() time.Time { // between the two looks at what is granted
		l.setConf(3, nil)
		l.setConf(3, &leaseConf{need: 1, voters: []ServerInfo{{Server: "a"}, {Server: "b"}}})
		return c.Now()
	}
	if l.valid(3) {
		t.Fatal("a lease outlived its membership")
	}
}

// A voter that promised lets no election through, in or out, but those of its
// leader, until the promise ran out.
func TestPledge(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(1e9, 0))
	p := &pledge{now: c.Now}
	asked := make(chan raft.RPC, 8)
	tr := &transport{pledge: p, self: "me", term: func() uint64 { return 5 }, conf: func() raft.Configuration { return raft.Configuration{} }, consume: asked, done: make(chan struct{})}
	cfg := &ReplicaConfig{ClusterID: "test", Advertise: "me:1", Listener: newTestNet().listen("me:1"), Logger: zerolog.Nop()}
	n := newNetwork(cfg, func(uint64) {})
	defer n.Close()
	n.setShut(true) // what passes the promise fails there
	tr.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: n, Timeout: time.Second, Logger: raftLogger(zerolog.Nop())})
	defer tr.NetworkTransport.Close()

	out := func(term uint64, transfer bool) error {
		req := &raft.RequestVoteRequest{Term: term, LeadershipTransfer: transfer}
		return tr.RequestVote("you", "you:1", req, &raft.RequestVoteResponse{})
	}
	// in reports whether Raft is asked.
	in := func(from string, term uint64, transfer bool) bool {
		ch := make(chan raft.RPCResponse, 1)
		req := &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte(from)}, Term: term, LeadershipTransfer: transfer}
		done := make(chan struct{})
		go func() { tr.vote(raft.RPC{Command: req, RespChan: ch}, req); close(done) }()
		defer func() { <-done }()
		select {
		case rpc := <-asked:
			rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
			return true
		case a := <-ch:
			if v := a.Response.(*raft.RequestVoteResponse); v.Granted {
				t.Error("a vote without Raft")
			}
			return false
		}
	}

	p.make(0, "", c.Now().Add(time.Second)) // it was restarted
	if err := out(1, false); !errors.Is(err, errPromised) || in("you", 1, false) {
		t.Fatal("a restarted voter takes part in an election", err)
	}
	c.Advance(time.Second)
	if err := out(6, false); errors.Is(err, errPromised) || !in("you", 6, false) {
		t.Fatal("a restarted voter takes part in no election", err)
	}

	p.make(5, "leader", c.Now().Add(time.Second))
	if err := out(6, false); !errors.Is(err, errPromised) {
		t.Fatal("it campaigns:", err)
	}
	if err := tr.RequestPreVote("you", "you:1", &raft.RequestPreVoteRequest{Term: 6}, nil); !errors.Is(err, errPromised) {
		t.Fatal("it sounds the others out:", err)
	}
	if err := out(6, true); !errors.Is(err, errPromised) {
		t.Fatal("it campaigns as for a transfer that nobody asked for:", err)
	}
	if in("you", 6, false) || !in("leader", 6, false) || !in("you", 5, false) {
		t.Fatal("a wrong request for a vote passes, or a right one does not")
	}
	if !in("you", 6, true) {
		t.Fatal("the election of a transfer does not pass")
	}
	// The leader of term 5 hands over; one that is late is for nothing.
	now := func(id string) error {
		ch := make(chan raft.RPCResponse, 1)
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ID: []byte(id)}}
		tr.campaign(raft.RPC{Command: req, RespChan: ch}, req)
		select {
		case a := <-ch:
			return a.Error
		case <-asked:
			return nil
		}
	}
	for _, id := range []string{"leader", "leader@", "leader@0", "leader@4", "leader@6", "leader@x"} {
		if err := now(id); !errors.Is(err, errTransfer) {
			t.Fatalf("campaign asked for by %q: %v", id, err)
		}
	}
	if err := now("leader@5"); err != nil {
		t.Fatal(err)
	}
	if err := out(6, true); errors.Is(err, errPromised) {
		t.Fatal("it does not campaign as its leader asked")
	}
	if err := out(7, true); !errors.Is(err, errPromised) {
		t.Fatal("it campaigns for a later term than its leader asked for:", err)
	}
	c.Advance(time.Second)
	if err := out(7, false); errors.Is(err, errPromised) {
		t.Fatal("the promise does not end")
	}
	// A later leader's promise takes the place of an earlier one, never the other way.
	p.make(9, "next", c.Now().Add(time.Second))
	p.make(5, "leader", c.Now().Add(time.Hour))
	if !p.forbids(10, "leader") || p.forbids(10, "next") {
		t.Fatal("an old promise took the place of a new one")
	}
}
