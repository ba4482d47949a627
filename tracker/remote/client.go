package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/internal/rpc"
	"holdfast/tracker"
)

// Config says which trackers a client asks. See Default.
type Config struct {
	Addrs []string // host:port of at least one tracker; those that lead are learned
	// Dial opens an authenticated connection to a tracker.
	Dial  func(ctx context.Context, addr string) (net.Conn, error)
	Clock clock.Clock
	// ReadPatience bounds how long a read waits for a tracker that leads,
	// Patience how long a change is asked for.
	ReadPatience, Patience time.Duration
	// FirstTry is how long the first attempt of a call may take before the
	// other trackers are asked; it doubles with each. A leader that is stopped
	// or cut off is found out by it.
	FirstTry time.Duration
	// MapEvery is how often Run asks for a newer cluster map.
	MapEvery time.Duration
	// OldestRead tells for how long the oldest read that is still being served
	// here has been, 0 for none: trackers keep what it may still need (SAFETY
	// B4). Nil for who serves no reads.
	OldestRead func() time.Duration
}

// Default is the usual configuration, without addresses.
func Default() Config {
	return Config{Clock: clock.System{}, ReadPatience: 15 * time.Second, Patience: 60 * time.Second, FirstTry: 1500 * time.Millisecond, MapEvery: time.Second}
}

// Validate names the first field that is out of bounds.
func (c *Config) Validate() error {
	switch {
	case len(c.Addrs) == 0:
		return errors.New("no tracker is named: give --trackers HOST:PORT,HOST:PORT")
	case c.Dial == nil || c.Clock == nil:
		return errors.New("Dial and Clock must be set")
	case c.FirstTry <= 0 || c.ReadPatience < c.FirstTry || c.Patience < c.FirstTry || c.MapEvery <= 0:
		return fmt.Errorf("FirstTry %v, ReadPatience %v, Patience %v, MapEvery %v: want 0 < FirstTry <= both, MapEvery over 0", c.FirstTry, c.ReadPatience, c.Patience, c.MapEvery)
	}
	for _, a := range c.Addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("tracker address %q: %w", a, err)
		}
	}
	return nil
}

// Client asks the trackers of a cluster. It implements tracker.Catalog,
// tracker.Scheduler and tracker.Administration; it is safe for concurrent use.
type Client struct {
	cfg   Config
	known rpc.Sentinels
	cache atomic.Pointer[cachedMap]
	self  [16]byte // made anew at each start

	mu struct {
		sync.Mutex
		peers  map[string]*rpc.Client
		addrs  []string // given ones and those learned, in the order in which they are tried
		leader string   // who is asked next
		closed bool
	}
}

var _ Tracker = (*Client)(nil)

// maxLearned bounds how many addresses are kept beside the given ones.
const maxLearned = 16

// New returns a client. It connects when it is first used.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("trackers: %w", err)
	}
	c := &Client{cfg: cfg, known: Sentinels()}
	c.mu.peers = map[string]*rpc.Client{}
	c.mu.addrs = slices.Clone(cfg.Addrs)
	c.mu.leader = cfg.Addrs[0]
	_, _ = rand.Read(c.self[:])
	return c, nil
}

// Close ends all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.closed = true
	var errs []error
	for _, p := range c.mu.peers {
		errs = append(errs, p.Close())
	}
	clear(c.mu.peers)
	return errors.Join(errs...)
}

// peer returns the connection to whom to ask next.
func (c *Client) peer() (*rpc.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, fmt.Errorf("%w: closed", tracker.ErrUnavailable)
	}
	if p := c.mu.peers[c.mu.leader]; p != nil {
		return p, nil
	}
	p, err := rpc.NewClient(c.mu.leader, c.cfg.Dial, c.known)
	if err == nil {
		c.mu.peers[c.mu.leader] = p
	}
	return p, err
}

// follow asks another tracker from now on, after the one at asked did not
// serve: the one that it named, or the next.
func (c *Client) follow(asked, hint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.leader != asked {
		return // somebody else has moved on already
	}
	if hint != "" && hint != asked {
		if !slices.Contains(c.mu.addrs, hint) && len(c.mu.addrs) < len(c.cfg.Addrs)+maxLearned {
			c.mu.addrs = append(c.mu.addrs, hint)
		}
		c.mu.leader = hint
		return
	}
	i := slices.Index(c.mu.addrs, asked)
	c.mu.leader = c.mu.addrs[(i+1)%len(c.mu.addrs)]
}

// elsewhere tells whether a call that failed with err may do better at
// another tracker, or later; maybe says that it may have been done all the same.
func elsewhere(err error) (again, maybe bool) {
	switch {
	case errors.Is(err, tracker.ErrExpired):
		return false, false
	case errors.Is(err, tracker.ErrUncertain), errors.Is(err, rpc.ErrUnreachable):
		return true, true
	case errors.Is(err, tracker.ErrUnavailable), fault.KindOf(err) == fault.NotLeader:
		return true, false
	}
	k := fault.KindOf(err)
	return k == fault.Deadline || k == fault.Canceled, true
}

const (
	firstPause   = 10 * time.Millisecond
	longestPause = 250 * time.Millisecond
	longestTry   = 16 * time.Second
)

// call asks until there is an answer, a refusal, or no time left. prepare sets
// the request up for an attempt; nil is for a call that changes nothing, of
// which no attempt leaves anything uncertain.
func call[Req, Resp any](ctx context.Context, c *Client, service, method string, patience time.Duration, req *Req, prepare func(left time.Duration)) (*Resp, error) {
	until := c.cfg.Clock.Now().Add(patience)
	uncertain := false
	try, pause := c.cfg.FirstTry, firstPause
	var last error
	for {
		left := until.Sub(c.cfg.Clock.Now())
		if left <= 0 && last != nil {
			return nil, gaveUp(uncertain, last)
		}
		p, err := c.peer()
		if err != nil {
			return nil, err
		}
		if prepare != nil {
			prepare(left)
		}
		out, err := attempt[Req, Resp](ctx, p, service, method, min(try, max(left, 0)), req)
		if err == nil {
			return out, nil
		}
		again, maybe := elsewhere(err)
		if !again && uncertain {
			// The refusal is of this attempt; an earlier one may still be judged.
			return out, fmt.Errorf("%w (last: %w)", tracker.ErrUncertain, err)
		}
		if !again {
			return out, err
		}
		uncertain = uncertain || maybe && prepare != nil
		last = err
		var h rpc.Hinter
		hint := ""
		if errors.As(err, &h) {
			hint = h.Hint()
		}
		c.follow(p.Addr(), hint)
		if errors.Is(err, context.DeadlineExceeded) {
			try = min(2*try, longestTry)
		}
		if cause := ctx.Err(); cause != nil {
			return nil, gaveUp(uncertain, fmt.Errorf("%w: %v", cause, err))
		}
		if c.cfg.Clock.Now().Add(pause).After(until) {
			return nil, gaveUp(uncertain, err)
		}
		if hint == "" {
			if err := c.wait(ctx, pause); err != nil {
				return nil, gaveUp(uncertain, err)
			}
			pause = min(2*pause, longestPause)
		}
	}
}

func attempt[Req, Resp any](ctx context.Context, p *rpc.Client, service, method string, bound time.Duration, req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return rpc.Call[Req, Resp](ctx, p, service, method, req)
}

// gaveUp says whether an attempt may have been done, and why there is no answer.
func gaveUp(uncertain bool, err error) error {
	switch {
	case uncertain && !errors.Is(err, tracker.ErrUncertain):
		return fmt.Errorf("%w (last: %w)", tracker.ErrUncertain, err)
	case uncertain, errors.Is(err, tracker.ErrUnavailable):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no tracker answers (last: %w)", tracker.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: no tracker answers (last: %v)", tracker.ErrUnavailable, err)
}

func (c *Client) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.cfg.Clock.After(d):
		return nil
	}
}

// read asks for something that changes nothing, so that an answer that was
// lost is no matter.
func read[Req, Resp any](ctx context.Context, c *Client, service, method string, req *Req) (*Resp, error) {
	return call[Req, Resp](ctx, c, service, method, c.cfg.ReadPatience, req, nil)
}

// mutating is a request that changes the catalog.
type mutating[Req any] interface {
	*Req
	Stamp() *tracker.Mutation
}

// mutate asks for a change. The caller's request is not written to.
func mutate[Req, Resp any, P mutating[Req]](ctx context.Context, c *Client, method string, r *Req) (*Resp, error) {
	req := *r
	m := P(&req).Stamp()
	if m.RequestID == (tracker.RequestID{}) {
		_, _ = rand.Read(m.RequestID[:])
	}
	patience := c.cfg.Patience
	if m.NotAfter != 0 {
		patience = time.UnixMilli(m.NotAfter).Sub(c.cfg.Clock.Now())
	}
	return call[Req, Resp](ctx, c, catalogService, method, patience, &req, func(left time.Duration) {
		// The wire carries what is left; at least so much that the command is
		// judged, and not refused because two clocks differ by a millisecond.
		m.NotAfter = max(left.Milliseconds(), 1)
	})
}
