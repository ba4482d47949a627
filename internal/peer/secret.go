package peer

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Secret is what the roles of one cluster share. Everything that one role must
// prove to another is derived from it, so whoever has it is the cluster.
type Secret struct {
	key []byte
	old []byte // a secret that is accepted beside it, while it is changed
}

// Accepting returns s with another secret that peers may still have, for the
// time of a change: they are dialled and let in under either, and tickets of
// either are taken. What is made is made under s.
func (s Secret) Accepting(old Secret) Secret { return Secret{key: s.key, old: old.key} }

// each returns the secret by itself, then the one that is accepted beside it.
func (s Secret) each() []Secret {
	out := []Secret{{key: s.key}}
	if len(s.old) > 0 {
		out = append(out, Secret{key: s.old})
	}
	return out
}

// minSecret is the least length of a secret's text: a generated one has 43
// characters, and whoever makes one up should not be able to guess it.
const minSecret = 32

// ErrSecret says that a cluster secret is missing or too short to be one.
var ErrSecret = errors.New("cluster secret is missing or under 32 characters; make one with holdfast init and give it by HOLDFAST_CLUSTER_SECRET or HOLDFAST_CLUSTER_SECRET_FILE")

// NewSecret returns the text of a new secret, 32 random bytes in base64url.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ParseSecret takes a secret's text; white space around it does not count.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if len(text) < minSecret {
		return Secret{}, ErrSecret
	}
	return Secret{key: []byte(text)}, nil
}

// Derive returns n bytes for one purpose (HKDF-SHA256, RFC 5869). Keys of two
// purposes tell nothing of each other.
func (s Secret) Derive(purpose string, n int) []byte {
	if len(s.key) == 0 {
		panic("peer: secret was not parsed")
	}
	out, err := hkdf.Key(sha256.New, s.key, nil, "holdfast cluster 1: "+purpose, n)
	if err != nil {
		panic(fmt.Sprintf("peer: derive %d bytes: %v", n, err))
	}
	return out
}

// TicketKey signs the tickets that nodes accept (SAFETY B9).
func (s Secret) TicketKey() []byte { return s.Derive("tickets", 32) }

// TicketKeys are those under which a ticket is accepted: TicketKey first.
func (s Secret) TicketKeys() (keys [][]byte) {
	for _, one := range s.each() {
		keys = append(keys, one.TicketKey())
	}
	return keys
}
