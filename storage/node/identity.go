package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"holdfast/internal/fault"
	"holdfast/internal/vfs"
	"holdfast/storage"
)

// Sentinels of directories.
var (
	ErrNoIdentity = fault.New(fault.NotFound, "storage.no-identity", "directory has no holdfast.id")
	ErrIdentity   = fault.New(fault.Denied, "storage.identity", "directory belongs to another node, cluster or version")
	ErrNotEmpty   = fault.New(fault.Exists, "storage.not-empty", "directory is not empty")
	ErrLocked     = fault.New(fault.Unavailable, "storage.locked", "directory is in use by another process")
)

// Format is the version of the whole layout of a directory.
const formatVersion = 1

const (
	identityName  = "holdfast.id"
	lockName      = "holdfast.lock"
	identityLimit = 64 << 10
)

// Identity says whose a directory is.
type Identity struct {
	Cluster     string         `json:"cluster"`     // the cluster's id
	Node        storage.NodeID `json:"node"`        // for ever
	Incarnation string         `json:"incarnation"` // of the catalog, as the node last knew it; may be empty
	Created     time.Time      `json:"created"`
}

type identityFile struct {
	Format int `json:"format"`
	Identity
}

// encode returns the identity file: one line of JSON, and one of the XXH3-64
// of that line in hexadecimal.
func (id *Identity) encode() ([]byte, error) {
	line, err := json.Marshal(identityFile{formatVersion, *id})
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\nxxh3 %016x\n", line, xxh3.Hash(line)), nil
}

func decodeIdentity(b []byte) (Identity, error) {
	line, sum, _ := bytes.Cut(b, []byte("\n"))
	if string(sum) != fmt.Sprintf("xxh3 %016x\n", xxh3.Hash(line)) {
		return Identity{}, fmt.Errorf("checksum does not match: %w", storage.ErrCorrupt)
	}
	var version struct{ Format int }
	if err := json.Unmarshal(line, &version); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	if version.Format != formatVersion {
		return Identity{}, fmt.Errorf("format %d, this program knows %d: run the version of holdfast that wrote it, or a newer one: %w",
			version.Format, formatVersion, ErrIdentity)
	}
	var f identityFile
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	if f.Cluster == "" || f.Node == 0 {
		return Identity{}, fmt.Errorf("no cluster or node: %w", storage.ErrCorrupt)
	}
	return f.Identity, nil
}

// ReadIdentity reads the identity of a directory. ErrNoIdentity if it has
// none; ErrIdentity if its format is not known; storage.ErrCorrupt if it
// cannot be read.
func ReadIdentity(fs vfs.FS, dir string) (Identity, error) {
	path := fs.PathJoin(dir, identityName)
	b, err := vfs.ReadFile(fs, path, identityLimit)
	if errors.Is(err, os.ErrNotExist) {
		return Identity{}, fmt.Errorf("%s: %w: is the disk mounted? If it is lost, holdfast admin disk replace (of a server) or holdfast admin node forget (of a cluster) gives it up", dir, ErrNoIdentity)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	id, err := decodeIdentity(b)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", path, err)
	}
	return id, nil
}

// WriteIdentity replaces the identity of a directory. Durable on nil.
func WriteIdentity(fs vfs.FS, dir string, id Identity) error {
	b, err := id.encode()
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(fs, fs.PathJoin(dir, identityName), b); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

// Empty reports whether a directory holds nothing of anybody's: nothing but
// lost+found and what an interrupted Format left. A directory that does not
// exist is empty.
func Empty(fs vfs.FS, dir string) (bool, error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return len(foreign(names)) == 0, err
}

func foreign(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return n == "lost+found" || n == lockName || n == identityName+".tmp"
	})
}

// Format gives an empty directory an identity, making the directory if it
// does not exist. ErrNotEmpty if it holds anything. Durable on nil.
func Format(fs vfs.FS, dir string, id Identity) error {
	if id.Cluster == "" || id.Node == 0 {
		return fmt.Errorf("format %s: identity without cluster or node: %w", dir, ErrIdentity)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if found := foreign(names); len(found) > 0 {
		return fmt.Errorf("format %s: %w: found %s; give an empty directory, or move what is there away",
			dir, ErrNotEmpty, strings.Join(found[:min(len(found), 5)], ", "))
	}
	if err := WriteIdentity(fs, dir, id); err != nil {
		return err
	}
	if parent := fs.PathDir(dir); parent != dir {
		// The parent may belong to someone else; a new name in it is still ours.
		if err := fs.SyncDir(parent); err != nil && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("format: %w", err)
		}
	}
	return nil
}

// check compares what a directory says with what the node was told.
func (id *Identity) check(dir string, c *Config) error {
	if id.Cluster != c.Cluster {
		return fmt.Errorf("%s: %w: it is of cluster %s, this is %s; give the directory of this cluster, or an empty one",
			dir, ErrIdentity, id.Cluster, c.Cluster)
	}
	if id.Node != c.Node {
		return fmt.Errorf("%s: %w: it is of node %d, this is node %d; check the order and the mounts of the directories",
			dir, ErrIdentity, id.Node, c.Node)
	}
	return nil
}
