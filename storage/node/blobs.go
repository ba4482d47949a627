package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/index"
	"holdfast/storage/volume"
)

// filesPerDir is how many files a directory of blobs gets. Directories are
// filled one after the other, so that one sync of a directory serves many
// files.
const filesPerDir = 4096

// blobDirs hands out places for shard files and shares the syncs of their
// directories.
type blobDirs struct {
	mu    sync.Mutex
	dir   uint32 // filled now; 0 before the first
	files int    // in it

	sync struct {
		sync.Mutex
		rounds map[string]*syncRound // that has not begun, by directory
		last   map[string]*syncRound // that runs now
	}
}

// syncRound is one sync of a directory for all that joined before it began.
type syncRound struct {
	done chan struct{}
	err  error
}

// place returns a new file's number. Its directory exists and is durable.
func (n *Node) placeBlob() (uint64, error) {
	b := &n.blobs
	b.mu.Lock() // held over making a directory: the others need it as well
	defer b.mu.Unlock()
	if b.dir == 0 || b.files >= filesPerDir {
		dir, _ := volume.FileName(storage.ShardID{}, uint64(b.dir+1)<<32)
		if err := n.fs.MkdirAll(n.path("blobs", dir), 0o700); err != nil {
			return 0, err
		}
		if err := n.fs.SyncDir(n.path("blobs")); err != nil {
			return 0, err
		}
		b.dir, b.files = b.dir+1, 0
	}
	b.files++
	return uint64(b.dir)<<32 | uint64(rand.Uint32()), nil
}

// syncDir makes the names in dir durable that were there when it was called.
// Those who call while a sync runs share the next.
func (n *Node) syncDir(dir string) error {
	s := &n.blobs.sync
	s.Lock()
	if r := s.rounds[dir]; r != nil {
		s.Unlock()
		<-r.done
		return r.err
	}
	if s.rounds == nil {
		s.rounds, s.last = map[string]*syncRound{}, map[string]*syncRound{}
	}
	r := &syncRound{done: make(chan struct{})}
	s.rounds[dir] = r
	before := s.last[dir]
	s.Unlock()
	if before != nil {
		<-before.done
	}
	s.Lock()
	delete(s.rounds, dir)
	s.last[dir] = r
	s.Unlock()
	r.err = n.fs.SyncDir(dir)
	n.stats.syncs.Add(1)
	s.Lock()
	if s.last[dir] == r {
		delete(s.last, dir)
	}
	s.Unlock()
	close(r.done)
	return r.err
}

// sweepBlobs removes the files of a directory to which the index does not
// refer, but for those that are being sealed, and returns how many are left.
func (n *Node) sweepBlobs(ctx context.Context, num uint32) (int, error) {
	dir, _ := volume.FileName(storage.ShardID{}, uint64(num)<<32)
	path := n.path("blobs", dir)
	names, err := n.fs.List(path)
	if err != nil {
		return 0, fmt.Errorf("blobs: %w", err)
	}
	left := 0
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return left, err
		}
		id, file, ok := volume.ParseFileName(num, name)
		if !ok {
			left++
			continue
		}
		n.pins.enter(id)
		e, found, err := n.index.Get(id)
		orphan := err == nil && (!found || e.File != file) && n.writing.begin(id)
		if orphan {
			// Looked at again: it may have been sealed since. A delete that
			// was seen must be durable before the file goes.
			if e, found, err = n.index.Get(id); err == nil && (!found || e.File != file) {
				err = n.index.Settle()
				if err == nil {
					err = n.fs.Remove(n.fs.PathJoin(path, name))
				}
				n.log.Info().Stringer("shard", id).Msg("file without a record is removed")
				left--
			}
			n.writing.end(id)
		}
		n.pins.leave(id)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return left, fmt.Errorf("blobs: %w", err)
		}
		left++
	}
	return left, nil
}

// adoptBlobs indexes the files of a directory to which the index does not
// refer and that say of themselves what they are, and returns how many files
// there are. It is for a rebuilt index.
func (n *Node) adoptBlobs(ctx context.Context, num uint32) (int, error) {
	dir, _ := volume.FileName(storage.ShardID{}, uint64(num)<<32)
	names, err := n.fs.List(n.path("blobs", dir))
	if err != nil {
		return 0, fmt.Errorf("blobs: %w", err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		id, file, ok := volume.ParseFileName(num, name)
		if !ok {
			continue
		}
		if _, found, err := n.index.Get(id); err != nil {
			return 0, err
		} else if found {
			continue
		}
		rec, err := n.readTrailer(id, file)
		if vfs.NoDescriptors(err) { // says nothing of the file
			return 0, err
		}
		if err != nil {
			n.log.Warn().Stringer("shard", id).Err(err).Msg("file without a record is not whole, and is left")
			continue
		}
		r := &record{buf: make([]byte, volume.FiledSpan)}
		r.put.Entry = index.Entry{ID: id, Kind: volume.Filed, Seal: rec.Seal, Expiry: rec.Expiry, File: file}
		r.rec.File = file
		if err := n.commit.append(r); err != nil {
			return 0, err
		}
	}
	return len(names), nil
}

// readTrailer reads what a shard's file says of itself.
func (n *Node) readTrailer(id storage.ShardID, file uint64) (volume.Record, error) {
	f, err := n.fs.OpenFile(n.shardPath(id, file), vfs.ReadOnly)
	if err != nil {
		return volume.Record{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return volume.Record{}, err
	}
	b := make([]byte, volume.RecordSize)
	if _, err := f.ReadAt(b, max(0, size-volume.RecordSize)); err != nil {
		return volume.Record{}, err
	}
	rec, err := volume.DecodeTrailer(b, file)
	if err == nil && (rec.ID != id || rec.Seal.Length != size-volume.RecordSize) {
		err = fmt.Errorf("file of %d bytes says it is %s of %d: %w", size, rec.ID, rec.Seal.Length, storage.ErrCorrupt)
	}
	return rec, err
}

// currentBlobDir is the name of the directory that is filled now.
func (n *Node) currentBlobDir() string {
	n.blobs.mu.Lock()
	defer n.blobs.mu.Unlock()
	dir, _ := volume.FileName(storage.ShardID{}, uint64(n.blobs.dir)<<32)
	return dir
}
