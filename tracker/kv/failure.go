package kv

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// fatal carries an error of the engine out of a call that cannot return one.
type fatal struct{ error }

// Err returns the error that ended the store, nil while it is well.
func (s *Store) Err() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Failed is closed once the store has ended by an error.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// fail ends the store with err and returns the error that ended it first.
func (s *Store) fail(err error) error {
	s.once.Do(func() {
		err := fmt.Errorf("kv: store %s: %w", s.dir, err)
		s.failure.Store(&err)
		close(s.failed)
		if s.onFailure != nil {
			go s.onFailure(err)
		}
	})
	<-s.failed
	return s.Err()
}

func (s *Store) backgroundError(err error) {
	if !errors.Is(err, pebble.ErrCancelledCompaction) {
		_ = s.fail(err)
	}
}

// guard runs a call of the engine and turns the panics by which the engine
// reports I/O errors into the error that ends the store.
func (s *Store) guard(call func() error) (err error) {
	defer s.rescue(&err)
	return call()
}

// rescue is deferred around calls of the engine; see guard.
func (s *Store) rescue(err *error) {
	switch r := recover().(type) {
	case nil:
	case runtime.Error:
		panic(r)
	case fatal:
		*err = r.error
	case error:
		*err = s.fail(r)
	default:
		panic(r)
	}
}

// engineLogger is Pebble's way to talk. Pebble calls Fatalf where it cannot
// go on, and takes a commit for done if Fatalf returns, so it never does: in
// a commit it unwinds to our caller, and a background worker just ends.
type engineLogger struct{ s *Store }

const commitFatal = "pebble: fatal commit error"

// Infof implements pebble.Logger.
func (l engineLogger) Infof(format string, args ...any) {
	if e := l.s.log.Trace(); e.Enabled() {
		e.Str("dir", l.s.dir).Str("text", fmt.Sprintf(format, args...)).Msg("store reports")
	}
}

// Errorf implements pebble.Logger.
func (l engineLogger) Errorf(format string, args ...any) {
	l.s.log.Warn().Str("dir", l.s.dir).Str("text", fmt.Sprintf(format, args...)).Msg("store reports an error")
}

// Fatalf implements pebble.Logger; it does not return.
func (l engineLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if e, ok := a.(error); ok {
			err = fmt.Errorf("%s: %w", err, e)
			break
		}
	}
	err = l.s.fail(err)
	if strings.HasPrefix(format, commitFatal) {
		panic(fatal{err})
	}
	runtime.Goexit()
}
