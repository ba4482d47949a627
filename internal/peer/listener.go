package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Protocol is what a connection carries, as its ALPN name.
type Protocol string

// The protocols between roles.
const (
	Control Protocol = "h2"              // gRPC
	Data    Protocol = "http/1.1"        // shards and checkpoints
	Raft    Protocol = "holdfast-raft/1" // Raft's own transport
)

const (
	handshakeTimeout = 5 * time.Second
	maxHandshakes    = 256
)

// Listener is the one port of a role. Each protocol it was opened for is a
// net.Listener of its own; a connection reaches it once the peer has proved
// itself.
type Listener struct {
	tcp   net.Listener
	tls   *tls.Config
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	by    map[string]*protocolListener
}

// Listen opens addr (host:port) for the protocols, each of which must be taken
// by Accept on Protocol's listener. Run must be called to serve.
func Listen(addr string, c *Credentials, protocols ...Protocol) (*Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return NewListener(tcp, c, protocols...), nil
}

// NewListener is Listen on a listener that is open already.
func NewListener(tcp net.Listener, c *Credentials, protocols ...Protocol) *Listener {
	l := &Listener{tcp: tcp, slots: make(chan struct{}, maxHandshakes), done: make(chan struct{}), by: map[string]*protocolListener{}}
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = string(p)
		l.by[names[i]] = &protocolListener{l: l, conns: make(chan net.Conn), done: make(chan struct{})}
	}
	l.tls = c.server(names)
	return l
}

// Addr is where the port is open.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Protocol returns the listener of one of the protocols the port was opened for.
func (l *Listener) Protocol(p Protocol) net.Listener { return l.by[string(p)] }

// Run accepts until Close, and returns once no handshake runs. An error of the
// port itself ends it; one of a connection does not.
func (l *Listener) Run() error {
	defer l.wg.Wait()
	pause := 5 * time.Millisecond
	for {
		conn, err := l.tcp.Accept()
		if err != nil {
			if l.closed() || errors.Is(err, net.ErrClosed) {
				return net.ErrClosed
			}
			// Out of descriptors, for instance: it passes.
			select {
			case <-l.done:
				return net.ErrClosed
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		select {
		case l.slots <- struct{}{}:
		case <-l.done:
			_ = conn.Close()
			return net.ErrClosed
		}
		l.wg.Go(func() { l.hand(conn) })
	}
}

// hand does a connection's handshake and hands it to its protocol's listener.
func (l *Listener) hand(raw net.Conn) {
	conn := tls.Server(raw, l.tls)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })
	err := conn.HandshakeContext(ctx)
	stop()
	cancel()
	<-l.slots
	p := l.by[conn.ConnectionState().NegotiatedProtocol]
	if err != nil || p == nil {
		_ = raw.Close()
		return
	}
	_ = raw.SetDeadline(time.Time{})
	select {
	case p.conns <- conn:
	case <-p.done:
		_ = conn.Close()
	case <-l.done:
		_ = conn.Close()
	}
}

func (l *Listener) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Close closes the port. Connections that were handed out are their takers'.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		err = l.tcp.Close()
	})
	return err
}

// protocolListener is the net.Listener of one protocol. Closing it refuses
// that protocol's connections and leaves the port open to the others.
type protocolListener struct {
	l     *Listener
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (p *protocolListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-p.l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *protocolListener) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (p *protocolListener) Addr() net.Addr { return p.l.Addr() }
