package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/internal/fault"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	s, err := NewStatic("AKIAEXAMPLE", "secret-secret")
	if err != nil {
		t.Fatal(err)
	}
	secret, id, err := s.Secret(context.Background(), "AKIAEXAMPLE")
	if err != nil || secret != "secret-secret" || !id.Root || id.Anonymous() {
		t.Fatal(secret, id, err)
	}
	if _, id, err = s.Secret(context.Background(), "AKIAEXAMPLF"); !errors.Is(err, ErrUnknownAccessKey) || !id.Anonymous() {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"ab", "secret-secret"}, {"abc", "short"}, {strings.Repeat("a", 129), "secret-secret"},
		{"abc", strings.Repeat("a", 257)}, {"a/c", "secret-secret"}, {"a c", "secret-secret"}, {"a,c", "secret-secret"}, {"aéc", "secret-secret"}} {
		if _, err := NewStatic(c[0], c[1]); !errors.Is(err, ErrCredentials) || strings.Contains(err.Error(), c[1]) {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	if err := Authorize(Identity{AccessKey: "a", Root: true}, "s3:GetObject", "b/k"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []Identity{{}, {AccessKey: "a"}, {Root: true}} {
		if err := Authorize(id, "s3:GetObject", "b/k"); !errors.Is(err, ErrAccessDenied) {
			t.Errorf("%+v: %v", id, err)
		}
	}
}

// TestTypedErrors: each typed error is its sentinel, with the kind of it, and
// shows no signature.
func TestTypedErrors(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tc := range []struct {
		err  error
		want *fault.Error
	}{
		{&SignatureError{Provided: "deadbeef"}, ErrSignatureMismatch},
		{&SkewError{RequestTime: now, ServerTime: now}, ErrTimeSkewed},
		{&ExpiredError{Signed: now, Expires: now.Add(1), ServerTime: now.Add(2)}, ErrExpired},
		{&ExpiredError{Signed: now, ServerTime: now.Add(-1)}, ErrNotYetValid},
		{&RegionError{}, ErrRegion},
		{&UnsignedHeadersError{Headers: []string{"x-amz-acl"}}, ErrHeadersNotSigned},
		{&DigestError{Sentinel: ErrBadDigest}, ErrBadDigest},
		{&PolicyError{}, ErrPolicyDenied},
	} {
		if !errors.Is(tc.err, tc.want) || fault.KindOf(tc.err) != tc.want.Kind() || strings.Contains(tc.err.Error(), "deadbeef") {
			t.Errorf("%T: %v", tc.err, tc.err)
		}
	}
}
