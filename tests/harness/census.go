package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/cmd/allinone"
	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/node"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	"holdfast/tracker/kv"
)

// Census is a stopped server's catalog compared with its disks, shard by shard.
type Census struct {
	Blobs, Shards int      // of the catalog
	Broken        []string // rules of the catalog that do not hold
	Holes         []string // indexes of blobs that are placed nowhere
	Missing       []string // shards that are not where the catalog has them
	Bad           []string // shards there with another seal or frames that do not hold
	Unknown       []string // shards on disk that the catalog does not place there, quarantined, garbage and late ones aside
	// Late are shards whose node answered too late for the commit, and whose
	// index was made again meanwhile. They are no fault before the fence has
	// passed their tickets: nobody may tell the node before that they are not
	// the catalog's.
	Late        []string
	Quarantined int // shards in quarantine
	Garbage     int // shards that the catalog knows to be garbage

	fence int64
	live  map[storage.BlobID]*catalog.BlobState
	known map[at]*catalog.BlobState
	dying map[storage.BlobID]bool
	moved map[at]bool
}

// at is a shard at its place.
type at struct {
	node storage.NodeID
	id   storage.ShardID
}

// ReadLayout reads the layout file of a server's directory.
func ReadLayout(t testing.TB, dir string) *allinone.Layout {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "holdfast.cluster"))
	if err != nil {
		t.Fatal(err)
	}
	l := &allinone.Layout{}
	if err := json.Unmarshal(data, l); err != nil {
		t.Fatalf("layout of %s: %v", dir, err)
	}
	return l
}

// TakeCensus opens a stopped server's catalog and nodes, found by the layout
// in dir, and compares them. Every shard is read and its frames are verified.
func TakeCensus(t testing.TB, dir string) *Census {
	t.Helper()
	l := ReadLayout(t, dir)
	c := &Census{live: map[storage.BlobID]*catalog.BlobState{}, known: map[at]*catalog.BlobState{}, dying: map[storage.BlobID]bool{}, moved: map[at]bool{}}
	withCatalog(t, l, func(r kv.Reader) error { return c.readCatalog(r) })
	found := map[at]bool{}
	for _, m := range l.Nodes {
		if !m.Gone {
			c.readNode(t, l, m, found)
		}
	}
	for a, b := range c.known {
		if !found[a] && !b.Dying {
			c.Missing = append(c.Missing, fmt.Sprintf("%s on node %d", a.id, a.node))
		}
	}
	slices.Sort(c.Missing)
	return c
}

// withCatalog opens the voters that the layout names and are there.
func withCatalog(t testing.TB, l *allinone.Layout, f func(kv.Reader) error) {
	t.Helper()
	var voters []consensus.Voter
	for _, v := range l.Voters {
		for _, m := range l.Nodes {
			path := filepath.Join(m.Dir, "catalog")
			if _, err := os.Stat(path); m.Node == v.Node && !m.Gone && err == nil {
				voters = append(voters, consensus.Voter{ID: v.ID, FS: vfs.OS(), Dir: path})
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log, err := consensus.OpenLocal(ctx, consensus.LocalConfig{Voters: voters, ClusterID: l.Cluster, BallastBytes: -1,
		Machine: func(int) consensus.Machine { return catalog.NewMachine() }, Logger: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatalf("catalog of a stopped server: %v", err)
	}
	r, release, err := log.Snapshot(ctx)
	if err == nil {
		err = f(r)
		release()
	}
	if err != nil {
		t.Errorf("catalog of a stopped server: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Errorf("closing the catalog: %v", err)
	}
}

func (c *Census) readCatalog(r kv.Reader) error {
	c.Broken = catalog.Check(r)
	st, err := catalog.ReadState(r)
	if err != nil {
		return err
	}
	c.fence = st.Fence
	err = catalog.Blobs(r, storage.IDRange{}, func(b *catalog.BlobState) bool {
		if b.Dying {
			c.dying[b.ID] = true
		} else {
			c.Blobs++
			c.live[b.ID] = b
		}
		for i, p := range b.Shards {
			if p == (storage.Placement{}) {
				if !b.Dying {
					c.Holes = append(c.Holes, fmt.Sprintf("%s/%d", b.ID, i))
				}
				continue
			}
			if !b.Dying {
				c.Shards++
			}
			c.known[at{p.Node, storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}}] = b
		}
		return true
	})
	if err != nil {
		return err
	}
	for after := (catalog.GarbageID{}); ; {
		rows, err := catalog.GarbageRows(r, after, 1000)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, g := range rows {
			switch g.Kind {
			case catalog.GarbageBlob:
				c.dying[g.Blob] = true
			case catalog.GarbageShard:
				c.moved[at{g.Place.Node, storage.ShardID{Blob: g.Blob, Index: g.Index, Gen: g.Place.Gen}}] = true
			}
		}
		after = rows[len(rows)-1].GarbageID
	}
}

func (c *Census) readNode(t testing.TB, l *allinone.Layout, m allinone.Member, found map[at]bool) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(m.Dir, "holdfast.id")); err != nil {
		return // its shards will be missing
	}
	n, err := node.Open(t.Context(), node.Config{Dir: m.Dir, Cluster: l.Cluster, Node: m.Node, Incarnation: l.Incarnation, Reserve: -1, Logger: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatalf("node %d of a stopped server: %v", m.Node, err)
	}
	defer n.Close()
	for after := (storage.ShardID{}); ; {
		infos, err := n.List(t.Context(), storage.IDRange{}, after, 1000)
		if err != nil {
			t.Fatalf("node %d: %v", m.Node, err)
		}
		if len(infos) == 0 {
			return
		}
		for i := range infos {
			c.shard(t.Context(), n, &infos[i], found)
		}
		after = infos[len(infos)-1].ID
	}
}

func (c *Census) shard(ctx context.Context, n *node.Node, info *storage.ShardInfo, found map[at]bool) {
	here := at{n.Node(), info.ID}
	found[here] = true
	b := c.known[here]
	switch {
	case b != nil && !b.Dying && info.Quarantined != 0:
		c.Bad = append(c.Bad, fmt.Sprintf("%s on node %d is in quarantine although it is referenced", info.ID, here.node))
	case info.Quarantined != 0:
		c.Quarantined++
		return
	case c.dying[info.ID.Blob] || c.moved[here]:
		c.Garbage++
		return
	case b == nil && c.late(info):
		c.Late = append(c.Late, fmt.Sprintf("%s on node %d", info.ID, here.node))
		return
	case b == nil:
		c.Unknown = append(c.Unknown, fmt.Sprintf("%s on node %d", info.ID, here.node))
		return
	}
	if info.Seal.Frames != b.Scheme.Frames(b.Length) || info.Seal.Length != b.Scheme.ShardSize(b.Length) {
		c.Bad = append(c.Bad, fmt.Sprintf("%s on node %d: seal %+v, blob of %d bytes", info.ID, here.node, info.Seal, b.Length))
		return
	}
	if err := verify(ctx, n, info); err != nil {
		c.Bad = append(c.Bad, fmt.Sprintf("%s on node %d: %v", info.ID, here.node, err))
	}
}

// late reports whether a shard came too late for its commit, was made again
// under a later generation, and may still be there.
func (c *Census) late(info *storage.ShardInfo) bool {
	b, i := c.live[info.ID.Blob], int(info.ID.Index)
	return b != nil && i < len(b.Shards) && b.Shards[i].Gen > info.ID.Gen && info.Expiry > c.fence
}

// verify reads a shard and checks every frame.
func verify(ctx context.Context, n *node.Node, info *storage.ShardInfo) error {
	r, err := n.Open(ctx, info.ID, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	seed := frame.SeedOf(info.ID.Blob, info.ID.Index, info.ID.Gen)
	buf := make([]byte, 15*frame.Stride)
	var frames, bytes int64
	for {
		m, err := r.ReadFrames(buf)
		if m > 0 {
			good, bad := seed.CheckRun(frames, buf[:m])
			if bad != nil {
				return bad
			}
			frames += good
			bytes += int64(m)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if frames != info.Seal.Frames || bytes != info.Seal.Length {
		return fmt.Errorf("%d frames of %d bytes are there, the seal says %+v", frames, bytes, info.Seal)
	}
	return nil
}

// Problems lists all that is wrong: shards without a reference count only
// where orphans is set, since an upload that was cut off leaves some until its
// ticket has expired.
func (c *Census) Problems(orphans bool) []string {
	var out []string
	add := func(what string, list []string) {
		if len(list) > 0 {
			out = append(out, fmt.Sprintf("%d %s: %s", len(list), what, strings.Join(list[:min(len(list), 5)], "; ")))
		}
	}
	add("rules of the catalog are broken", c.Broken)
	add("holes", c.Holes)
	add("shards are missing", c.Missing)
	add("shards are bad", c.Bad)
	if orphans {
		add("shards are unknown to the catalog", c.Unknown)
	}
	return out
}

// Clean fails the test unless catalog and disks agree in all.
func (c *Census) Clean(t testing.TB) {
	t.Helper()
	for _, p := range c.Problems(true) {
		t.Errorf("census: %s", p)
	}
	t.Logf("census: %d blobs, %d shards, %d late, %d garbage, %d in quarantine", c.Blobs, c.Shards, len(c.Late), c.Garbage, c.Quarantined)
}

// CheckCatalog fails the test unless a stopped server's catalog holds its own
// rules and every shard that it places is there and good. Holes that a write
// left, and shards that no commit came for, are no fault: repair and reconcile
// have them to do. dir is any directory of the server.
func CheckCatalog(t testing.TB, dir string) {
	t.Helper()
	c := TakeCensus(t, dir)
	c.Holes = nil
	for _, p := range c.Problems(false) {
		t.Errorf("census: %s", p)
	}
	t.Logf("census: %d blobs, %d shards, %d without a reference, %d garbage, %d in quarantine", c.Blobs, c.Shards, len(c.Unknown), c.Garbage, c.Quarantined)
}

// StoredShard is a shard as it lies on disk.
type StoredShard struct {
	Node storage.NodeID
	Dir  string // of the node
	Info storage.ShardInfo
	Head []byte // its first stored frame, by which it can be found in a file
}

// StoredShards lists the sealed shards of a stopped server by their names,
// those in quarantine too.
func StoredShards(t testing.TB, dir string) []StoredShard {
	t.Helper()
	l := ReadLayout(t, dir)
	var out []StoredShard
	for _, m := range l.Nodes {
		if m.Gone {
			continue
		}
		n, err := node.Open(t.Context(), node.Config{Dir: m.Dir, Cluster: l.Cluster, Node: m.Node, Incarnation: l.Incarnation, Reserve: -1, Logger: zerolog.New(io.Discard)})
		if err != nil {
			t.Fatal(err)
		}
		for after := (storage.ShardID{}); ; {
			infos, err := n.List(t.Context(), storage.IDRange{}, after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(infos) == 0 {
				break
			}
			for _, i := range infos {
				out = append(out, StoredShard{m.Node, m.Dir, i, headOf(t, n, &i)})
			}
			after = infos[len(infos)-1].ID
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	slices.SortFunc(out, func(a, b StoredShard) int {
		return cmp.Or(strings.Compare(a.Info.ID.String(), b.Info.ID.String()), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// headOf reads the first frame of a shard, nil if it cannot be read.
func headOf(t testing.TB, n *node.Node, info *storage.ShardInfo) []byte {
	r, err := n.Open(t.Context(), info.ID, 0, 1)
	if err != nil {
		return nil
	}
	defer r.Close()
	buf := make([]byte, frame.Stride)
	m, err := r.ReadFrames(buf)
	if err != nil && err != io.EOF {
		return nil
	}
	return buf[:m]
}

// NodeShards opens a stopped node's directory, reads every sealed shard that
// is not in quarantine and verifies it: the error of each, nil for a good one.
func NodeShards(t testing.TB, dir string) (id storage.NodeID, shards map[storage.ShardID]error) {
	t.Helper()
	who, err := node.ReadIdentity(vfs.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), node.Config{Dir: dir, Cluster: who.Cluster, Node: who.Node, Incarnation: who.Incarnation, Reserve: -1, Logger: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatalf("node %d of a stopped process: %v", who.Node, err)
	}
	defer n.Close()
	shards = map[storage.ShardID]error{}
	for after := (storage.ShardID{}); ; {
		infos, err := n.List(t.Context(), storage.IDRange{}, after, 1000)
		if err != nil {
			t.Fatalf("node %d: %v", who.Node, err)
		}
		if len(infos) == 0 {
			return who.Node, shards
		}
		for i := range infos {
			if infos[i].Quarantined == 0 {
				shards[infos[i].ID] = verify(t.Context(), n, &infos[i])
			}
		}
		after = infos[len(infos)-1].ID
	}
}
