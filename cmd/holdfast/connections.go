package main

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// connections bounds how many connections are open at once. A file that cannot
// be opened because clients hold all descriptors stops a copy of the catalog
// for good, so some are kept for files. Over the bound new connections wait in
// the kernel's queue until others are closed.
type connections struct {
	net.Listener
	slots chan struct{}
	done  chan struct{} // closed with the listener
	once  sync.Once
	told  time.Time // when the log said last that others wait; Accept's
	log   zerolog.Logger
}

// filesPerDir is how many files a directory's stores and its node open at most:
// tables of three databases, shards, and what is being written.
const filesPerDir = 2000

// maxConnections returns how many of a process's descriptors connections may
// have: what the files of its directories leave, but half of them at least. It
// is 0, which is no bound, where the number is not known.
func maxConnections(descriptors uint64, dirs int) int {
	const unlimited = 1 << 30
	n := int(min(descriptors, unlimited))
	return max(n/2, n-dirs*filesPerDir)
}

// boundConnections makes h accept at most n connections at once from ln; n of 0
// is no bound. It takes h's ConnState.
func boundConnections(h *http.Server, ln net.Listener, n int, log zerolog.Logger) net.Listener {
	if n <= 0 {
		return ln
	}
	c := &connections{Listener: ln, slots: make(chan struct{}, n), done: make(chan struct{}), log: log}
	h.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed || s == http.StateHijacked {
			<-c.slots
		}
	}
	return c
}

// Close implements net.Listener. It ends an Accept that waits for a slot.
func (c *connections) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Listener.Close()
}

// warn says, at most once a minute, that connections wait.
func (c *connections) warn() {
	if now := time.Now(); now.Sub(c.told) > time.Minute {
		c.told = now
		c.log.Warn().Int("connections", cap(c.slots)).Msg("as many connections as the limit of open files allows; others wait")
	}
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.warn()
		select {
		case c.slots <- struct{}{}:
		case <-c.done:
			return nil, net.ErrClosed
		}
	}
	conn, err := c.Listener.Accept()
	if err != nil {
		<-c.slots
	}
	return conn, err
}
