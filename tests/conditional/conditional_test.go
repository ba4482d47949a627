// Package conditional races conditional writers: of fifty at once exactly one
// may win, whatever operation carries the condition.
package conditional

import (
	"encoding/xml"
	"fmt"
	"strings"
	"sync"
	"testing"

	"holdfast/tests/harness"
)

const writers = 50

// rounds is how often each race is run.
func rounds() int {
	if testing.Short() {
		return 1
	}
	return 10
}

// race runs f in all writers at once and returns how many answered each status.
func race(t *testing.T, f func(w int) (int, error)) map[int]int {
	t.Helper()
	var mu sync.Mutex
	got := map[int]int{}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			<-start
			status, err := f(w)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[status]++
			mu.Unlock()
		})
	}
	close(start)
	wg.Wait()
	return got
}

func oneWinner(t *testing.T, what string, round int, got map[int]int) {
	t.Helper()
	wins := got[200] + got[204]
	if wins != 1 || wins+got[412]+got[404]+got[409] != writers {
		t.Errorf("%s, round %d: statuses %v, want one success and refusals", what, round, got)
	}
}

func TestOneWinner(t *testing.T) {
	for _, o := range []harness.Options{{Dirs: 1, Scheme: "rep-1"}, {Dirs: 4, Scheme: "rs-2+2"}} {
		t.Run(o.Scheme, func(t *testing.T) {
			s := harness.Start(t, o)
			for _, versioning := range []string{"", "Enabled", "Suspended"} {
				b := "cond" + strings.ToLower(versioning)
				r := s.Raw()
				r.Must(t, 200, "PUT", "/"+b, "", nil)
				if versioning != "" {
					body := `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>` + versioning + `</Status></VersioningConfiguration>`
					r.Must(t, 200, "PUT", "/"+b, "versioning=", []byte(body))
				}
				for round := range rounds() {
					putRound(t, r, b, round)
					copyRound(t, r, b, round)
					completeRound(t, r, b, round)
					deleteRound(t, r, b, round, versioning)
				}
			}
		})
	}
}

// putRound races creations and then replacements of one key. Small bodies
// travel in the commit, large ones are blobs.
func putRound(t *testing.T, r *harness.Raw, b string, round int) {
	for name, size := range map[string]int{"inline": 100, "blob": 20_000} {
		path := harness.Path(b, fmt.Sprintf("put-%s-%d", name, round))
		body := func(w int) []byte { return []byte(fmt.Sprintf("%0*d", size, w)) }
		oneWinner(t, "PUT If-None-Match "+name, round, race(t, func(w int) (int, error) {
			a, err := r.Do("PUT", path, "", body(w), "If-None-Match", "*")
			return status(a), err
		}))
		etag := r.Must(t, 200, "HEAD", path, "", nil).Header.Get("Etag")
		oneWinner(t, "PUT If-Match "+name, round, race(t, func(w int) (int, error) {
			a, err := r.Do("PUT", path, "", body(w+1000), "If-Match", etag)
			return status(a), err
		}))
	}
}

func copyRound(t *testing.T, r *harness.Raw, b string, round int) {
	path := harness.Path(b, fmt.Sprintf("copy-%d", round))
	for w := range writers {
		r.Must(t, 200, "PUT", harness.Path(b, fmt.Sprintf("source-%d", w)), "", []byte(fmt.Sprint("source ", w)))
	}
	source := func(w int) string { return harness.Path(b, fmt.Sprintf("source-%d", w)) }
	oneWinner(t, "COPY If-None-Match", round, race(t, func(w int) (int, error) {
		a, err := r.Do("PUT", path, "", nil, "X-Amz-Copy-Source", source(w), "If-None-Match", "*")
		return status(a), err
	}))
	etag := r.Must(t, 200, "HEAD", path, "", nil).Header.Get("Etag")
	won := race(t, func(w int) (int, error) {
		a, err := r.Do("PUT", path, "", nil, "X-Amz-Copy-Source", source(w), "If-Match", etag)
		return status(a), err
	})
	// A copy that puts the same bytes back leaves the ETag as it was, so two
	// may win one after the other; never none.
	if won[200] < 1 || won[200] > 2 || won[200]+won[412] != writers {
		t.Errorf("COPY If-Match, round %d: statuses %v", round, won)
	}
}

func completeRound(t *testing.T, r *harness.Raw, b string, round int) {
	path := harness.Path(b, fmt.Sprintf("complete-%d", round))
	bodies := make([][]byte, writers)
	uploads := make([]string, writers)
	for w := range writers {
		var started struct{ UploadId string }
		a := r.Must(t, 200, "POST", path, "uploads=", nil)
		if err := xml.Unmarshal(a.Body, &started); err != nil {
			t.Fatal(err)
		}
		etag := r.Must(t, 200, "PUT", path, harness.Query("partNumber", "1", "uploadId", started.UploadId), []byte(fmt.Sprint("part of ", w))).Header.Get("Etag")
		bodies[w] = []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + etag + "</ETag></Part></CompleteMultipartUpload>")
		uploads[w] = started.UploadId
	}
	oneWinner(t, "Complete If-None-Match", round, race(t, func(w int) (int, error) {
		a, err := r.Do("POST", path, harness.Query("uploadId", uploads[w]), bodies[w], "If-None-Match", "*")
		return status(a), err
	}))
}

func deleteRound(t *testing.T, r *harness.Raw, b string, round int, versioning string) {
	path := harness.Path(b, fmt.Sprintf("put-inline-%d", round))
	etag := r.Must(t, 200, "HEAD", path, "", nil).Header.Get("Etag")
	oneWinner(t, "DELETE If-Match", round, race(t, func(int) (int, error) {
		a, err := r.Do("DELETE", path, "", nil, "If-Match", etag)
		return status(a), err
	}))
	if a, err := r.Do("HEAD", path, "", nil); err != nil || a.Status != 404 {
		t.Errorf("after DELETE If-Match (%s): %v, %v", versioning, status(a), err)
	}
	key := fmt.Sprintf("put-blob-%d", round)
	etag = strings.Trim(r.Must(t, 200, "HEAD", harness.Path(b, key), "", nil).Header.Get("Etag"), `"`)
	body := []byte("<Delete><Object><Key>" + key + "</Key><ETag>" + etag + "</ETag></Object></Delete>")
	deleted, refused := 0, 0
	var mu sync.Mutex
	race(t, func(int) (int, error) {
		a, err := r.Do("POST", "/"+b, "delete=", body, "Content-Md5", harness.MD5(body))
		if err != nil {
			return 0, err
		}
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(a.Body), "<Deleted>") {
			deleted++
		} else {
			refused++
		}
		return a.Status, nil
	})
	if deleted != 1 || refused != writers-1 {
		t.Errorf("DeleteObjects with ETag, round %d: %d deleted, %d refused", round, deleted, refused)
	}
}

func status(a *harness.Answer) int {
	if a == nil {
		return 0
	}
	return a.Status
}
