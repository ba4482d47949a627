package badinput

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// The sizes take the three ways of a body: into the commit, into a volume,
// into a file of its own.
var cutSizes = []int{3000, 100_000, 3 << 20}

// cutsEach is how often each mode and size is cut.
const cutsEach = 6

func content(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// upload is an upload's whole wire form; head is how much of it is not body.
type upload struct {
	name   string
	target string // path of the object
	wire   []byte
	head   int
}

// recut makes the Content-Length agree with a body that was cut by n bytes.
func (m *mode) recut(t *testing.T, s *harness.Server, path string, data []byte, n int) []byte {
	r, body, length := m.wire(t, s, "PUT", path, "", data)
	body = body[:len(body)-n]
	if length >= 0 {
		length = int64(len(body))
	}
	return append(head(r, length), body...)
}

func TestCutBodies(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, o := range []harness.Options{{Dirs: 1, Scheme: "rep-1"}, {Dirs: 4, Scheme: "rs-2+2"}} {
		t.Run(o.Scheme, func(t *testing.T) { cutBodies(t, o, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func cutBodies(t *testing.T, o harness.Options, rng *rand.Rand) {
	s := harness.Start(t, o)
	r := s.Raw()
	r.Must(t, 200, "PUT", "/cut", "", nil)
	r.Must(t, 200, "PUT", "/whole", "", nil)
	id := startUpload(t, r, "/cut/parts")
	var work []func()
	done := 0
	for _, size := range cutSizes {
		data := content(rng.Uint64(), size)
		for i := range modes {
			wholeUpload(t, s, &modes[i], data)
			for n := range cutsEach {
				u := cutUpload(t, s, &modes[i], data, n, id)
				at, end := cutAt(rng, u, n), ending(n%2)
				work = append(work, func() { cut(t, s, u, at, end) })
			}
			if modes[i].whole {
				short := modes[i].recut(t, s, fmt.Sprintf("/cut/short-%s-%d", modes[i].name, size), data, 1+rng.IntN(len(data)-1))
				name := fmt.Sprintf("%s of %d bytes cut and made to agree", modes[i].name, size)
				work = append(work, func() { refused(t, name, exchange(t, s, short, wait), true) })
			}
		}
		work = append(work, cutForms(t, s, rng, data)...)
	}
	parallel(work)
	done = len(work)
	nothing(t, r, id)
	s.Restart()
	nothing(t, s.Raw(), id)
	sane(t, s)
	t.Logf("%d cut uploads, none visible", done)
}

// cutUpload builds the n-th upload of a mode: objects and parts in turn.
func cutUpload(t *testing.T, s *harness.Server, m *mode, data []byte, n int, id string) *upload {
	path, query := fmt.Sprintf("/cut/%s-%d-%d", m.name, len(data), n), ""
	if n%3 == 2 {
		path, query = "/cut/parts", harness.Query("partNumber", fmt.Sprint(n+1), "uploadId", id)
	}
	r, body, length := m.wire(t, s, "PUT", path, query, data)
	h := head(r, length)
	return &upload{name: fmt.Sprintf("%s of %d bytes", m.name, len(data)), target: path, wire: append(h, body...), head: len(h)}
}

// cutAt chooses where to cut: the first cuts go just behind the headers and
// just before the end, the others anywhere.
func cutAt(rng *rand.Rand, u *upload, n int) int {
	switch n {
	case 0:
		return u.head
	case 1:
		return len(u.wire) - 1
	}
	return u.head + rng.IntN(len(u.wire)-u.head)
}

func cut(t *testing.T, s *harness.Server, u *upload, at int, end ending) {
	what := fmt.Sprintf("%s, cut after %d of %d bytes", u.name, at-u.head, len(u.wire)-u.head)
	refused(t, what, exchange(t, s, u.wire[:at], end), true)
}

// wholeUpload sends a mode's upload uncut, to know that the mode is right.
func wholeUpload(t *testing.T, s *harness.Server, m *mode, data []byte) {
	t.Helper()
	path := fmt.Sprintf("/whole/%s-%d", m.name, len(data))
	r, body, length := m.wire(t, s, "PUT", path, "", data)
	a := exchange(t, s, append(head(r, length), body...), wait)
	if a == nil {
		t.Fatalf("%s of %d bytes, uncut: no answer", m.name, len(data))
	}
	if a.Status != http.StatusOK {
		t.Fatalf("%s of %d bytes, uncut: %d %.600s", m.name, len(data), a.Status, a.Body)
	}
	if got := s.Raw().Must(t, 200, "GET", path, "", nil); !bytes.Equal(got.Body, data) {
		t.Fatalf("%s of %d bytes, uncut: reads back other bytes", m.name, len(data))
	}
}

func cutForms(t *testing.T, s *harness.Server, rng *rand.Rand, data []byte) (work []func()) {
	r, body := newForm("whole", fmt.Sprintf("form-%d", len(data)), data).wire(t, s)
	if a := exchange(t, s, append(head(r, int64(len(body))), body...), wait); a == nil || a.Status/100 != 2 {
		t.Fatalf("form of %d bytes, uncut: %+v", len(data), a)
	}
	for n := range cutsEach {
		r, body := newForm("cut", fmt.Sprintf("form-%d-%d", len(data), n), data).wire(t, s)
		h := head(r, int64(len(body)))
		u := &upload{name: fmt.Sprintf("form of %d bytes", len(data)), wire: append(h, body...), head: len(h)}
		at, end := cutAt(rng, u, n), ending(n%2)
		work = append(work, func() { cut(t, s, u, at, end) })
	}
	r, body = newForm("cut", fmt.Sprintf("form-short-%d", len(data)), data).wire(t, s)
	body = body[:len(body)-1-rng.IntN(len(data))-len(boundary)]
	short := append(head(r, int64(len(body))), body...)
	return append(work, func() { refused(t, "form cut and made to agree", exchange(t, s, short, wait), true) })
}

func startUpload(t *testing.T, r *harness.Raw, path string) string {
	t.Helper()
	var started struct{ UploadId string }
	if err := xml.Unmarshal(r.Must(t, 200, "POST", path, "uploads=", nil).Body, &started); err != nil || started.UploadId == "" {
		t.Fatalf("upload id %q, %v", started.UploadId, err)
	}
	return started.UploadId
}

// nothing fails the test if bucket cut or its upload shows anything.
func nothing(t *testing.T, r *harness.Raw, id string) {
	t.Helper()
	var list struct {
		Contents []struct{ Key string }
		Part     []struct{ PartNumber int }
	}
	for path, query := range map[string]string{"/cut": "list-type=2", "/cut/parts": harness.Query("uploadId", id)} {
		if err := xml.Unmarshal(r.Must(t, 200, "GET", path, query, nil).Body, &list); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range list.Contents {
		t.Errorf("visible although its upload was cut: %s", o.Key)
	}
	for _, p := range list.Part {
		t.Errorf("visible although its upload was cut: part %d", p.PartNumber)
	}
	for i := range modes {
		for _, size := range cutSizes {
			for n := range cutsEach {
				if n%3 != 2 {
					r.Must(t, 404, "HEAD", fmt.Sprintf("/cut/%s-%d-%d", modes[i].name, size, n), "", nil)
				}
			}
		}
	}
}

// parallel runs the functions, a few at a time.
func parallel(work []func()) {
	next := make(chan func())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for f := range next {
				f()
			}
		})
	}
	for _, f := range work {
		next <- f
	}
	close(next)
	wg.Wait()
}
