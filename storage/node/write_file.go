package node

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage/volume"
)

// fileSink writes a large shard to a file of its own. The file has a
// temporary name until it is whole and synced.
type fileSink struct {
	f      vfs.File
	path   string // "" once it is sealed
	off    int64
	ready  int64 // preallocated
	held   int64 // counted as space that will be taken
	sealer frame.Sealer
	record [volume.FiledSpan]byte
}

// flushEvery is how many bytes are written before the kernel is asked to
// begin writing back, so that the sync at the end finds little to do.
const flushEvery = 8 << 20

func (n *Node) newFile(size int64) (*fileSink, error) {
	defer n.calls.end(n.calls.begin())
	path := n.path("blobs", "tmp", fmt.Sprintf("%016x", rand.Uint64()))
	f, err := n.fs.OpenFile(path, vfs.CreateNew)
	if err != nil {
		return nil, n.ioError("create file", err)
	}
	s := &fileSink{f: f, path: path, held: max(size, 0)}
	n.space.hold(s.held)
	return s, nil
}

// write appends frames. Space is preallocated in steps of 1, 8 and 64 MiB as
// bytes arrive: what a client claims takes none.
func (s *fileSink) write(n *Node, p []byte) error {
	defer n.calls.end(n.calls.begin())
	for end := s.off + int64(len(p)); s.ready < end; {
		step := int64(1 << 20)
		if s.ready >= 64<<20 {
			step = 64 << 20
		} else if s.ready >= 8<<20 {
			step = 8 << 20
		}
		err := s.f.Preallocate(s.ready, step)
		switch {
		case err == nil:
			s.ready += step
		case errors.Is(err, vfs.ErrUnsupported) || noSpace(err):
			s.ready = math.MaxInt64 // what is left may still do
		default:
			return n.ioError("preallocate", err)
		}
	}
	if _, err := s.f.WriteAt(p, s.off); err != nil {
		return n.ioError("write file", err)
	}
	s.sealer.AddRun(p)
	if was := s.off / flushEvery; (s.off+int64(len(p)))/flushEvery > was {
		s.f.Flush(was*flushEvery, flushEvery)
	}
	s.off += int64(len(p))
	return nil
}

// seal makes the shard durable: the file with its trailer, then its name,
// then the record in the volume, by which a scan finds it.
func (s *fileSink) seal(w *writer) error {
	n, e := w.n, &w.r.put.Entry
	defer n.calls.end(n.calls.begin())
	if err := n.writable(); err != nil {
		return err
	}
	file, err := n.placeBlob()
	if err != nil {
		return n.ioError("blob directory", err)
	}
	e.File = file
	rec := volume.Record{Kind: volume.Filed, ID: e.ID, Seal: e.Seal, Expiry: e.Expiry, File: file, Span: volume.FiledSpan}
	rec.EncodeTrailer(s.record[:])
	if _, err := s.f.WriteAt(s.record[:volume.RecordSize], s.off); err != nil {
		return n.ioError("write file", err)
	}
	if err := s.f.Truncate(s.off + volume.RecordSize); err != nil { // frees what is preallocated behind it
		return n.ioError("write file", err)
	}
	if err := n.syncData(s.f); err != nil {
		return n.ioError("sync file", err)
	}
	path := n.shardPath(e.ID, file)
	if err := n.fs.Rename(s.path, path); err != nil {
		return n.ioError("rename file", err)
	}
	s.path = path
	if err := n.syncDir(n.fs.PathDir(path)); err != nil {
		return n.ioError("sync directory", err)
	}
	clear(s.record[:])
	w.r.rec.File = file
	w.r.buf = s.record[:]
	if err := n.commit.append(&w.r); err != nil {
		return err
	}
	s.path = ""
	return nil
}

// drop closes the file, and removes it if it was not sealed.
func (s *fileSink) drop(n *Node) {
	n.space.hold(-s.held)
	s.f.Close()
	if s.path != "" {
		if err := n.fs.Remove(s.path); err != nil {
			n.log.Warn().Err(err).Msg("unfinished file stays until the next start")
		}
		n.space.changed()
	}
}
