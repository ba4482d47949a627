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

// RoleRequest asks for a node's role, "rw" or "ro".
type RoleRequest struct {
	Node  storage.NodeID `json:"node"`
	Role  string         `json:"role"`
	Force bool           `json:"force"` // though too few nodes would take writes
}

// PolicyRequest asks for a placement policy. Bucket and Class "" are every one;
// with policy/clear they are all that counts.
type PolicyRequest struct {
	Policy string `json:"policy"`
	Bucket string `json:"bucket"`
	Class  string `json:"class"`
	Group  string `json:"group"` // under "pinned"
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
	post(h, r, "node/role", "admin:SetNodeRole", func(r *http.Request, q *RoleRequest) (any, error) {
		role, err := tracker.ParseRole(q.Role)
		if err != nil {
			return nil, err
		}
		return h.op.SetNodeRole(r.Context(), q.Node, role, q.Force)
	})
	r.Methods(http.MethodGet).Path(Prefix + "policy").HandlerFunc(h.serve("admin:Policies", func(r *http.Request, _ []byte) (any, error) {
		list, err := h.op.Policies(r.Context())
		return append([]tracker.Policy{}, list...), err // JSON has [] where none is set
	}))
	post(h, r, "policy/set", "admin:SetPolicy", func(r *http.Request, q *PolicyRequest) (any, error) {
		kind, err := tracker.ParsePolicy(q.Policy)
		if err != nil {
			return nil, err
		}
		return h.op.SetPolicy(r.Context(), &tracker.SetPolicy{Bucket: q.Bucket, Class: q.Class, Kind: kind, Group: q.Group})
	})
	post(h, r, "policy/clear", "admin:ClearPolicy", func(r *http.Request, q *PolicyRequest) (any, error) {
		return h.op.SetPolicy(r.Context(), &tracker.SetPolicy{Bucket: q.Bucket, Class: q.Class})
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
