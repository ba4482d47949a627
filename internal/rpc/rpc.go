// Package rpc is the control calls between roles: gRPC, with Go structs as
// messages. A contract's own types are the schema, encoded by field name
// (CBOR, RFC 8949), so that fields can be added and a peer of another release
// passes over those it does not know; see docs/adr for why not protobuf.
//
// An answer carries the callee's error beside its body: a sentinel keeps its
// identity across the wire by its code, and an answer may come with its error
// as the contracts allow. What remains an error of the call itself is the
// network's: the caller does not know then whether the callee acted.
//
// The package opens no connection and no port by itself; see internal/peer.
// It knows nothing of what is called.
//
// # Goroutines
//
// gRPC's: one for each connection and one for each call that is served.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"holdfast/internal/fault"
)

// MaxMessage bounds a message in bytes, both ways: a command is at most 4 MiB,
// a page of a listing with all its metadata less.
const MaxMessage = 16 << 20

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 10 * time.Second

// Sentinels of the network. What was called may or may not have happened.
var (
	// ErrUnreachable says that no answer came: the peer is down, cut off, or
	// went away while it worked.
	ErrUnreachable = fault.New(fault.Unavailable, "rpc.unreachable", "peer cannot be reached")
	// ErrProtocol says that peer and caller do not understand each other.
	ErrProtocol = fault.New(fault.NotImplemented, "rpc.protocol", "peer does not know this call; are all roles of one release?")
)

// problem is an error on the wire.
type problem struct {
	Kind fault.Kind
	Code string // of the sentinel, "" if it has none
	Text string // the whole text, for people
	Hint string // what Hinter said
}

// Hinter is an error that carries a word for the caller, such as the address
// of who can do better.
type Hinter interface{ Hint() string }

// reply is an answer on the wire.
type reply[T any] struct {
	Body *T
	Err  *problem
}

// Error is a callee's error at the caller. errors.Is finds the sentinel.
type Error struct {
	text, hint string
	sentinel   error
}

// Error implements error: the callee's text.
func (e *Error) Error() string { return e.text }

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.sentinel }

// Hint implements Hinter: what the callee's error said, "" for nothing.
func (e *Error) Hint() string { return e.hint }

// Fault is an error as data, for answers that carry one for each of their
// items. The zero value is none.
type Fault struct{ P *problem }

// FaultOf makes data of an error; nil is the zero Fault.
func FaultOf(err error) Fault { return Fault{problemOf(err)} }

// Append appends the fault as it travels outside of a call.
func (f Fault) Append(dst []byte) []byte {
	b, err := cbor.Marshal(f.P)
	if err != nil {
		panic("rpc: " + err.Error()) // strings and a number
	}
	return append(dst, b...)
}

// ParseFault reads what Append wrote.
func ParseFault(b []byte) (f Fault, err error) {
	c, err := newCodec()
	if err == nil {
		err = c.Unmarshal(b, &f.P)
	}
	return f, err
}

// Err returns the error of which the sentinel is among s.
func (f Fault) Err(s Sentinels) error { return s.errorOf(f.P) }

func problemOf(err error) *problem {
	if err == nil {
		return nil
	}
	p := &problem{Kind: fault.KindOf(err), Text: err.Error()}
	var f *fault.Error
	if errors.As(err, &f) {
		p.Code = f.Code()
	}
	var h Hinter
	if errors.As(err, &h) {
		p.Hint = h.Hint()
	}
	return p
}

// Sentinels finds a sentinel by its wire code. It is immutable.
type Sentinels map[string]*fault.Error

// Known makes a table of the sentinels of some contracts. Two of one code are
// a mistake of the program.
func Known(lists ...[]*fault.Error) Sentinels {
	s := Sentinels{}
	for _, l := range lists {
		for _, e := range l {
			if other, ok := s[e.Code()]; ok && other != e {
				panic("rpc: two sentinels have the code " + e.Code())
			}
			s[e.Code()] = e
		}
	}
	return s
}

func (s Sentinels) errorOf(p *problem) error {
	if p == nil {
		return nil
	}
	e := &Error{text: p.Text, hint: p.Hint}
	switch known, ok := s[p.Code]; {
	case ok:
		e.sentinel = known
	case p.Kind == fault.Canceled:
		e.sentinel = context.Canceled
	case p.Kind == fault.Deadline && p.Code == "":
		e.sentinel = context.DeadlineExceeded
	default:
		e.sentinel = fault.New(p.Kind, p.Code, p.Text)
	}
	return e
}

// wrongPeer says what a message was that cannot be read.
func wrongPeer(method string, err error) error {
	return fmt.Errorf("%s: %w: %v", method, ErrProtocol, err)
}
