package allinone

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

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
	// Fresh is set from before a directory is formatted until it was: a cut in
	// between is the one case in which a later start formats it.
	Fresh bool `json:"fresh,omitempty"`
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
	l, err := decodeLayout(data)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return l, nil
}

func (l *Layout) write(fs vfs.FS, dir string) error {
	data, err := l.encode()
	if err != nil {
		return err
	}
	return vfs.WriteFile(fs, fs.PathJoin(dir, layoutFile), data)
}

// layoutTail ends a layout file.
const layoutTail = ",\n  \"xxh3\": \"%016x\"\n}\n"

// encode returns the layout file: JSON whose last key, xxh3, is the XXH3-64 in
// hexadecimal of all bytes before the comma that it stands behind. A program
// that does not know the key passes over it.
func (l *Layout) encode() ([]byte, error) {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSuffix(data, []byte("\n}"))
	return fmt.Appendf(data, layoutTail, xxh3.Hash(data)), nil
}

// decodeLayout reads a layout file. One without a sum, as older versions wrote
// it, may have no other keys than theirs: a name that rotted would count as a
// key that is not there, and "ready" must not be missed.
func decodeLayout(data []byte) (*Layout, error) {
	var f struct {
		Layout
		Sum *string `json:"xxh3"`
	}
	err := json.Unmarshal(data, &f)
	if err == nil && f.Format != layoutFormat {
		return nil, fmt.Errorf("has format %d; this version reads format %d: run the version that wrote it", f.Format, layoutFormat)
	}
	if err == nil && f.Sum == nil {
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		err = d.Decode(&Layout{})
	} else if err == nil {
		n := max(0, len(data)-len(fmt.Sprintf(layoutTail, 0)))
		if string(data[n:]) != fmt.Sprintf(layoutTail, xxh3.Hash(data[:n])) {
			err = errors.New("its checksum does not match")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("is damaged (%w); copy the file from another directory of this server", err)
	}
	return &f.Layout, nil
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

// forgotten reports whether dir was a member's that is gone, and is nobody's now.
func (l *Layout) forgotten(dir string) bool {
	return l.member(dir) == nil && slices.ContainsFunc(l.Nodes, func(m Member) bool { return m.Dir == dir })
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
