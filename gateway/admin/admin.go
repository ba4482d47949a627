// Package admin is the administration endpoint, /-/admin/v1/, signed with
// root's key. It only decodes, authorises and encodes; the work is done by
// the gateway.Operator behind it. Answers and errors are JSON.
package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gorilla/mux"
	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/internal/fault"
)

// Prefix is where the endpoint lives.
const Prefix = "/-/admin/v1/"

// maxBody bounds a request's body in bytes.
const maxBody = 64 << 10

// DiskRequest names a directory of the server.
type DiskRequest struct {
	Dir string `json:"dir"`
}

// Error is the body of every answer that is not 200.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type handler struct {
	op     gateway.Operator
	verify *sigv4.Verifier
	log    zerolog.Logger
}

// New returns the endpoint's handler.
func New(op gateway.Operator, verify *sigv4.Verifier, log zerolog.Logger) http.Handler {
	h := &handler{op, verify, log}
	r := mux.NewRouter()
	r.Methods(http.MethodGet).Path(Prefix + "status").HandlerFunc(h.serve("admin:Status", func(r *http.Request, _ []byte) (any, error) {
		return op.Status(r.Context())
	}))
	r.Methods(http.MethodPost).Path(Prefix + "disk/replace").HandlerFunc(h.serve("admin:ReplaceDisk", h.disk(true)))
	r.Methods(http.MethodPost).Path(Prefix + "disk/forget").HandlerFunc(h.serve("admin:ForgetDisk", h.disk(false)))
	r.Methods(http.MethodPost).Path(Prefix + "catalog/alone").HandlerFunc(h.serve("admin:GoOnAlone", func(r *http.Request, _ []byte) (any, error) {
		return struct{}{}, op.GoOnAlone(r.Context())
	}))
	for path, adopt := range map[string]bool{"fsck": false, "fsck/adopt": true} {
		r.Methods(http.MethodPost).Path(Prefix + path).HandlerFunc(h.serve("admin:Fsck", func(r *http.Request, _ []byte) (any, error) {
			return op.Fsck(r.Context(), adopt)
		}))
	}
	r.Methods(http.MethodPost).Path(Prefix + "clock/accept").HandlerFunc(h.serve("admin:AcceptClock", func(r *http.Request, _ []byte) (any, error) {
		return struct{}{}, op.AcceptClock(r.Context())
	}))
	h.cluster(r)
	r.NotFoundHandler = h.serve("admin:Unknown", func(*http.Request, []byte) (any, error) { return nil, errUnknown })
	r.MethodNotAllowedHandler = r.NotFoundHandler
	return r
}

var errUnknown = fault.New(fault.NotFound, "admin.unknown", "no such administration call; this server may be older than the command")

func (h *handler) disk(replace bool) func(*http.Request, []byte) (any, error) {
	return func(r *http.Request, body []byte) (any, error) {
		var d DiskRequest
		if err := json.Unmarshal(body, &d); err != nil || d.Dir == "" {
			return nil, errBody
		}
		if replace {
			return struct{}{}, h.op.ReplaceDisk(r.Context(), d.Dir)
		}
		return struct{}{}, h.op.ForgetDisk(r.Context(), d.Dir)
	}
}

var errBody = fault.New(fault.Invalid, "admin.body", "the request's body is not the JSON that this call takes")

// serve authenticates, authorises, reads the body to its verified end, calls
// f and writes its answer.
func (h *handler) serve(action string, f func(*http.Request, []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		res, err := h.verify.Verify(r)
		if err == nil {
			err = auth.Authorize(res.Identity, action, "*")
		}
		var body []byte
		if err == nil {
			body, err = readBody(sigv4.NewBody(r.Body, res, r.ContentLength))
		}
		var out any
		start := time.Now()
		if err == nil {
			out, err = f(r, body)
		}
		h.log.Info().Str("action", action).Str("remote", r.RemoteAddr).Dur("dur", time.Since(start)).Err(err).Msg("administration")
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(status(err))
			out = toError(err)
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

var errLong = fault.New(fault.TooLarge, "admin.body-too-long", "the request's body is over 64 KiB")

// readBody reads a body to its end, where its hash is compared. What is not
// read so far is not what was signed, so a longer body is refused.
func readBody(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(body) > maxBody {
		return nil, errLong
	}
	return body, err
}

func toError(err error) Error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind() != fault.Internal {
		return Error{f.Code(), err.Error()}
	}
	return Error{"internal", "internal error; the server's log has more"}
}

func status(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Exists, fault.Precondition:
		return http.StatusConflict
	case fault.Denied:
		return http.StatusForbidden
	case fault.NoSpace:
		return http.StatusInsufficientStorage
	case fault.Unavailable, fault.NotLeader, fault.Deadline, fault.Canceled:
		return http.StatusServiceUnavailable
	case fault.NotImplemented:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}
