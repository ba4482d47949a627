package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// tlsConfig returns the listener's TLS configuration, nil for plain http.
func (o *serverFlags) tlsConfig(log zerolog.Logger) (*tls.Config, error) {
	if o.tlsCert == "" && o.tlsKey == "" {
		return nil, nil
	}
	if o.tlsCert == "" || o.tlsKey == "" {
		return nil, errors.New("give both --tls-cert and --tls-key")
	}
	c := &certificate{certFile: o.tlsCert, keyFile: o.tlsKey, log: log}
	if _, err := c.get(nil); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// certificateAge is how long a certificate is used before its files are
// looked at again.
const certificateAge = 30 * time.Second

// certificate serves a pair of files and notices when they are replaced.
type certificate struct {
	certFile, keyFile string
	log               zerolog.Logger
	mu                struct {
		sync.Mutex
		cert     *tls.Certificate
		looked   time.Time
		modified time.Time
	}
}

// get implements tls.Config.GetCertificate. A pair that cannot be read leaves
// the one in use. The files are read under the lock, so that one handshake
// reads them and not all.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.cert != nil && time.Since(c.mu.looked) < certificateAge {
		return c.mu.cert, nil
	}
	c.mu.looked = time.Now()
	st, err := os.Stat(c.certFile)
	if err == nil && c.mu.cert != nil && st.ModTime().Equal(c.mu.modified) {
		return c.mu.cert, nil
	}
	pair, loadErr := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err = errors.Join(err, loadErr); err != nil {
		if c.mu.cert != nil {
			c.log.Error().Err(err).Msg("replaced certificate cannot be used; the one before stays in use")
			return c.mu.cert, nil
		}
		return nil, err
	}
	if c.mu.cert != nil {
		c.log.Info().Str("file", c.certFile).Msg("certificate replaced")
	}
	c.mu.cert, c.mu.modified = &pair, st.ModTime()
	return c.mu.cert, nil
}
