package tracker

import (
	"context"
	"fmt"

	"holdfast/erasure"
	"holdfast/storage"
)

// Scheduler answers where new data goes and which copies a read should use.
// Its decisions are pure functions of the cluster map, load and the request;
// see holdfast/tracker/placement.
type Scheduler interface {
	// Place grants a blob id, its nodes and a ticket. Nothing is written for
	// it; one grant is one attempt. ErrNoPlacement, ErrNoSuchClass.
	Place(ctx context.Context, r *PlaceRequest) (*Grant, error)
	// Renew extends a write ticket that has not expired, while its stream runs.
	Renew(ctx context.Context, t *storage.Ticket) (*storage.Ticket, error)
	// Map returns the cluster map as last known; it is shared and immutable.
	Map(ctx context.Context) (*Map, error)
	// ReportDamage queues shards that a reader found missing or bad, and
	// holes that a writer left, for repair. Best effort: what is lost here,
	// reconcile and scrub find again.
	ReportDamage(ctx context.Context, damage []storage.Damage) error
}

// PlaceRequest asks for a grant.
type PlaceRequest struct {
	Bucket BucketID
	Class  string // "" is STANDARD
	Size   int64  // bytes to come, -1 if unknown
}

// Grant is a place to write one blob to.
type Grant struct {
	Blob   storage.BlobID
	Scheme erasure.Scheme
	Shards []storage.Placement // by index; holes where too few nodes are live
	Ticket storage.Ticket
}

// NodeState is the state of a storage node. A change raises its epoch.
type NodeState uint8

// The node states.
const (
	NodeJoining NodeState = 1 + iota
	NodeActive
	NodeSuspect
	NodeDown
	NodeDraining
	NodeGone
)

// String returns the state's name.
func (s NodeState) String() string {
	names := [...]string{"unknown", "joining", "active", "suspect", "down", "draining", "gone"}
	if int(s) < len(names) {
		return names[s]
	}
	return names[0]
}

// MarshalText implements encoding.TextMarshaler: JSON has the state's name.
func (s NodeState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. A name of a newer release
// is the zero state.
func (s *NodeState) UnmarshalText(b []byte) error {
	*s = 0
	for n := NodeJoining; n <= NodeGone; n++ {
		if n.String() == string(b) {
			*s = n
		}
	}
	return nil
}

// NodeRole says what an operator lets a node do.
type NodeRole uint8

// The roles. A node that is set read-only takes no new shard; it serves reads
// and deletes as before, and what it holds stays where it is.
const (
	RoleReadWrite NodeRole = iota
	RoleReadOnly
)

// ParseRole parses "rw" and "ro".
func ParseRole(s string) (NodeRole, error) {
	switch s {
	case "rw":
		return RoleReadWrite, nil
	case "ro":
		return RoleReadOnly, nil
	}
	return 0, fmt.Errorf("role %q is not rw or ro: %w", s, ErrInvalid)
}

// String returns "rw" or "ro".
func (r NodeRole) String() string {
	if r == RoleReadOnly {
		return "ro"
	}
	return "rw"
}

// MarshalText implements encoding.TextMarshaler: JSON has the role's name.
func (r NodeRole) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *NodeRole) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRole(string(b))
	return err
}

// Node is a storage node in the map.
type Node struct {
	ID    storage.NodeID
	Group uint16
	State NodeState
	Epoch uint32
	Role  NodeRole // as an operator set it
	// ReadOnly says that the node takes no new shards: its role says so, or
	// the node does, since it is full or fails.
	ReadOnly bool
	Domain   Domain // failure domain
	Addr     string // data address; in one process the directory
	Load     Load
}

// Domain is a failure domain, outermost first; empty parts are unknown.
type Domain struct{ Zone, Rack, Host string }

// Load is a node's last heartbeat.
type Load struct {
	Total, Free   int64 // bytes; Free excludes the reserve
	Used          int64
	InFlight      int64 // bytes being written
	LatencyMicros int64 // recent mean of a data sync
	Errors        uint64
	At            int64 // ms, 0 if never heard of
	// Sent and Received are bytes of shards over the network since the node's
	// process began.
	Sent, Received uint64
	// Err says, for people, why the node takes no writes, or less than that.
	Err string
}

// Group is a storage group.
type Group struct {
	ID     uint16
	Name   string
	Class  string // storage class it carries, "STANDARD" by default
	Scheme erasure.Scheme
}

// Map is the cluster map. Immutable once returned.
type Map struct {
	Version uint64
	Cluster string // cluster id
	Groups  []Group
	Nodes   []Node
	// InlineFull says that the catalog holds as many bytes of small objects
	// as it should: further ones go to nodes as larger ones do (SAFETY B6).
	InlineFull bool
}

// Node returns the node with the id, nil if there is none.
func (m *Map) Node(id storage.NodeID) *Node {
	for i := range m.Nodes {
		if m.Nodes[i].ID == id {
			return &m.Nodes[i]
		}
	}
	return nil
}
