package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"
)

// A connection of Raft's begins with a greeting of who dials and whom it
// means, because an address may come to stand for another server: one whose
// disk was replaced does not know what the old one promised and voted, so it
// must not be taken for it. Numbers are little-endian.
//
//	7    "HFRAFT" and the version, 1
//	8    recovery number of the dialer's group, see recovery.go
//	2+n  cluster     each text with its length before it
//	2+n  server that dials
//	2+n  server that is meant
//
// The answer, before anything else is sent:
//
//	1    verdict
//	8    recovery number of the group here
const greeting = "HFRAFT\x01"

const (
	welcome byte = iota + 1
	otherCluster
	otherServer
	otherRecovery
	notNow
)

var verdicts = map[byte]string{
	otherCluster: "it belongs to another cluster", otherServer: "another server is there",
	otherRecovery: "one of us was left out when the group was recovered", notNow: "it does not serve now",
}

// network is the connections under Raft's transport. It implements
// raft.StreamLayer; addresses to dial are those of target.
//
// It can be shut and opened again: while it is shut it closes what there is
// and refuses the rest, so that to the others this replica is gone.
type network struct {
	cluster  string
	addr     raftAddr
	listener net.Listener
	dialer   func(ctx context.Context, addr string) (net.Conn, error)
	book     map[string]string // addresses known beforehand, by tracker ID
	recovery func(theirs uint64)
	log      zerolog.Logger

	greeted chan net.Conn
	slots   chan struct{} // bounds greetings at once
	done    chan struct{}
	wg      sync.WaitGroup

	mu struct {
		sync.Mutex
		closed   bool
		shut     bool
		server   string // who listens, "" while nobody does
		recovery uint64
		links    map[*link]struct{}
	}
}

type raftAddr string

func (raftAddr) Network() string  { return "tcp" }
func (a raftAddr) String() string { return string(a) }

// link is a connection that the network can close.
type link struct {
	net.Conn
	n *network
}

func (l *link) Close() error {
	l.n.mu.Lock()
	delete(l.n.mu.links, l)
	l.n.mu.Unlock()
	return l.Conn.Close()
}

var errShut = errors.New("consensus: this replica's network is shut")

// newNetwork starts to take connections. recovered is told of a group that was
// recovered more often than this one.
func newNetwork(cfg *ReplicaConfig, recovered func(theirs uint64)) *network {
	n := &network{
		cluster: cfg.ClusterID, addr: raftAddr(cfg.Advertise), listener: cfg.Listener, dialer: cfg.Dial, recovery: recovered, log: cfg.Logger,
		book: make(map[string]string), greeted: make(chan net.Conn), slots: make(chan struct{}, 64), done: make(chan struct{}),
	}
	for _, m := range cfg.Members {
		n.book[m.ID] = m.Addr
	}
	n.mu.links = make(map[*link]struct{})
	n.wg.Go(n.accept)
	return n
}

// serve says who listens here.
func (n *network) serve(server string, recovery uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.server, n.mu.recovery = server, recovery
}

// setShut shuts the network or opens it again.
func (n *network) setShut(shut bool) {
	n.mu.Lock()
	n.mu.shut = shut
	links := n.mu.links
	if shut {
		n.mu.links = make(map[*link]struct{})
	}
	n.mu.Unlock()
	if shut {
		for l := range links {
			_ = l.Conn.Close()
		}
	}
}

func (n *network) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			select {
			case <-n.done:
				return
			case <-time.After(100 * time.Millisecond):
				n.log.Warn().Err(err).Msg("cannot take connections from other copies of the catalog")
				continue
			}
		}
		select {
		case n.slots <- struct{}{}:
		case <-n.done:
			_ = c.Close()
			return
		}
		n.wg.Go(func() {
			defer func() { <-n.slots }()
			if err := n.greet(c); err != nil {
				_ = c.Close()
				n.log.Debug().Err(err).Msg("connection of another copy of the catalog was refused")
			}
		})
	}
}

// greetingTime bounds a greeting.
const greetingTime = 5 * time.Second

// greet answers a dialer and hands its connection to Raft.
func (n *network) greet(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(greetingTime)); err != nil {
		return err
	}
	stop := n.closeWith(c)
	defer stop()
	recovery, cluster, from, to, err := readGreeting(c)
	if err != nil {
		return err
	}
	l := &link{c, n}
	n.mu.Lock()
	own, verdict := n.mu.recovery, welcome
	switch {
	case cluster != n.cluster:
		verdict = otherCluster
	case n.mu.server == "" || n.mu.shut || n.mu.closed:
		verdict = notNow
	case to != n.mu.server:
		verdict = otherServer
	case recovery != own:
		verdict = otherRecovery
	default:
		n.mu.links[l] = struct{}{}
	}
	n.mu.Unlock()
	_, err = c.Write(binary.LittleEndian.AppendUint64([]byte{verdict}, own))
	if verdict == otherRecovery && outranks(recovery, own) {
		n.recovery(recovery)
	}
	if verdict != welcome || err != nil {
		_ = l.Close()
		return errors.Join(fmt.Errorf("consensus: connection from %s to %s: %s", from, to, verdicts[verdict]), err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		_ = l.Close()
		return err
	}
	select {
	case n.greeted <- l:
		return nil
	case <-n.done:
		return l.Close()
	}
}

// closeWith closes c if the network is closed before stop is called.
func (n *network) closeWith(c net.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	n.wg.Go(func() {
		select {
		case <-n.done:
			_ = c.Close()
		case <-ctx.Done():
		}
	})
	return cancel
}

// target is the address by which Raft's transport dials a server.
func target(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + string(addr))
}

// Dial implements raft.StreamLayer for addresses made by target.
func (n *network) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	at := strings.LastIndexByte(string(to), '@')
	if at < 0 {
		return nil, fmt.Errorf("consensus: no server is named in %q", to)
	}
	server, addr := string(to[:at]), string(to[at+1:])
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := n.dial(ctx, server, addr)
	if other := n.book[voterOf(raft.ServerID(server))]; err != nil && other != "" && other != addr && ctx.Err() == nil {
		var err2 error
		if c, err2 = n.dial(ctx, server, other); err2 != nil {
			return nil, errors.Join(err, err2)
		}
		return c, nil
	}
	return c, err
}

func (n *network) dial(ctx context.Context, server, addr string) (net.Conn, error) {
	n.mu.Lock()
	from, recovery, shut := n.mu.server, n.mu.recovery, n.mu.shut || n.mu.closed
	n.mu.Unlock()
	if shut {
		return nil, errShut
	}
	c, err := n.dialer(ctx, addr)
	if err != nil {
		return nil, err
	}
	if d, ok := ctx.Deadline(); ok {
		err = c.SetDeadline(d)
	}
	var answer [9]byte
	if err == nil {
		_, err = c.Write(appendGreeting(nil, recovery, n.cluster, from, server))
	}
	if err == nil {
		_, err = io.ReadFull(c, answer[:])
	}
	if err == nil && answer[0] != welcome {
		if theirs := binary.LittleEndian.Uint64(answer[1:]); answer[0] == otherRecovery && outranks(theirs, recovery) {
			n.recovery(theirs)
		}
		err = fmt.Errorf("consensus: %s at %s refuses the connection: %s", server, addr, verdicts[answer[0]])
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	l := &link{c, n}
	if err == nil {
		n.mu.Lock()
		if n.mu.shut || n.mu.closed {
			err = errShut
		} else {
			n.mu.links[l] = struct{}{}
		}
		n.mu.Unlock()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return l, nil
}

// Accept implements net.Listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.greeted:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener: what the others know this replica by.
func (n *network) Addr() net.Addr { return n.addr }

// Close implements net.Listener; it closes every connection.
func (n *network) Close() error {
	n.mu.Lock()
	closed := n.mu.closed
	n.mu.closed = true
	n.mu.Unlock()
	if closed {
		return nil
	}
	close(n.done)
	err := n.listener.Close()
	n.setShut(true)
	n.wg.Wait()
	return err
}

func appendGreeting(b []byte, recovery uint64, texts ...string) []byte {
	b = binary.LittleEndian.AppendUint64(append(b, greeting...), recovery)
	for _, s := range texts {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

func readGreeting(r io.Reader) (recovery uint64, cluster, from, to string, err error) {
	head := make([]byte, len(greeting)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, "", "", "", err
	}
	if string(head[:len(greeting)]) != greeting {
		return 0, "", "", "", errors.New("consensus: malformed greeting")
	}
	var texts [3]string
	for i := range texts {
		var n [2]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return 0, "", "", "", err
		}
		b := make([]byte, binary.LittleEndian.Uint16(n[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			return 0, "", "", "", err
		}
		texts[i] = string(b)
	}
	return binary.LittleEndian.Uint64(head[len(greeting):]), texts[0], texts[1], texts[2], nil
}
