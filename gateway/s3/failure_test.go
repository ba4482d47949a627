package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/gateway"
	"holdfast/gateway/route"
	"holdfast/storage"
	"holdfast/tracker"
)

// TestFailuresAreLoggedOnce: what refuses every request, a full disk for
// instance, is told once and not for each of them; a failure that nobody
// knows is told each time.
func TestFailuresAreLoggedOnce(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(testUser, testSecret)
	var logged lockedBuffer
	s, err := NewServer(gateway.DefaultConfig(), gateway.Deps{Catalog: newFrontCatalog(), Scheduler: noScheduler{}, Keys: keys}, zerolog.New(&logged), nil)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s.Handler())
	defer ts.Close()
	defer s.Close()
	full := fmt.Errorf("blob 1: node 1: %w", storage.ErrNoSpace)
	for _, tc := range []struct {
		err   error
		lines int
	}{
		{full, 1}, {fmt.Errorf("blob 2: node 2: %w", storage.ErrNoSpace), 0}, {tracker.ErrCatalogFull, 1}, {tracker.ErrUnavailable, 1},
		{tracker.ErrNoPlacement, 1}, {errors.New("boom"), 20}, {storage.ErrCorrupt, 20}, {tracker.ErrNoSuchKey, 0},
	} {
		before := strings.Count(strings.Join(logged.lines(), "\n"), "request failed")
		s.handlers[route.Named("GetObject").Index] = func(*call) error { return tc.err }
		for range 20 {
			send(t, ts, "GET", "/bucket/key", "", nil)
		}
		if n := strings.Count(strings.Join(logged.lines(), "\n"), "request failed") - before; n != tc.lines {
			t.Errorf("%v: %d lines, want %d", tc.err, n, tc.lines)
		}
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	var n notices
	now := time.Unix(1000, 0)
	check := func(cause string, at time.Duration, wantHeld int, want bool) {
		t.Helper()
		if held, ok := n.tell(cause, now.Add(at)); held != wantHeld || ok != want {
			t.Errorf("%s at %v: %d, %v, want %d, %v", cause, at, held, ok, wantHeld, want)
		}
	}
	check("full", 0, 0, true)
	check("full", time.Second, 0, false)
	check("other", time.Second, 0, true)
	check("full", noticeEvery-1, 0, false)
	check("full", noticeEvery, 2, true)
	check("full", noticeEvery+1, 0, false)
	check("full", 3*noticeEvery, 1, true)
	check("full", 2*noticeEvery, 0, false) // a request that began before
}

// TestNotImplementedIsNamed: the answer and the log line name what is missing.
func TestNotImplementedIsNamed(t *testing.T) {
	t.Parallel()
	var logged lockedBuffer
	ts, cat := frontServer(t, nil, WithAccessLog(&logged))
	cat.put("bucket")
	for _, tc := range []struct {
		method, path, header, value string
		want                        string
	}{
		{"GET", "/bucket?acl", "", "", "GetBucketAcl"},
		{"PUT", "/bucket/key?partNumber=1", "", "", "partNumber"},
		{"PUT", "/bucket/key", "X-Amz-Acl", "public-read", "x-amz-acl"},
		{"PUT", "/bucket/key", "X-Amz-Made-Up", "1", "x-amz-made-up"},
		{"PUT", "/bucket/key?x-amz-server-side-encryption=AES256", "", "", "x-amz-server-side-encryption"},
		{"PUT", "/bucket2", "X-Amz-Object-Lock-Mode", "x", "x-amz-object-lock-mode"},
	} {
		a := send(t, ts, tc.method, tc.path, "", func(r *http.Request) {
			if tc.header != "" {
				r.Header.Set(tc.header, tc.value)
			}
		})
		_, message, _ := strings.Cut(a.body, "<Message>")
		message, _, _ = strings.Cut(message, "</Message>")
		if a.status != 501 || !strings.Contains(message, tc.want) {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, a.status, a.body)
		}
		lines := logged.lines()
		if line := lines[len(lines)-1]; !strings.Contains(line, `"refused":"`) || !strings.Contains(line, tc.want) {
			t.Errorf("%s %s: logged %s", tc.method, tc.path, line)
		}
	}
}
