package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/tracker"
)

func TestSlowly(t *testing.T) {
	t.Parallel()
	type doc struct {
		XMLName xml.Name `xml:"Result"`
		V       int
	}
	for name, tc := range map[string]struct {
		beats  int
		err    error
		panics bool
		want   string // of the body, white space apart
		failed bool   // returned rather than written
	}{
		"at once":        {want: "<Result><V>1</V></Result>"},
		"error at once":  {err: tracker.ErrNoSuchKey, failed: true},
		"late":           {beats: 3, want: "<Result><V>1</V></Result>"},
		"error late":     {beats: 2, err: tracker.ErrNoSuchKey, want: "<Code>NoSuchKey</Code>"},
		"panic late":     {beats: 1, panics: true, want: "<Code>InternalError</Code>"},
		"panic at once":  {panics: true, failed: true},
		"unknown errors": {beats: 1, err: errors.New("secret"), want: "<Code>InternalError</Code>"},
	} {
		w := &beatWriter{ResponseRecorder: httptest.NewRecorder(), beat: make(chan struct{}, 100)}
		c := &call{s: &Server{hostID: []string{"host"}}, w: w, r: &http.Request{URL: &url.URL{Path: "/b/k"}}}
		beat := time.Hour
		if tc.beats > 0 {
			beat = time.Millisecond
		}
		err := c.slowly(beat, func() (*outcome, error) {
			for range tc.beats {
				<-w.beat
			}
			if tc.panics {
				panic("oops")
			}
			return &outcome{doc: &doc{V: 1}, header: http.Header{"X-K": {"v"}}}, tc.err
		})
		if (err != nil) != tc.failed {
			t.Errorf("%s: returned %v", name, err)
		}
		body := w.Body.String()
		if !strings.Contains(body, tc.want) || strings.Contains(body, "secret") || strings.Count(body, "<?xml") > 1 {
			t.Errorf("%s: body %q", name, body)
		}
		if tc.want != "" {
			if err := xml.Unmarshal(w.Body.Bytes(), new(struct{})); err != nil || w.Code != 200 {
				t.Errorf("%s: status %d, %v: %q", name, w.Code, err, body)
			}
		}
		if name == "at once" && w.Header()["X-K"] == nil {
			t.Error("headers of an outcome in time are missing")
		}
	}
}

// beatWriter tells of each write.
type beatWriter struct {
	*httptest.ResponseRecorder
	beat chan struct{}
}

func (w *beatWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseRecorder.Write(p)
	w.beat <- struct{}{}
	return n, err
}
