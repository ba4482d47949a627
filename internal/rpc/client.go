package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Client calls the services of one peer. It connects when it is first used,
// and again when it has to; it is safe for concurrent use.
type Client struct {
	addr  string
	conn  *grpc.ClientConn
	known Sentinels
}

// Dial opens an authenticated connection to a peer.
type Dial func(ctx context.Context, addr string) (net.Conn, error)

// NewClient returns a client of the peer at addr; known is which sentinels its
// answers may carry.
func NewClient(addr string, dial Dial, known Sentinels) (*Client, error) {
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()), // dial has secured it
		grpc.WithDefaultCallOptions(grpc.ForceCodec(c), grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("rpc client of %s: %w", addr, err)
	}
	return &Client{addr: addr, conn: conn, known: known}, nil
}

// Addr is the peer's address.
func (c *Client) Addr() string { return c.addr }

// Close ends the connection; calls in flight fail with ErrUnreachable.
func (c *Client) Close() error { return c.conn.Close() }

// Call calls service/method and returns the answer, the callee's error (see
// Error), or both. ErrUnreachable if no answer came: it may have been done, or
// not. ctx's own end is returned as such. Without a deadline in ctx it is
// bounded by DefaultTimeout. A peer that cannot be connected to fails at once.
func Call[Req, Resp any](ctx context.Context, c *Client, service, method string, req *Req) (*Resp, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	var out reply[Resp]
	if err := c.conn.Invoke(ctx, "/holdfast."+service+"/"+method, req, &out); err != nil {
		return nil, c.failed(ctx, service+"/"+method, err)
	}
	return out.Body, c.known.errorOf(out.Err)
}

func (c *Client) failed(ctx context.Context, method string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("%s at %s: %w", method, c.addr, errors.Join(cause, ErrUnreachable))
	}
	switch status.Code(err) {
	case codes.Unimplemented, codes.Internal, codes.ResourceExhausted, codes.InvalidArgument, codes.Unknown:
		return wrongPeer(method+" at "+c.addr, err)
	}
	return fmt.Errorf("%s at %s: %w: %s", method, c.addr, ErrUnreachable, reason(err))
}

// reason is what a person has to know of a call that got no answer: gRPC wraps
// what the dialer said, quoted, in words of its own.
func reason(err error) string {
	text := status.Convert(err).Message()
	if _, quoted, ok := strings.Cut(text, "connection error: desc = "); ok {
		if inner, err := strconv.Unquote(quoted); err == nil {
			return strings.TrimPrefix(inner, "transport: Error while dialing: ")
		}
	}
	return text
}
