package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"holdfast/erasure/frame"
	"holdfast/internal/rpc"
	"holdfast/storage"
)

// Server serves the nodes of a process. It is safe for concurrent use.
type Server struct {
	nodes storage.Nodes
	keys  [][]byte
	log   zerolog.Logger
	runs  sync.Pool // *[maxRun]byte

	sent, received atomic.Uint64
}

// NewServer returns a server of the nodes that nodes knows. Tickets must bear
// a MAC under one of the keys.
func NewServer(nodes storage.Nodes, keys [][]byte, log zerolog.Logger) *Server {
	s := &Server{nodes: nodes, keys: keys, log: log}
	s.runs.New = func() any { return new([maxRun]byte) }
	return s
}

// Traffic is the bytes of shards that were sent and received since start.
func (s *Server) Traffic() (sent, received uint64) { return s.sent.Load(), s.received.Load() }

// HTTPServer returns a server for the data listener.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{Handler: s, ReadHeaderTimeout: stall, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	node, id, err := parsePath(r.URL.Path)
	var api storage.Shards
	if err == nil {
		api, err = s.nodes.Shards(node)
	}
	if err == nil {
		switch r.Method {
		case http.MethodPut:
			err = s.put(w, r, api, id)
		case http.MethodGet:
			err = s.get(w, r, api, id)
		default:
			err = errPath
		}
	}
	if err != nil {
		refuse(w, err)
	}
}

// ticket reads and checks a ticket's MAC; what it allows is the node's to say.
func (s *Server) ticket(text string) (*storage.Ticket, error) {
	if text == "" {
		return nil, storage.ErrTicket
	}
	t, err := parseTicket(text)
	if err != nil {
		return nil, err
	}
	if !t.Signed(s.keys...) {
		return nil, fmt.Errorf("ticket for %s is not the tracker's: %w", t.Blob, storage.ErrTicket)
	}
	return t, nil
}

// epochs is a node that can be told its epoch.
type epochs interface{ RaiseEpoch(uint32) }

// follow lets a node know its epoch from a ticket that the tracker has signed:
// after a change of its state a ticket may arrive before the next heartbeat is
// answered.
func follow(api storage.Shards, t *storage.Ticket) {
	n, ok := api.(epochs)
	if !ok {
		return
	}
	for _, g := range t.Nodes {
		if g.Node == api.Node() {
			n.RaiseEpoch(g.Epoch)
		}
	}
}

// incarnations is a node that remembers whose shards it keeps.
type incarnations interface{ CheckIncarnation(of string) error }

// mayDrop refuses to drop shards for another catalog than the node knows. The
// caller says in the call which it is, since the node may not have heard yet.
func mayDrop(api storage.Shards, of string) error {
	if n, ok := api.(incarnations); ok {
		return n.CheckIncarnation(of)
	}
	return nil
}

// put takes a shard: frames, then the seal in the trailer.
func (s *Server) put(w http.ResponseWriter, r *http.Request, api storage.Shards, id storage.ShardID) error {
	t, err := s.ticket(r.Header.Get(ticketHeader))
	if err != nil {
		return err
	}
	follow(api, t)
	size, err := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
	if err != nil || size < -1 {
		return errPath
	}
	sw, err := api.Create(r.Context(), t, id, size)
	if err != nil {
		return err
	}
	if err := s.take(w, r, sw); err != nil {
		sw.Abort()
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) take(w http.ResponseWriter, r *http.Request, sw storage.ShardWriter) error {
	if err := s.frames(w, r, sw); err != nil {
		return err
	}
	if text := r.Trailer.Get(renewTrailer); text != "" {
		t, err := s.ticket(text)
		if err != nil {
			return err
		}
		renewer, ok := sw.(storage.Renewer)
		if !ok {
			return storage.ErrTicket
		}
		if err := renewer.Renew(t); err != nil {
			return err
		}
	}
	text := r.Trailer.Get(sealTrailer)
	if text == abort {
		sw.Abort()
		return nil // its sender gave it up, and is answered
	}
	seal, err := parseSeal(text)
	if err != nil {
		return err
	}
	return sw.Seal(r.Context(), seal)
}

// frames hands the body to the node in runs of whole frames.
func (s *Server) frames(w http.ResponseWriter, r *http.Request, sw storage.ShardWriter) error {
	run := s.runs.Get().(*[maxRun]byte)
	defer s.runs.Put(run)
	c := http.NewResponseController(w)
	have := 0
	for {
		if err := c.SetReadDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		n, err := r.Body.Read(run[have:])
		have += n
		s.received.Add(uint64(n))
		over := errors.Is(err, io.EOF)
		if err != nil && !over {
			return fmt.Errorf("body was cut: %w", err)
		}
		whole := have / frame.Stride * frame.Stride
		if over {
			whole = have
		}
		if over || whole == maxRun || whole >= smallRun {
			if whole > 0 {
				rest := append([]byte(nil), run[whole:have]...) // the node may write to what it is given
				if _, err := sw.Write(run[:whole]); err != nil {
					return err
				}
				have = copy(run[:], rest)
			}
		}
		if over {
			return nil
		}
	}
}

// smallRun is how many bytes are gathered before the node is called.
const smallRun = 4 * frame.Stride

// get sends frames [first, first+n) of a shard.
func (s *Server) get(w http.ResponseWriter, r *http.Request, api storage.Shards, id storage.ShardID) error {
	q := r.URL.Query()
	first, e1 := strconv.ParseInt(q.Get("first"), 10, 64)
	n, e2 := strconv.ParseInt(q.Get("n"), 10, 64)
	if e1 != nil || e2 != nil || first < 0 {
		return errPath
	}
	info, err := api.Stat(r.Context(), id)
	if err != nil {
		return err
	}
	rd, err := api.Open(r.Context(), id, first, n)
	if err != nil {
		return err
	}
	defer rd.Close()
	w.Header().Set("Content-Length", strconv.FormatInt(extent(info.Seal, first, n), 10))
	w.WriteHeader(http.StatusOK)
	if err := s.send(w, rd); err != nil {
		// The length was promised: the connection is cut, and the reader sees it.
		s.log.Warn().Err(err).Stringer("shard", id).Uint32("node", uint32(api.Node())).Msg("shard could not be sent to its end")
		panic(http.ErrAbortHandler)
	}
	return nil
}

// extent is the stored bytes of frames [first, first+n).
func extent(s storage.Seal, first, n int64) int64 {
	end := s.Frames
	if n >= 0 && n < end-first {
		end = first + n
	}
	return max(0, min(end*frame.Stride, s.Length)-first*frame.Stride)
}

func (s *Server) send(w http.ResponseWriter, rd storage.ShardReader) error {
	run := s.runs.Get().(*[maxRun]byte)
	defer s.runs.Put(run)
	c := http.NewResponseController(w)
	for {
		n, err := rd.ReadFrames(run[:])
		if n > 0 {
			if err := c.SetWriteDeadline(time.Now().Add(sendStall)); err != nil {
				return err
			}
			if _, err := w.Write(run[:n]); err != nil {
				return err
			}
			s.sent.Add(uint64(n))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// on makes a handler of a call on the node that it names.
func on[Req, Resp any](s *Server, to *rpc.Service, method string, node func(*Req) storage.NodeID, f func(context.Context, storage.Shards, *Req) (*Resp, error)) {
	rpc.Handle(to, method, func(ctx context.Context, r *Req) (*Resp, error) {
		api, err := s.nodes.Shards(node(r))
		if err != nil {
			return nil, err
		}
		return f(ctx, api, r)
	})
}

// Service returns the calls of the nodes.
func (s *Server) Service() *rpc.Service {
	to := rpc.NewService(service, s.log)
	on(s, to, "Stat", func(r *idRequest) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, r *idRequest) (*storage.ShardInfo, error) {
		i, err := n.Stat(ctx, r.ID)
		return &i, err
	})
	for method, f := range map[string]func(context.Context, storage.Shards, *idsRequest) error{
		"Delete": func(ctx context.Context, n storage.Shards, r *idsRequest) error {
			if err := mayDrop(n, r.Incarnation); err != nil {
				return err
			}
			return n.Delete(ctx, r.IDs)
		},
		"Disown": func(ctx context.Context, n storage.Shards, r *idsRequest) error {
			if err := mayDrop(n, r.Incarnation); err != nil {
				return err
			}
			return n.Disown(ctx, r.IDs, time.UnixMilli(r.Now))
		},
		"Revive": func(ctx context.Context, n storage.Shards, r *idsRequest) error { return n.Revive(ctx, r.IDs) },
	} {
		on(s, to, method, func(r *idsRequest) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, r *idsRequest) (*none, error) {
			return &none{}, f(ctx, n, r)
		})
	}
	on(s, to, "Digest", func(r *rangeRequest) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, r *rangeRequest) (*storage.Digest, error) {
		d, err := n.Digest(ctx, r.Range)
		return &d, err
	})
	on(s, to, "List", func(r *rangeRequest) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, r *rangeRequest) (*listAnswer, error) {
		l, err := n.List(ctx, r.Range, r.After, r.Limit)
		return &listAnswer{l}, err
	})
	on(s, to, "Rebuild", func(r *rebuildRequest) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, r *rebuildRequest) (*storage.Seal, error) {
		if !r.Rebuild.Ticket.Signed(s.keys...) {
			return nil, storage.ErrTicket
		}
		follow(n, &r.Rebuild.Ticket)
		seal, err := n.Rebuild(ctx, &r.Rebuild)
		return &seal, err
	})
	on(s, to, "Adopt", func(r *adoptRequest) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, r *adoptRequest) (*none, error) {
		return &none{}, n.Adopt(ctx, r.Incarnation)
	})
	on(s, to, "Status", func(r *call) storage.NodeID { return r.Node }, func(ctx context.Context, n storage.Shards, _ *call) (*storage.Status, error) {
		st, err := n.Status(ctx)
		st.SentBytes, st.ReceivedBytes = s.Traffic()
		return &st, err
	})
	return to
}
