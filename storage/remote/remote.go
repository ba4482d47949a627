// Package remote is a node's contract across a network: Server serves the
// nodes of a storage process, Nodes finds and asks them.
//
// Shards travel over HTTP/1.1, as frames and nothing else, so that a cut body
// is never taken for a whole one:
//
//	PUT /v1/shards/NODE/BLOB/INDEX.GEN?size=N   frames; the ticket in the header
//	GET /v1/shards/NODE/BLOB/INDEX.GEN?first=F&n=N
//
// A PUT waits for "100 Continue", so that what refuses it does so before the
// bytes; its seal is the trailer, and a body without it leaves nothing behind
// (SAFETY A4). Everything else is a call of internal/rpc. Both stand behind
// mutual TLS (internal/peer), which is the cluster's key; what writes needs a
// ticket with the tracker's MAC beside it (SAFETY B9).
//
// # Goroutines
//
// A shard that is written through Nodes has one, which its writer waits for.
package remote

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/erasure"
	"holdfast/erasure/frame"
	"holdfast/internal/fault"
	"holdfast/internal/rpc"
	"holdfast/storage"
)

const (
	service = "Node"
	prefix  = "/v1/shards/"

	ticketHeader = "Holdfast-Ticket"
	// sealTrailer ends a PUT: "frames length sum", or "abort".
	sealTrailer = "Holdfast-Seal"
	// renewTrailer is a ticket that replaces the one of the header.
	renewTrailer = "Holdfast-Renewed"
	// errorHeader marks an answer that is an error, with the fault as its body.
	errorHeader = "Holdfast-Error"

	abort = "abort"
	// maxRun is the most frames in bytes that are handed to a node at once.
	maxRun = (1 << 20) / frame.Stride * frame.Stride
	// stall is how long a body may stand still.
	stall = 30 * time.Second
	// sendStall is how long a reader may take none of what is sent: as long as
	// the client behind a gateway may take for one window.
	sendStall = 15 * time.Minute
	// maxFault bounds an error's body in bytes.
	maxFault = 64 << 10
)

// known is what an answer of a node may carry.
func known() rpc.Sentinels {
	return rpc.Known(storage.Sentinels(), erasure.Sentinels(), []*fault.Error{frame.ErrSum})
}

// Messages of calls.
type (
	none struct{}

	// call names the node that is asked.
	call struct{ Node storage.NodeID }

	idRequest struct {
		call
		ID storage.ShardID
	}
	idsRequest struct {
		call
		IDs []storage.ShardID
		Now int64 // ms
		// Incarnation is the catalog's for which shards are dropped; "" from
		// who drops none.
		Incarnation string
	}
	rangeRequest struct {
		call
		Range storage.IDRange
		After storage.ShardID
		Limit int
	}
	listAnswer     struct{ Shards []storage.ShardInfo }
	rebuildRequest struct {
		call
		Rebuild storage.Rebuild
	}
	adoptRequest struct {
		call
		Incarnation string
	}
)

func shardPath(node storage.NodeID, id storage.ShardID) string {
	return fmt.Sprintf("%s%d/%s/%d.%d", prefix, node, id.Blob, id.Index, id.Gen)
}

var errPath = fault.New(fault.Invalid, "storage.path", "not the path of a shard")

// parsePath reads what shardPath wrote.
func parsePath(path string) (node storage.NodeID, id storage.ShardID, err error) {
	rest, ok := strings.CutPrefix(path, prefix)
	part := strings.Split(rest, "/")
	if !ok || len(part) != 3 || len(part[1]) != 32 {
		return 0, id, errPath
	}
	index, gen, ok := strings.Cut(part[2], ".")
	n, e1 := strconv.ParseUint(part[0], 10, 32)
	i, e2 := strconv.ParseUint(index, 10, 8)
	g, e3 := strconv.ParseUint(gen, 10, 32)
	for k := range id.Blob {
		b, err := strconv.ParseUint(part[1][2*k:2*k+2], 16, 8)
		if err != nil {
			return 0, id, errPath
		}
		id.Blob[k] = byte(b)
	}
	if !ok || e1 != nil || e2 != nil || e3 != nil {
		return 0, id, errPath
	}
	id.Index, id.Gen = uint8(i), uint32(g)
	return storage.NodeID(n), id, nil
}

func ticketText(t *storage.Ticket) string {
	return base64.RawURLEncoding.EncodeToString(t.AppendBinary(nil))
}

func parseTicket(text string) (*storage.Ticket, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, storage.ErrTicket
	}
	return storage.ParseTicket(b)
}

func sealText(s storage.Seal) string { return fmt.Sprintf("%d %d %d", s.Frames, s.Length, s.Sum) }

func parseSeal(text string) (s storage.Seal, err error) {
	part := strings.Split(text, " ")
	if len(part) != 3 {
		return s, storage.ErrSeal
	}
	frames, e1 := strconv.ParseInt(part[0], 10, 64)
	length, e2 := strconv.ParseInt(part[1], 10, 64)
	sum, e3 := strconv.ParseUint(part[2], 10, 64)
	if e1 != nil || e2 != nil || e3 != nil || frames < 0 || length < 0 {
		return s, storage.ErrSeal
	}
	return storage.Seal{Frames: frames, Length: length, Sum: sum}, nil
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	body := rpc.FaultOf(err).Append(nil)
	w.Header().Set(errorHeader, "1")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusConflict)
	_, _ = w.Write(body)
}

// refusal reads what refuse wrote; nil if the answer is none.
func refusal(r *http.Response, s rpc.Sentinels) error {
	if r.StatusCode == http.StatusOK {
		return nil
	}
	if r.Header.Get(errorHeader) == "" {
		return fmt.Errorf("node answers %s: %w", r.Status, rpc.ErrProtocol)
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxFault))
	if err != nil {
		return err
	}
	f, err := rpc.ParseFault(b)
	if err == nil {
		if err = f.Err(s); err == nil {
			err = rpc.ErrProtocol
		}
	}
	return err
}
