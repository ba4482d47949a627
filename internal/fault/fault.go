// Package fault is the one taxonomy of errors in Holdfast. Every sentinel of a
// contract carries a Kind and a stable wire code, so that an error keeps its
// meaning through wrapping and across a process boundary. The package knows
// nothing of S3 codes: gateway/s3err alone maps kinds and sentinels to those.
package fault

import (
	"context"
	"errors"
)

// Kind says what sort of thing went wrong, as a caller must treat it.
type Kind uint8

// The kinds. Their values are on the wire and never change.
const (
	Internal       Kind = iota // a bug or an unclassified failure
	Invalid                    // the request is malformed; do not retry
	NotFound                   // the item does not exist
	Exists                     // the item exists already
	Precondition               // a condition of the request did not hold
	Denied                     // the caller may not do this
	TooLarge                   // over a documented limit
	NoSpace                    // a disk or a quota is full
	Unavailable                // try again later
	NotLeader                  // try again at another tracker
	Corrupt                    // stored bytes do not match their checksum
	Canceled                   // the caller went away
	Deadline                   // the time allowed ran out
	NotImplemented             // known, and not built
)

var kindNames = [...]string{"internal", "invalid", "not-found", "exists", "precondition", "denied", "too-large", "no-space",
	"unavailable", "not-leader", "corrupt", "canceled", "deadline", "not-implemented"}

// String returns the kind's stable name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Error is a sentinel: a kind, a stable wire code and a text for people.
// Sentinels are compared by identity through errors.Is and wrapped with %w.
type Error struct {
	kind Kind
	code string
	text string
}

// New returns a sentinel. code is stable across releases and unique in its
// contract, for instance "tracker.no-such-key".
func New(kind Kind, code, text string) *Error { return &Error{kind, code, text} }

// Error implements error.
func (e *Error) Error() string { return e.text }

// Kind returns the sentinel's kind.
func (e *Error) Kind() Kind { return e.kind }

// Code returns the sentinel's wire code.
func (e *Error) Code() string { return e.code }

// KindOf returns the kind of the first sentinel in err's tree; context errors
// are Canceled and Deadline, everything else is Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	}
	return Internal
}
