package space

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/cmd/allinone"
	"holdfast/tests/harness"
)

// TestReadHoldsGarbage deletes an object while it is being read slowly, on a
// server whose clock and catalog time do not agree, as after a step of the
// clock that was held back. What the read still needs stays until it ends.
func TestReadHoldsGarbage(t *testing.T) {
	if testing.Short() {
		t.Skip("lets hours pass")
	}
	t.Parallel()
	clk := harness.NewClock()
	clk.Jump(-2 * time.Hour) // catalog time is behind the machine's
	s := harness.StartLocal(t, harness.LocalOptions{Options: harness.Options{Dirs: 4, Scheme: "rs-2+2"}, Clock: clk, Tune: allinone.Tune{Ballast: -1}})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/held", "", nil)
	want := upload(t, r, "/held/parts", 3, 16<<20)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.Endpoint()+"/held/parts", nil)
	if err != nil {
		t.Fatal(err)
	}
	sigv4.Sign(req, harness.User, harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, got); err != nil {
		t.Fatal(err)
	}
	r.Must(t, 204, "DELETE", "/held/parts", "", nil)
	for range 4 {
		s.Pass(clk, 12*time.Minute)
	}
	if q := s.Status().Queues["garbage"]; q.Length == 0 && q.Done > 0 {
		t.Errorf("garbage that a read needs was dropped: %+v", q)
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(append(got, rest...), want) {
		t.Errorf("the read ended after %d of %d bytes: %v", len(got)+len(rest), len(want), err)
	}
	harness.Until(t, 60*time.Second, "the garbage to go once nobody reads it", func() bool {
		s.Pass(clk, time.Minute)
		return s.Status().Queues["garbage"].Length == 0
	})
	if n := shards(s); n != 0 {
		t.Errorf("%.0f shards are left", n)
	}
}

// upload makes an object of parts and returns its bytes.
func upload(t *testing.T, r *harness.Raw, path string, parts, size int) (whole []byte) {
	t.Helper()
	_, id, _ := strings.Cut(string(r.Must(t, 200, "POST", path, "uploads=", nil).Body), "<UploadId>")
	id, _, _ = strings.Cut(id, "<")
	doc := "<CompleteMultipartUpload>"
	for i := 1; i <= parts; i++ {
		b := body(i, size)
		a := r.Must(t, 200, "PUT", path, fmt.Sprintf("partNumber=%d&uploadId=%s", i, id), b)
		doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i, a.Header.Get("ETag"))
		whole = append(whole, b...)
	}
	r.Must(t, 200, "POST", path, "uploadId="+id, []byte(doc+"</CompleteMultipartUpload>"))
	return whole
}
