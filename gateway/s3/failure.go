package s3

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"holdfast/gateway/s3err"
	"holdfast/internal/fault"
)

// logFailure logs the error of a request that failed for a reason of the
// server's. What is no fault in the code may refuse every request, as a full
// disk does: of each such cause one line a minute is written.
func (c *call) logFailure(err error, e *s3err.Error) {
	if e.Status < http.StatusInternalServerError || e.Code == s3err.NotImplemented || c.clientGone(err) {
		return
	}
	l := c.log.Error().Err(err).Str("req", c.id).Str("op", c.opName()).Str("bucket", c.bucket).Str("key", c.key)
	if e.Code != s3err.InternalError {
		held, ok := c.s.notices.tell(cause(err, e), time.Now())
		if !ok {
			return
		}
		l = l.Int("more", held) // like it since the last line
	}
	l.Msg("request failed")
}

// cause names what made requests fail: the sentinel, else S3's code. There are
// as many as the contracts have.
func cause(err error, e *s3err.Error) string {
	var s *fault.Error
	if errors.As(err, &s) {
		return s.Code()
	}
	return string(e.Code)
}

// tellEnded logs that clients were ended which sent next to nothing while
// others waited for the memory that they held.
func (s *Server) tellEnded(n int) {
	if held, ok := s.notices.tell("slow clients", time.Now()); ok {
		s.log.Warn().Int("clients", n).Int("more", held).Msg("memory for writes is short; clients that send under 4 KiB a second were ended")
	}
}

// noticeEvery is how often a cause is told while it goes on.
const noticeEvery = time.Minute

// notices remember which causes were told lately. The zero value is ready.
type notices struct {
	mu struct {
		sync.Mutex
		causes map[string]*notice
	}
}

type notice struct {
	told time.Time
	held int // not told since
}

// tell reports whether a cause that is met now is to be told, and how many
// times it was met since and not told.
func (n *notices) tell(cause string, now time.Time) (held int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.mu.causes[cause]
	switch {
	case known == nil:
		if n.mu.causes == nil {
			n.mu.causes = map[string]*notice{}
		}
		n.mu.causes[cause] = &notice{told: now}
		return 0, true
	case now.Sub(known.told) < noticeEvery:
		known.held++
		return 0, false
	}
	held, known.told, known.held = known.held, now, 0
	return held, true
}
