package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/tracker"
)

// fake is a tracker that answers puts as it is told, and notes them. Other
// calls than those below are a mistake of the test.
type fake struct {
	Tracker
	addr string
	mu   struct {
		sync.Mutex
		put    func(ctx context.Context, r *tracker.PutObject) (*tracker.PutResult, error)
		leader string
		puts   []tracker.Mutation
		gets   int
		held   error
	}
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	f.answer(nil)
	f.addr = listen(t, Services(ServerConfig{Tracker: f, Clock: clock.System{}, Log: zerolog.Nop(),
		Leader: func() string { f.mu.Lock(); defer f.mu.Unlock(); return f.mu.leader },
		Held:   func(context.Context) error { f.mu.Lock(); defer f.mu.Unlock(); return f.mu.held }})...)
	return f
}

// answer has every put answered with err, or done.
func (f *fake) answer(err error) {
	f.does(func(context.Context, *tracker.PutObject) (*tracker.PutResult, error) {
		if err != nil {
			return nil, err
		}
		return &tracker.PutResult{Seq: 7, VersionID: f.addr}, nil
	})
}

func (f *fake) does(put func(context.Context, *tracker.PutObject) (*tracker.PutResult, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.put = put
}

// follows makes f answer that another leads: the one at addr, "" for not known.
func (f *fake) follows(addr string) *fake {
	f.answer(tracker.ErrNotLeader)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.leader = addr
	return f
}

// PutObject implements tracker.Objects.
func (f *fake) PutObject(ctx context.Context, r *tracker.PutObject) (*tracker.PutResult, error) {
	f.mu.Lock()
	f.mu.puts = append(f.mu.puts, r.Mutation)
	put := f.mu.put
	f.mu.Unlock()
	return put(ctx, r)
}

// GetObject implements tracker.Objects.
func (f *fake) GetObject(ctx context.Context, _ *tracker.GetObject) (*tracker.Object, error) {
	f.mu.Lock()
	f.mu.gets++
	put := f.mu.put
	f.mu.Unlock()
	_, err := put(ctx, nil)
	return &tracker.Object{}, err
}

// asked returns the puts since it was last called.
func (f *fake) asked() []tracker.Mutation {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.mu.puts
	f.mu.puts = nil
	return out
}

// dead is an address where nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// deaf is a tracker that takes connections and says nothing, as one that is
// stopped does.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func put(ctx context.Context, c *Client, m tracker.Mutation) (*tracker.PutResult, error) {
	return c.PutObject(ctx, &tracker.PutObject{Mutation: m, Bucket: 1, Key: "k"})
}

// TestFollowsTheHint: the address that a follower names is asked next, and
// from then on first.
func TestFollowsTheHint(t *testing.T) {
	t.Parallel()
	leader := newFake(t)
	follower := newFake(t).follows(leader.addr)
	c := client(t, nil, follower.addr) // the leader is learned
	id := tracker.RequestID{1, 2}
	for i := range 3 {
		r, err := put(t.Context(), c, tracker.Mutation{RequestID: id})
		if err != nil || r.VersionID != leader.addr {
			t.Fatal(r, err)
		}
		want := 0
		if i == 0 {
			want = 1
		}
		if got := follower.asked(); len(got) != want {
			t.Errorf("put %d: the follower was asked %d times", i, len(got))
		}
		if got := leader.asked(); len(got) != 1 || got[0].RequestID != id {
			t.Errorf("put %d: the leader was asked %+v", i, got)
		}
	}
	// The leader changes, and the old one names the new.
	follower.answer(nil)
	leader.follows(follower.addr)
	if r, err := put(t.Context(), c, tracker.Mutation{}); err != nil || r.VersionID != follower.addr {
		t.Fatal(r, err)
	}
}

// TestFollowsWithoutAHint goes round until somebody leads, each time under one id.
func TestFollowsWithoutAHint(t *testing.T) {
	t.Parallel()
	var all []*fake
	var addrs []string
	for range 3 {
		f := newFake(t).follows("")
		all, addrs = append(all, f), append(addrs, f.addr)
	}
	c := client(t, nil, addrs...)
	var once sync.Once
	all[0].does(func(context.Context, *tracker.PutObject) (*tracker.PutResult, error) {
		once.Do(func() { all[2].answer(nil) }) // an election ends once the first was asked
		return nil, tracker.ErrNotLeader
	})
	r, err := put(t.Context(), c, tracker.Mutation{})
	if err != nil || r.VersionID != all[2].addr {
		t.Fatal(r, err)
	}
	var ids []tracker.RequestID
	for _, f := range all {
		for _, m := range f.asked() {
			ids = append(ids, m.RequestID)
		}
	}
	if len(ids) < 3 || ids[0] == (tracker.RequestID{}) || len(slices.Compact(ids)) != 1 {
		t.Errorf("request ids: %v", ids)
	}
	// A name that leads nowhere: the one that named it is asked again.
	all[2].follows(dead(t))
	all[1].answer(nil)
	if r, err := put(t.Context(), c, tracker.Mutation{}); err != nil || r.VersionID != all[1].addr {
		t.Fatal(r, err)
	}
}

// TestLeaderIsGone: one that is down, and one that hangs, are left for the next.
func TestLeaderIsGone(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(*testing.T) string{"down": dead, "hangs": deaf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leader := newFake(t)
			c := client(t, func(c *Config) { c.FirstTry = 200 * time.Millisecond }, gone(t), leader.addr)
			if r, err := put(t.Context(), c, tracker.Mutation{}); err != nil || r.VersionID != leader.addr {
				t.Fatal(r, err)
			}
			if _, err := c.GetObject(t.Context(), &tracker.GetObject{Bucket: 1, Key: "k"}); err != nil {
				t.Fatal(err)
			}
		})
	}
	// One that took the call and does not come back with an answer.
	slow, leader := newFake(t), newFake(t)
	slow.does(func(ctx context.Context, _ *tracker.PutObject) (*tracker.PutResult, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c := client(t, func(c *Config) { c.FirstTry = 200 * time.Millisecond }, slow.addr, leader.addr)
	if r, err := put(t.Context(), c, tracker.Mutation{}); err != nil || r.VersionID != leader.addr {
		t.Fatal(r, err)
	}
	one, two := slow.asked(), leader.asked()
	if len(one) != 1 || len(two) != 1 || one[0].RequestID != two[0].RequestID {
		t.Errorf("asked again under another id: %+v, %+v", one, two)
	}
}

// TestRefusals: a refusal is final, unless an earlier attempt may yet be judged.
func TestRefusals(t *testing.T) {
	t.Parallel()
	first, second := newFake(t), newFake(t)
	c := client(t, nil, first.addr, second.addr)
	first.answer(fmt.Errorf("key k: %w", tracker.ErrPrecondition))
	if _, err := put(t.Context(), c, tracker.Mutation{}); !errors.Is(err, tracker.ErrPrecondition) || errors.Is(err, tracker.ErrUncertain) {
		t.Errorf("a refusal: %v", err)
	}
	if a, b := first.asked(), second.asked(); len(a) != 1 || len(b) != 0 {
		t.Errorf("a refusal was asked about again: %d, %d", len(a), len(b))
	}
	first.mu.Lock()
	first.mu.held = tracker.ErrHeld
	first.mu.Unlock()
	if _, err := put(t.Context(), c, tracker.Mutation{}); !errors.Is(err, tracker.ErrHeld) {
		t.Errorf("a catalog that is held: %v", err)
	}
	first.mu.Lock()
	first.mu.held = nil
	first.mu.Unlock()
	if a, b := first.asked(), second.asked(); len(a) != 0 || len(b) != 0 {
		t.Error("a catalog that is held was asked")
	}
	// The first attempt may have been done; then the next leader refuses.
	first.answer(tracker.ErrUncertain)
	second.answer(tracker.ErrPrecondition)
	_, err := put(t.Context(), c, tracker.Mutation{})
	if !errors.Is(err, tracker.ErrUncertain) || !errors.Is(err, tracker.ErrPrecondition) {
		t.Errorf("a refusal after an attempt without an answer: %v", err)
	}
	// A read changes nothing, so there is nothing uncertain about it.
	first.answer(tracker.ErrUncertain)
	c = client(t, nil, first.addr, second.addr)
	if _, err := c.GetObject(t.Context(), &tracker.GetObject{Bucket: 1, Key: "k"}); !errors.Is(err, tracker.ErrPrecondition) {
		t.Errorf("a read: %v", err)
	}
}

// TestGivesUp: within its time a client says what it knows: that nothing was
// done where every tracker only said that it does not lead, else that it does
// not know.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	short := func(c *Config) { c.Clock, c.FirstTry, c.ReadPatience = &hurried{}, 10*time.Second, time.Minute }
	a, b := newFake(t).follows(""), newFake(t).follows("")
	c := client(t, short, a.addr, b.addr)
	if _, err := put(t.Context(), c, tracker.Mutation{}); !errors.Is(err, tracker.ErrUnavailable) || errors.Is(err, tracker.ErrUncertain) {
		t.Errorf("nobody leads: %v", err)
	}
	if len(a.asked()) == 0 || len(b.asked()) == 0 {
		t.Error("not all were asked")
	}
	// The caller's own bound holds.
	clk := &hurried{}
	c = client(t, func(c *Config) { c.Clock = clk }, a.addr)
	if _, err := put(t.Context(), c, tracker.Mutation{NotAfter: clk.Now().Add(30 * time.Second).UnixMilli()}); !errors.Is(err, tracker.ErrUnavailable) || errors.Is(err, tracker.ErrUncertain) {
		t.Errorf("nobody leads until NotAfter: %v", err)
	}
	if n := len(a.asked()); n != 2 || clk.Now().Sub(clk.first) != 40*time.Second {
		t.Errorf("asked %d times until %v after", n, clk.Now().Sub(clk.first))
	}
	c = client(t, short, dead(t))
	if _, err := put(t.Context(), c, tracker.Mutation{}); !errors.Is(err, tracker.ErrUncertain) {
		t.Errorf("nobody answers: %v", err)
	}
	if _, err := c.GetObject(t.Context(), &tracker.GetObject{Bucket: 1, Key: "k"}); !errors.Is(err, tracker.ErrUnavailable) || errors.Is(err, tracker.ErrUncertain) {
		t.Errorf("nobody answers a read: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	slow := newFake(t)
	slow.does(func(ctx context.Context, _ *tracker.PutObject) (*tracker.PutResult, error) {
		cancel() // the caller goes away while it is judged
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := put(ctx, client(t, nil, slow.addr), tracker.Mutation{}); !errors.Is(err, tracker.ErrUncertain) {
		t.Errorf("a caller that went away: %v", err)
	}
}

// hurried is a clock by which every pause takes 20 s, and nothing else any time.
type hurried struct {
	mu         sync.Mutex
	first, now time.Time
}

// Now implements clock.Clock.
func (h *hurried) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now.IsZero() {
		h.first = time.Unix(1_800_000_000, 0)
		h.now = h.first
	}
	return h.now
}

// After implements clock.Clock.
func (h *hurried) After(time.Duration) <-chan time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(20 * time.Second)
	ch := make(chan time.Time, 1)
	ch <- h.now
	return ch
}

// ahead is a clock that is off.
type ahead struct {
	clock.System
	by time.Duration
}

func (a ahead) Now() time.Time { return time.Now().Add(a.by) }

// TestTimeLeft: NotAfter crosses the network as what is left of it, so that two
// clocks are never compared, and each attempt has less.
func TestTimeLeft(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{0, time.Hour, -time.Hour} {
		f, last := newFake(t).follows(""), newFake(t)
		c := client(t, func(c *Config) { c.Clock = ahead{by: by} }, f.addr, last.addr)
		m := tracker.Mutation{NotAfter: time.Now().Add(by + 20*time.Second).UnixMilli()}
		began := time.Now()
		if _, err := put(t.Context(), c, m); err != nil {
			t.Fatal(err)
		}
		for _, got := range append(f.asked(), last.asked()...) {
			at := time.UnixMilli(got.NotAfter)
			if at.Before(began.Add(time.Second)) || at.After(time.Now().Add(20*time.Second)) {
				t.Errorf("a clock off by %v: 20 s became %v at the tracker", by, at.Sub(began))
			}
		}
	}
}

// TestLearnsBoundedly: trackers that name ever new leaders do not fill the memory.
func TestLearnsBoundedly(t *testing.T) {
	t.Parallel()
	c := client(t, nil, "a:1", "b:1")
	for i := range 1000 {
		c.mu.Lock()
		asked := c.mu.leader
		c.mu.Unlock()
		c.follow(asked, fmt.Sprintf("host%d:1", i))
	}
	if n := len(c.mu.addrs); n > 2+maxLearned {
		t.Errorf("%d addresses are kept", n)
	}
	// From one that was not kept it goes on with those that were given.
	c.follow(c.mu.leader, "")
	if c.mu.leader != "a:1" {
		t.Errorf("after an address that was not kept %s is asked", c.mu.leader)
	}
	c.follow("somebody else", "c:1")
	if c.mu.leader != "a:1" {
		t.Error("a late answer of another call changed whom to ask")
	}
}
