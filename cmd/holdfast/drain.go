package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// drainTime bounds how long a graceful stop waits for requests in flight.
const drainTime = 25 * time.Second

// drain takes no new connections and finishes what is in flight, until hurry
// is done or drainTime has passed. What is cut then is logged.
func drain(hurry context.Context, h *http.Server, f *flights, log zerolog.Logger) error {
	log.Info().Int("requests", f.count()).Msg("stopping: finishing what is in flight; a second signal ends it at once")
	limit, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	defer context.AfterFunc(hurry, cancel)()
	if h.Shutdown(limit) == nil {
		return nil
	}
	f.cut(log)
	return h.Close()
}

// flights are the requests that are being served.
type flights struct {
	mu struct {
		sync.Mutex
		since map[*http.Request]time.Time
	}
}

// track notes the requests that h serves.
func (f *flights) track(h http.Handler) http.Handler {
	f.mu.since = map[*http.Request]time.Time{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.mu.since[r] = time.Now()
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			delete(f.mu.since, r)
			f.mu.Unlock()
		}()
		h.ServeHTTP(w, r)
	})
}

func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.since)
}

// maxCutLines bounds what is logged of requests one by one.
const maxCutLines = 50

// cut logs the requests that are not finished.
func (f *flights) cut(log zerolog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := 0
	for r, since := range f.mu.since {
		if lines++; lines > maxCutLines {
			break
		}
		log.Warn().Str("method", r.Method).Str("path", r.URL.Path).Str("remote", r.RemoteAddr).Dur("after", time.Since(since)).
			Msg("request cut: it was not finished when the server had to stop")
	}
	log.Warn().Int("requests", len(f.mu.since)).Msg("stopping without waiting any longer")
}
