// Package remote is the tracker's contract across a network: Services serves
// an implementation of it, Client is one that asks the trackers of a cluster.
//
// A tracker that does not lead answers tracker.ErrNotLeader with the leader's
// address as a hint; Client follows it. Every change carries a request id and
// the time that is left for it, so that asking again, here or at the next
// leader, takes effect at most once (SAFETY A8). Times cross the network as
// what is left of them: the clocks of two machines are never compared.
//
// The package knows no Raft and no S3. Its goroutines: Client.Run, one loop
// that keeps the cluster map.
package remote

import (
	"fmt"

	"holdfast/erasure"
	"holdfast/internal/rpc"
	"holdfast/storage"
	"holdfast/tracker"
)

// The names of the services.
const (
	catalogService   = "Catalog"
	schedulerService = "Scheduler"
	adminService     = "Administration"
)

// Sentinels is what an answer of a tracker may carry.
func Sentinels() rpc.Sentinels {
	return rpc.Known(tracker.Sentinels(), storage.Sentinels(), erasure.Sentinels())
}

// notLeader is tracker.ErrNotLeader with the address of who leads.
type notLeader struct{ addr string }

// Error implements error.
func (e *notLeader) Error() string {
	if e.addr == "" {
		return tracker.ErrNotLeader.Error()
	}
	return fmt.Sprintf("%v; the leader is at %s", tracker.ErrNotLeader, e.addr)
}

// Unwrap returns the sentinel.
func (e *notLeader) Unwrap() error { return tracker.ErrNotLeader }

// Hint implements rpc.Hinter.
func (e *notLeader) Hint() string { return e.addr }

// Messages of calls whose arguments are not one struct of the contract.
type (
	none struct{}

	nameRequest struct{ Name string }

	usageRequest struct{ Bucket tracker.BucketID }

	extentsRequest struct {
		Ref    tracker.Ref
		Offset int64
		Max    int
	}
	extentsAnswer struct{ Extents []tracker.Extent }

	partsRequest struct {
		Ref        tracker.Ref
		After, Max int
	}
	partsAnswer struct{ Parts []tracker.Part }

	listPartsRequest struct {
		Upload     tracker.UploadRef
		After, Max int
	}

	tagsAnswer struct{ Version string }

	// deleted is DeleteObjects' answer; an error cannot travel as such.
	deleted struct {
		Results []tracker.DeleteResult // without Err
		Faults  []rpc.Fault            // by result
	}

	mapRequest struct {
		Boot    [16]byte // of the tracker that gave the map the caller has
		Version uint64   // of that map
		// Reader is the gateway that asks, zero for who reads no objects.
		// ReadAge is for how many ms its oldest read has been served, 0 for none.
		Reader  [16]byte
		ReadAge int64
	}
	mapAnswer struct {
		Boot [16]byte
		Map  *tracker.Map // nil if the caller's is the present one
	}

	damageRequest struct{ Damage []storage.Damage }

	stateRequest struct {
		Node  storage.NodeID
		State tracker.NodeState
	}

	roleRequest struct {
		Node  storage.NodeID
		Role  tracker.NodeRole
		Force bool
	}

	policiesAnswer struct{ Policies []tracker.Policy }

	fsckRequest struct{ Adopt bool }
)
