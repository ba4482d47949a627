package allinone

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"holdfast/internal/vfs"
	"holdfast/storage"
)

// layoutFile is kept in every directory: who belongs to the server, so that a
// restart knows what should be there before any catalog answers.
const layoutFile = "holdfast.cluster"

// Names that a server makes in a directory; a bootstrap that was cut off
// removes these and nothing else.
var ownNames = []string{"holdfast.id", "holdfast.lock", "volumes", "blobs", "index", "catalog", layoutFile, layoutFile + ".tmp"}

// Layout is the content of the layout file. The highest revision holds.
type Layout struct {
	Format      int          `json:"format"`
	Revision    int          `json:"revision"`
	Cluster     string       `json:"cluster"`
	Incarnation string       `json:"incarnation"`
	Scheme      string       `json:"scheme"`
	Nodes       []Member     `json:"nodes"`
	Voters      []VoterPlace `json:"voters"`
	// Applied is a log index that the catalog had applied: it is older now
	// only if it was restored from a copy.
	Applied uint64 `json:"applied"`
	// Ready is false while the first start is under way: nothing was
	// acknowledged yet, and the first start may begin again.
	Ready bool `json:"ready"`
}

// Member is a storage node and the directory it was last seen in.
type Member struct {
	Node storage.NodeID `json:"node"`
	Dir  string         `json:"dir"`
	Gone bool           `json:"gone,omitempty"`
}

// VoterPlace is a copy of the catalog and the node in whose directory it is.
type VoterPlace struct {
	ID   string         `json:"id"`
	Node storage.NodeID `json:"node"`
}

const layoutFormat = 1

func readLayout(fs vfs.FS, dir string) (*Layout, error) {
	path := fs.PathJoin(dir, layoutFile)
	data, err := vfs.ReadFile(fs, path, 1<<20)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	l := &Layout{}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); copy the file from another directory of this server", path, err)
	}
	if l.Format != layoutFormat {
		return nil, fmt.Errorf("%s has format %d; this version reads format %d: run the version that wrote it", path, l.Format, layoutFormat)
	}
	return l, nil
}

func (l *Layout) write(fs vfs.FS, dir string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return vfs.WriteFile(fs, fs.PathJoin(dir, layoutFile), append(data, '\n'))
}

// member returns the live member that was last seen in dir.
func (l *Layout) member(dir string) *Member {
	for i := range l.Nodes {
		if l.Nodes[i].Dir == dir && !l.Nodes[i].Gone {
			return &l.Nodes[i]
		}
	}
	return nil
}

func (l *Layout) byNode(id storage.NodeID) *Member {
	for i := range l.Nodes {
		if l.Nodes[i].Node == id {
			return &l.Nodes[i]
		}
	}
	return nil
}

func (l *Layout) voterOf(id storage.NodeID) *VoterPlace {
	for i := range l.Voters {
		if l.Voters[i].Node == id {
			return &l.Voters[i]
		}
	}
	return nil
}

// clone returns a deep copy with the next revision.
func (l *Layout) next() *Layout {
	c := *l
	c.Revision++
	c.Nodes = slices.Clone(l.Nodes)
	c.Voters = slices.Clone(l.Voters)
	return &c
}

// empty reports whether dir holds nothing, lost+found aside and a layout whose
// first writing was cut off. A directory that does not exist is empty.
func empty(fs vfs.FS, dir string) (bool, error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(names, func(n string) bool { return n != "lost+found" && n != layoutFile+".tmp" }), nil
}

// foreign returns an entry of dir that no server made, "" if there is none.
func foreign(fs vfs.FS, dir string) string {
	names, err := fs.List(dir)
	if err != nil {
		return ""
	}
	for _, n := range names {
		if n != "lost+found" && n != "holdfast.root" && !slices.Contains(ownNames, n) && !strings.HasPrefix(n, "holdfast.") {
			return n
		}
	}
	return ""
}

// wipe removes what a cut-off first start left in dir.
func wipe(fs vfs.FS, dir string) error {
	for _, n := range ownNames {
		if err := fs.RemoveAll(fs.PathJoin(dir, n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fs.SyncDir(dir)
}
