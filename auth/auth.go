// Package auth is the contract of authentication and authorisation: who a
// caller is, where secrets come from, what may be done, and every way in which
// a signature, a signed body or a browser form can be wrong. It does no I/O of
// its own and knows nothing of HTTP; auth/sigv4 verifies requests and bodies,
// auth/postpolicy verifies browser uploads.
package auth

import (
	"context"
	"fmt"
)

// Identity is who makes a request. The zero value is the anonymous caller.
type Identity struct {
	// AccessKey is the public half of the credentials, empty for anonymous.
	AccessKey string
	// Root says that every action is allowed.
	Root bool
}

// Anonymous reports whether the caller gave no credentials.
func (id Identity) Anonymous() bool { return id.AccessKey == "" }

// Keys finds the secret that belongs to an access key. Implementations are
// safe for concurrent use and fast: one call is made per request, so a remote
// store has to keep its own cache.
type Keys interface {
	// Secret returns the secret of accessKey and the identity it stands for.
	// It returns ErrUnknownAccessKey when there is no such key or the key is
	// disabled; any other error means that the answer is not known. The secret
	// must never be logged.
	Secret(ctx context.Context, accessKey string) (secret string, id Identity, err error)
}

// Bounds of the lengths of credentials in bytes.
const (
	MinAccessKey = 3
	MaxAccessKey = 128
	MinSecret    = 8
	MaxSecret    = 256
)

// Static is a Keys of one root credential that never changes.
type Static struct {
	accessKey string
	secret    string
}

// NewStatic returns the Keys of one root credential. It returns ErrCredentials
// when a length is out of bounds or the access key has a character that could
// not stand in a credential scope.
func NewStatic(accessKey, secret string) (*Static, error) {
	if n := len(accessKey); n < MinAccessKey || n > MaxAccessKey {
		return nil, fmt.Errorf("access key of %d bytes, want %d to %d: %w", n, MinAccessKey, MaxAccessKey, ErrCredentials)
	}
	if n := len(secret); n < MinSecret || n > MaxSecret {
		return nil, fmt.Errorf("secret of %d bytes, want %d to %d: %w", n, MinSecret, MaxSecret, ErrCredentials)
	}
	for i := 0; i < len(accessKey); i++ {
		if c := accessKey[i]; c <= ' ' || c >= 0x7f || c == '/' || c == ',' || c == '=' {
			return nil, fmt.Errorf("access key has the character %q: %w", c, ErrCredentials)
		}
	}
	return &Static{accessKey, secret}, nil
}

// Secret implements Keys.
func (s *Static) Secret(_ context.Context, accessKey string) (string, Identity, error) {
	if accessKey != s.accessKey {
		return "", Identity{}, ErrUnknownAccessKey
	}
	return s.secret, Identity{AccessKey: accessKey, Root: true}, nil
}

// Authorize says whether id may do action (for instance "s3:GetObject") on
// resource (for instance "bucket/key"). It returns nil or an error wrapping
// ErrAccessDenied. The default is deny; the root identity may do everything.
// Every route asks it before anything of the resource is looked at, so that a
// refused caller learns nothing.
func Authorize(id Identity, action, resource string) error {
	if id.Root && !id.Anonymous() {
		return nil
	}
	return fmt.Errorf("%s on %q: %w", action, resource, ErrAccessDenied)
}
