package admin

import (
	"encoding/json"
	"net/http"

	"github.com/gorilla/mux"

	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

// GroupRequest asks for a storage group.
type GroupRequest struct {
	Name   string `json:"name"`
	Scheme string `json:"scheme"`
	Class  string `json:"class"` // "" is STANDARD
}

// NodeRequest names a node.
type NodeRequest struct {
	Node storage.NodeID `json:"node"`
}

// TrackerRequest names a tracker by its id.
type TrackerRequest struct {
	ID string `json:"id"`
}

// InspectRequest names an object; Version "" is the current one.
type InspectRequest struct {
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	Version string `json:"version"`
}

// cluster adds the calls that look after the parts of a cluster.
func (h *handler) cluster(r *mux.Router) {
	r.Methods(http.MethodGet).Path(Prefix + "repair").HandlerFunc(h.serve("admin:Repair", func(r *http.Request, _ []byte) (any, error) {
		return h.op.Repair(r.Context())
	}))
	post(h, r, "group/create", "admin:CreateGroup", func(r *http.Request, q *GroupRequest) (any, error) {
		s, err := erasure.ParseScheme(q.Scheme)
		if err != nil {
			return nil, err
		}
		return h.op.CreateGroup(r.Context(), tracker.Group{Name: q.Name, Scheme: s, Class: q.Class})
	})
	post(h, r, "node/forget", "admin:ForgetNode", func(r *http.Request, q *NodeRequest) (any, error) {
		return struct{}{}, h.op.ForgetNode(r.Context(), q.Node)
	})
	post(h, r, "tracker/remove", "admin:RemoveTracker", func(r *http.Request, q *TrackerRequest) (any, error) {
		return struct{}{}, h.op.RemoveTracker(r.Context(), q.ID)
	})
	post(h, r, "inspect", "admin:Inspect", func(r *http.Request, q *InspectRequest) (any, error) {
		return h.op.Inspect(r.Context(), q.Bucket, q.Key, q.Version)
	})
}

// post adds a call whose body is a T.
func post[T any](h *handler, r *mux.Router, path, action string, f func(*http.Request, *T) (any, error)) {
	r.Methods(http.MethodPost).Path(Prefix + path).HandlerFunc(h.serve(action, func(r *http.Request, body []byte) (any, error) {
		q := new(T)
		if err := json.Unmarshal(body, q); err != nil {
			return nil, errBody
		}
		return f(r, q)
	}))
}
