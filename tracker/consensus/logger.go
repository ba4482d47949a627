package consensus

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"
)

// raftLogger passes what Raft says on, one level lower: what stops a voter is
// reported by the voter. That a stopped one cannot be reached is said again
// and again, so it is lower still.
func raftLogger(log zerolog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(&logSink{log})
	return l
}

type logSink struct{ log zerolog.Logger }

// Accept implements hclog.SinkAdapter.
func (s *logSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	var e *zerolog.Event
	switch level {
	case hclog.Error:
		if strings.HasPrefix(msg, "failed to heartbeat") || strings.HasPrefix(msg, "failed to appendEntries") ||
			strings.HasPrefix(msg, "failed to make requestVote") || strings.HasPrefix(msg, "failed to decode incoming command") ||
			strings.HasPrefix(msg, "failed to flush response") || strings.HasPrefix(msg, "failed to start pipeline replication") ||
			strings.HasPrefix(msg, "peer has newer term") {
			e = s.log.Debug()
		} else {
			e = s.log.Warn()
		}
	case hclog.Warn, hclog.Info:
		e = s.log.Debug()
	default:
		e = s.log.Trace()
	}
	if !e.Enabled() {
		return
	}
	e = e.Str("text", msg)
	for i := 0; i+1 < len(args); i += 2 {
		e = e.Str(fmt.Sprint(args[i]), fmt.Sprint(args[i+1]))
	}
	e.Msg("raft reports")
}
