// Package peer is how the roles of a cluster know each other: mutual TLS 1.3
// between them on every connection (control, Raft and shard data), with
// certificates that each role mints at its start under a CA derived from the
// cluster secret, or with the operator's own.
//
// A role has one port. What a connection carries is settled in its handshake
// (ALPN, RFC 7301), and nothing is read from a peer that did not prove itself
// in it. The package knows nothing of what is said on a connection.
//
// # Goroutines
//
// Listener: one that accepts, and one for each handshake that runs, at most
// maxHandshakes.
package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Role is what a process is in the cluster.
type Role string

// The roles.
const (
	Tracker Role = "tracker"
	Storage Role = "storage"
	Gateway Role = "gateway"
)

// serverName is the name in the certificates of a role under the CA of a
// secret. It tells which of two secrets a peer that dials has in mind.
func (r Role) serverName(s Secret) string {
	return fmt.Sprintf("%s.%x.holdfast.internal", r, s.Derive("name of the authority", 6))
}

// Credentials prove a process to the others and check who they are. They are
// immutable and safe for concurrent use.
type Credentials struct {
	certs []tls.Certificate // by authority; the first is shown where nobody asks for another
	pools []*x509.CertPool  // by authority
	any   *x509.CertPool    // all of them
	// secrets are those of the authorities where these are derived:
	// certificates carry the role's name then, and not a host's.
	secrets []Secret
}

// The certificates' validity does not depend on the clocks of the machines,
// which may be wrong (a key lives only as long as the process that minted it).
var (
	notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Derived mints credentials for a role under the CA of the secret, and of the
// one that it accepts beside.
func Derived(s Secret, role Role) (*Credentials, error) {
	c := &Credentials{any: x509.NewCertPool(), secrets: s.each()}
	for _, one := range c.secrets {
		if err := c.mint(one, role); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// mint adds a certificate under the CA of one secret.
func (c *Credentials) mint(s Secret, role Role) error {
	caKey := ed25519.NewKeyFromSeed(s.Derive("certificate authority", ed25519.SeedSize))
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "holdfast cluster"},
		NotBefore: notBefore, NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the cluster's CA: %w", err)
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return fmt.Errorf("make the cluster's CA: %w", err)
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: string(role)},
		NotBefore: notBefore, NotAfter: notAfter,
		DNSNames: []string{role.serverName(s)}, URIs: []*url.URL{{Scheme: "holdfast", Host: string(role)}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, pub, caKey)
	if err != nil {
		return fmt.Errorf("mint the certificate of a %s: %w", role, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	c.any.AddCert(ca)
	c.pools = append(c.pools, pool)
	c.certs = append(c.certs, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	return nil
}

// Given takes the operator's certificate and key, and the authorities that
// sign those of all roles, as PEM. A certificate must be for both server and
// client authentication and name the host that others reach it by.
func Given(certPEM, keyPEM, caPEM []byte) (*Credentials, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("cluster certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("cluster CA: no certificate in the file")
	}
	return &Credentials{certs: []tls.Certificate{cert}, pools: []*x509.CertPool{pool}, any: pool}, nil
}

func (c *Credentials) server(protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: c.certificate,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.any, NextProtos: protocols,
		// A resumed session would not show the peer's certificate again.
		SessionTicketsDisabled: true,
	}
}

// certificate is the one under the secret that the peer who dials names.
func (c *Credentials) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for i, s := range c.secrets {
		for _, r := range []Role{Tracker, Storage, Gateway} {
			if hello.ServerName == r.serverName(s) {
				return &c.certs[i], nil
			}
		}
	}
	return &c.certs[0], nil
}

// Dial opens a connection to a role at addr (host:port) for one protocol. The
// handshake is done when it returns; ctx bounds it. While the secret is being
// changed, a peer that does not know the new one is dialled under the old.
func (c *Credentials) Dial(ctx context.Context, addr string, role Role, protocol Protocol) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", role, addr, err)
	}
	for i := range c.certs {
		name := host
		if len(c.secrets) > 0 {
			name = role.serverName(c.secrets[i])
		}
		var conn net.Conn
		conn, err = c.dial(ctx, i, addr, name, role, protocol)
		var stranger *tls.CertificateVerificationError
		if err == nil || !errors.As(err, &stranger) {
			return conn, err
		}
	}
	return nil, fmt.Errorf("%w: the two processes have different cluster secrets, or certificates of different authorities; start both with the same", err)
}

// dial dials under one of the authorities, all of it: what is shown and what is trusted.
func (c *Credentials) dial(ctx context.Context, i int, addr, name string, role Role, protocol Protocol) (net.Conn, error) {
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: handshakeTimeout, KeepAlive: 15 * time.Second},
		Config: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.certs[i]},
			RootCAs: c.pools[i], ServerName: name, NextProtos: []string{string(protocol)},
		},
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", role, addr, err)
	}
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != string(protocol) {
		_ = conn.Close()
		return nil, fmt.Errorf("dial %s %s: it does not speak %s", role, addr, protocol)
	}
	return conn, nil
}
