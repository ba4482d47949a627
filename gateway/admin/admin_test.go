package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/storage"
)

type rootKey struct{}

func (rootKey) Secret(context.Context, string) (string, auth.Identity, error) {
	return "secret-of-test", auth.Identity{AccessKey: "root", Root: true}, nil
}

// forgets counts the calls that reach the operator.
type forgets struct {
	gateway.Operator
	nodes []storage.NodeID
}

func (f *forgets) ForgetNode(_ context.Context, id storage.NodeID) error {
	f.nodes = append(f.nodes, id)
	return nil
}

// TestBody: a call is made only with the body that was signed, however long
// another is that somebody puts in its place.
func TestBody(t *testing.T) {
	t.Parallel()
	const signed = `{"node":7}`
	padded := func(n int) string { return signed + strings.Repeat(" ", n-len(signed)) }
	for _, c := range []struct {
		name, signed, sent string
		status             int
		length             int64 // announced, 0 for that of what is sent
	}{
		{name: "as signed", signed: signed, sent: signed, status: http.StatusOK},
		{name: "the longest", signed: padded(maxBody), sent: padded(maxBody), status: http.StatusOK},
		{name: "too long", signed: padded(maxBody + 1), sent: padded(maxBody + 1), status: http.StatusBadRequest},
		{name: "another", signed: `{"node":8}`, sent: signed, status: http.StatusBadRequest},
		{name: "another of the bound", signed: `{"node":8}`, sent: padded(maxBody), status: http.StatusBadRequest},
		{name: "another of the bound, in chunks", signed: `{"node":8}`, sent: padded(maxBody), status: http.StatusBadRequest, length: -1},
		{name: "another beyond the bound", signed: `{"node":8}`, sent: padded(maxBody + 5), status: http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			op := &forgets{}
			h := New(op, sigv4.New(sigv4.Config{Keys: rootKey{}}), zerolog.Nop())
			r := httptest.NewRequest(http.MethodPost, "http://host.example"+Prefix+"node/forget", strings.NewReader(c.sent))
			sum := sha256.Sum256([]byte(c.signed))
			sigv4.Sign(r, "root", "secret-of-test", "us-east-1", hex.EncodeToString(sum[:]), time.Now())
			if c.length != 0 {
				r.ContentLength = c.length
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if made := len(op.nodes) == 1 && op.nodes[0] == 7; made != (c.status == http.StatusOK) {
				t.Errorf("calls made: %v", op.nodes)
			}
		})
	}
}
