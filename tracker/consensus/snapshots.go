package consensus

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
)

// snapshots implements raft.SnapshotStore over the log's metadata row: there
// is one snapshot, the promise that the state store is durable up to it.
//
// The in-band stream, which Raft uses for a follower whose log cannot be
// caught up, sends the files of a checkpoint. The follower writes them to a
// new directory and moves there with its next metadata in one step, so a
// crash leaves it with the old state or with the new.
type snapshots struct {
	fs    vfs.FS
	dir   string // the voter's
	log   *guard
	state func() *handle
	next  atomic.Uint64 // makes names of directories unique

	mu struct {
		sync.Mutex
		incoming *incoming // received whole, not yet moved to
	}
}

// incoming is a state that was received in band.
type incoming struct {
	name string // of the directory, within the voter's
	snap raftlog.Snapshot
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64,
	_ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("consensus: snapshot version %d", version)
	}
	return &sink{s: s, snap: raftlog.Snapshot{
		Index: index, Term: term, ConfIndex: confIndex, Conf: raft.EncodeConfiguration(conf),
	}}, nil
}

func snapshotID(n *raftlog.Snapshot) string { return fmt.Sprintf("%d-%d", n.Term, n.Index) }

func snapshotMeta(n *raftlog.Snapshot) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: 1, ID: snapshotID(n), Index: n.Index, Term: n.Term,
		Configuration: raft.DecodeConfiguration(n.Conf), ConfigurationIndex: n.ConfIndex,
	}
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.log.enter()
	n, err := s.log.Snapshot()
	s.log.leave(err)
	if n == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{snapshotMeta(n)}, nil
}

// Open implements raft.SnapshotStore. For the voter's own snapshot it makes a
// checkpoint and streams it; the state in it may be newer than the metadata,
// which does no harm: entries that it holds are skipped.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	in := s.mu.incoming
	s.mu.Unlock()
	if in != nil && snapshotID(&in.snap) == id {
		return snapshotMeta(&in.snap), io.NopCloser(eof{}), nil
	}
	list, err := s.List()
	if err != nil || len(list) == 0 || list[0].ID != id {
		return nil, nil, errors.Join(fmt.Errorf("consensus: no snapshot %s", id), err)
	}
	h := s.state()
	if !h.acquire() {
		return nil, nil, errStopped
	}
	defer h.release()
	dir := s.fs.PathJoin(s.dir, s.name("checkpoint"))
	if err := h.Checkpoint(dir); err != nil {
		return nil, nil, err
	}
	stream, err := newStream(s.fs, dir)
	if err != nil {
		return nil, nil, errors.Join(err, s.fs.RemoveAll(dir))
	}
	list[0].Size = stream.size
	return list[0], stream, nil
}

func (s *snapshots) name(kind string) string {
	return kind + "-" + strconv.FormatUint(s.next.Add(1), 10)
}

// take hands out the incoming state.
func (s *snapshots) take() *incoming {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.mu.incoming
	s.mu.incoming = nil
	return in
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// sink implements raft.SnapshotSink, for the voter's own snapshots, where
// nothing is written, and for those received in band.
type sink struct {
	s       *snapshots
	snap    raftlog.Snapshot
	flushed bool // the state store is durable up to snap

	name string // of the directory being received
	pipe *io.PipeWriter
	done chan error
}

// ID implements raft.SnapshotSink.
func (k *sink) ID() string { return snapshotID(&k.snap) }

// Write implements io.Writer: it takes the stream.
func (k *sink) Write(b []byte) (int, error) {
	if k.pipe == nil {
		r, w := io.Pipe()
		k.name, k.pipe, k.done = k.s.name("state"), w, make(chan error, 1)
		go func() {
			err := receive(bufio.NewReaderSize(r, 256<<10), k.s.fs, k.s.fs.PathJoin(k.s.dir, k.name))
			_ = r.CloseWithError(err)
			k.done <- err
		}()
	}
	return k.pipe.Write(b)
}

// Close implements raft.SnapshotSink: it makes the promise, after the flush,
// or finishes what was received. The latter becomes the state by Restore.
func (k *sink) Close() error {
	if k.flushed {
		k.s.log.enter()
		err := k.s.log.SetSnapshot(&k.snap)
		k.s.log.leave(err)
		return err
	}
	if k.pipe == nil {
		return errors.New("consensus: snapshot was not flushed")
	}
	if err := errors.Join(k.pipe.Close(), <-k.done); err != nil {
		return errors.Join(err, k.s.fs.RemoveAll(k.s.fs.PathJoin(k.s.dir, k.name)))
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.mu.incoming = &incoming{k.name, k.snap}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.pipe == nil {
		return nil
	}
	_ = k.pipe.CloseWithError(errors.New("consensus: snapshot was cancelled"))
	<-k.done
	return k.s.fs.RemoveAll(k.s.fs.PathJoin(k.s.dir, k.name))
}
