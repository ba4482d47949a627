package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// pair writes a self-signed certificate and its key.
func pair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertificateReplaced: a new pair is used without a restart, a broken one
// is not and is logged.
func TestCertificateReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	c := &certificate{certFile: filepath.Join(dir, "c"), keyFile: filepath.Join(dir, "k"), log: zerolog.New(&log)}
	serial := func() int64 {
		c.mu.looked = time.Time{} // as if the time to look again had come
		got, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	pair(t, c.certFile, c.keyFile, 1)
	if n := serial(); n != 1 {
		t.Fatalf("certificate %d", n)
	}
	pair(t, c.certFile, c.keyFile, 2)
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(c.certFile, later, later); err != nil {
		t.Fatal(err)
	}
	if n := serial(); n != 2 {
		t.Errorf("after the pair was replaced: certificate %d", n)
	}
	if err := os.WriteFile(c.certFile, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := serial(); n != 2 || !strings.Contains(log.String(), "cannot be used") {
		t.Errorf("after it was broken: certificate %d, log %s", n, log.String())
	}
}
