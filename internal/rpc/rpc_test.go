package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"holdfast/internal/fault"
)

var errTaken = fault.New(fault.Exists, "test.taken", "taken")

type inner struct{ Key, Note string }

type question struct {
	inner
	Numbers []int64
	Raw     []byte
	At      *int64
	Fault   Fault
}

type answer struct {
	Question *question
	Left     time.Duration
}

type hinted struct{ error }

func (hinted) Hint() string    { return "try 10.0.0.1:9100" }
func (h hinted) Unwrap() error { return h.error }

// start serves one service and returns a client of it.
func start(t *testing.T) (*Client, *Server) {
	t.Helper()
	s := NewService("Test", zerolog.Nop())
	Handle(s, "Echo", func(ctx context.Context, q *question) (*answer, error) {
		d, _ := ctx.Deadline()
		return &answer{q, time.Until(d)}, nil
	})
	Handle(s, "Fail", func(_ context.Context, q *question) (*answer, error) {
		return &answer{Question: q}, fmt.Errorf("put %s: %w", q.Key, hinted{errTaken})
	})
	Handle(s, "Foreign", func(context.Context, *question) (*answer, error) {
		return nil, fault.New(fault.NoSpace, "of.a-later-release", "no room")
	})
	Handle(s, "Panic", func(context.Context, *question) (*answer, error) { panic("secret") })
	Handle(s, "Hang", func(ctx context.Context, _ *question) (*answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	srv, err := NewServer(s)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	c, err := NewClient(l.Addr().String(), func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}, Known([]*fault.Error{errTaken}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		srv.Close(time.Second)
		<-done
	})
	return c, srv
}

func TestCall(t *testing.T) {
	t.Parallel()
	c, _ := start(t)
	at := int64(-7)
	q := &question{inner: inner{Key: "\xff\x00 not text", Note: "a"}, Numbers: []int64{1, -1 << 62}, Raw: []byte{0}, At: &at, Fault: FaultOf(errTaken)}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	a, err := Call[question, answer](ctx, c, "Test", "Echo", q)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(q, a.Question, cmp.AllowUnexported(question{})); d != "" {
		t.Error(d)
	}
	if !errors.Is(a.Question.Fault.Err(c.known), errTaken) {
		t.Error("an error as data lost its sentinel")
	}
	if a.Left <= 0 || a.Left > 3*time.Second {
		t.Errorf("the caller's deadline of 3s came as %v", a.Left)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	c, _ := start(t)
	a, err := Call[question, answer](t.Context(), c, "Test", "Fail", &question{inner: inner{Key: "k"}})
	var h Hinter
	if !errors.Is(err, errTaken) || fault.KindOf(err) != fault.Exists || !errors.As(err, &h) || h.Hint() == "" || !strings.Contains(err.Error(), "put k") {
		t.Errorf("a sentinel came as %v", err)
	}
	if a == nil || a.Question.Key != "k" {
		t.Error("the answer beside the error is lost")
	}
	if _, err = Call[question, answer](t.Context(), c, "Test", "Foreign", &question{}); fault.KindOf(err) != fault.NoSpace || errors.Is(err, ErrUnreachable) {
		t.Errorf("a sentinel that is not known came as %v", err)
	}
	if _, err = Call[question, answer](t.Context(), c, "Test", "Panic", &question{}); fault.KindOf(err) != fault.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("a panic came as %v", err)
	}
	if _, err = Call[question, answer](t.Context(), c, "Test", "Nothing", &question{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("an unknown method came as %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = Call[question, answer](ctx, c, "Test", "Hang", &question{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline came as %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	c, srv := start(t)
	if _, err := Call[question, answer](t.Context(), c, "Test", "Echo", &question{}); err != nil {
		t.Fatal(err)
	}
	srv.Close(0)
	began := time.Now()
	if _, err := Call[question, answer](t.Context(), c, "Test", "Echo", &question{}); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "desc =") {
		t.Errorf("a peer that went away came as %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v to say that the peer is gone", d)
	}
}

// FuzzDecode feeds a message as a peer could send it.
func FuzzDecode(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	seed, _ := c.Marshal(&question{inner: inner{Key: "k"}, Numbers: []int64{1}})
	f.Add(seed)
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var q question
		if c.Unmarshal(data, &q) != nil {
			return
		}
		again, err := c.Marshal(&q)
		if err != nil {
			t.Fatal(err)
		}
		var p question
		if err := c.Unmarshal(again, &p); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	s := NewService("Test", zerolog.Nop())
	Handle(s, "Echo", func(_ context.Context, q *question) (*question, error) { return q, nil })
	srv, err := NewServer(s)
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close(0)
	c, err := NewClient(l.Addr().String(), func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	q := &question{inner: inner{Key: strings.Repeat("k", 60)}, Raw: make([]byte, 400)}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := Call[question, question](context.Background(), c, "Test", "Echo", q); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
