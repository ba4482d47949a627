package peer

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func secret(t *testing.T, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func credentials(t *testing.T, text string, r Role) *Credentials {
	t.Helper()
	c, err := Derived(secret(t, text), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// echo opens a port that answers each line with the protocol's name.
func echo(t *testing.T, c *Credentials, protocols ...Protocol) string {
	t.Helper()
	l, err := Listen("127.0.0.1:0", c, protocols...)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- l.Run() }()
	for _, p := range protocols {
		go func() {
			for {
				conn, err := l.Protocol(p).Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, string(p))
				_ = conn.Close()
			}
		}()
	}
	t.Cleanup(func() {
		_ = l.Close()
		<-ran
	})
	return l.Addr().String()
}

const one, two = "one secret of more than 32 characters", "another secret of more than 32 characters"

func TestProtocols(t *testing.T) {
	t.Parallel()
	addr := echo(t, credentials(t, one, Tracker), Control, Raft)
	client := credentials(t, " "+one+"\n", Gateway)
	for _, p := range []Protocol{Control, Raft} {
		conn, err := client.Dial(t.Context(), addr, Tracker, p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if string(got) != string(p) {
			t.Errorf("protocol %s reached %q, %v", p, got, err)
		}
		_ = conn.Close()
	}
	if conn, err := client.Dial(t.Context(), addr, Tracker, Data); err == nil {
		t.Error("a protocol that the port was not opened for was taken")
		_ = conn.Close()
	}
	if conn, err := client.Dial(t.Context(), addr, Storage, Control); err == nil {
		t.Error("a tracker passed for a storage process")
		_ = conn.Close()
	}
}

// TestStrangers knocks with everything but the cluster's own credentials.
func TestStrangers(t *testing.T) {
	t.Parallel()
	addr := echo(t, credentials(t, one, Tracker), Control)
	if conn, err := credentials(t, two, Gateway).Dial(t.Context(), addr, Tracker, Control); err == nil {
		t.Error("a client of another secret took the server for its own")
		_ = conn.Close()
	}
	stranger := credentials(t, two, Gateway)
	for name, cfg := range map[string]*tls.Config{
		"no certificate":      {InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		"of another secret":   {InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{stranger.certs[0]}},
		"old version of TLS":  {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{credentials(t, one, Gateway).certs[0]}},
		"no protocol settled": {InsecureSkipVerify: true, Certificates: []tls.Certificate{credentials(t, one, Gateway).certs[0]}},
		"an unknown protocol": {InsecureSkipVerify: true, NextProtos: []string{"smtp"}, Certificates: []tls.Certificate{credentials(t, one, Gateway).certs[0]}},
		"a protocol not open": {InsecureSkipVerify: true, NextProtos: []string{string(Raft)}, Certificates: []tls.Certificate{credentials(t, one, Gateway).certs[0]}},
	} {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		conn := tls.Client(raw, cfg)
		if got, _ := io.ReadAll(conn); len(got) != 0 {
			t.Errorf("%s: was answered %q", name, got)
		}
		_ = conn.Close()
	}
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(raw, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if got, _ := io.ReadAll(raw); strings.Contains(string(got), "h2") {
		t.Errorf("plain text was answered %q", got)
	}
}

// TestHandshakesDoNotBlock holds connections that say nothing beside one that does.
func TestHandshakesDoNotBlock(t *testing.T) {
	t.Parallel()
	addr := echo(t, credentials(t, one, Storage), Data)
	for range 64 {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // under the handshake's own bound
	defer cancel()
	conn, err := credentials(t, one, Tracker).Dial(ctx, addr, Storage, Data)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", " \n", "short", strings.Repeat(" ", 40), strings.Repeat("x", 31)} {
		if _, err := ParseSecret(bad); err == nil {
			t.Errorf("%q was taken for a secret", bad)
		}
	}
	a, b := NewSecret(), NewSecret()
	if a == b || len(a) < minSecret {
		t.Errorf("secrets %q and %q", a, b)
	}
	s := secret(t, a)
	if string(s.TicketKey()) == string(s.Derive("certificate authority", 32)) || string(s.TicketKey()) == string(secret(t, b).TicketKey()) {
		t.Error("two purposes or two secrets share a key")
	}
	if string(s.TicketKey()) != string(secret(t, a).TicketKey()) {
		t.Error("one secret gives two keys")
	}
}
