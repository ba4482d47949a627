package vfs

import (
	"errors"
	"strings"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// Ordered returns fs for a Pebble database: it makes a new manifest's name
// durable before Pebble goes on. Pebble syncs the directory once for the
// manifest and for the marker that points to it, so on a file system that may
// keep the second and lose the first, a power cut while a database is opened
// would leave one that cannot be.
func Ordered(fs pvfs.FS) pvfs.FS { return ordered{fs} }

type ordered struct{ pvfs.FS }

// Create implements vfs.FS.
func (o ordered) Create(name string, c pvfs.DiskWriteCategory) (pvfs.File, error) {
	f, err := o.FS.Create(name, c)
	if err != nil || !strings.HasPrefix(o.PathBase(name), "MANIFEST-") {
		return f, err
	}
	dir, err := o.OpenDir(o.PathDir(name))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Unwrap implements vfs.FS.
func (o ordered) Unwrap() pvfs.FS { return o.FS }
