package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"holdfast/tracker"
	"holdfast/tracker/consensus/raftlog"
)

// An empty directory is filled from a checkpoint of another replica's state.
// Its files go to seed/files under the voter's directory, each under its name
// once it is whole, verified and synced; seed/source names the server they are
// of, so that another try, also after a restart, asks the same one and copies
// only what it does not have: a file of the same name, size and checksum. When
// all is there, seed/files becomes the state, and the log begins behind it.
//
// Until then the log has no identity, and the directory counts as empty.
const (
	seedDir    = "seed"
	seedFiles  = "files"
	seedSource = "source"
	partSuffix = ".part"
	// seedWorkers bounds the files copied at once.
	seedWorkers = 4
)

// copyFrom fills the directory from one replica and starts the voter.
func (r *Replica) copyFrom(c candidate) error {
	s := &seeding{r: r, peer: r.cfg.Peer(c.addr), id: c.st.ID, fs: r.cfg.FS, pace: pace{clock: r.cfg.Clock, rate: r.cfg.SeedRate}}
	s.dir = s.fs.PathJoin(r.cfg.Dir, seedDir, seedFiles)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	if err := s.begin(ctx); err != nil {
		return err
	}
	r.holds.start(r, s.m, c.addr)
	err := s.copy(ctx)
	r.seed.Store(nil)
	if err == nil {
		err = r.startSeeded(s.m)
	}
	if err != nil {
		r.endHolds()
	}
	return err
}

// seeding is one try to copy a state.
type seeding struct {
	r    *Replica
	peer Peer
	id   string // tracker that is copied
	fs   vfs.FS
	dir  string
	m    *Manifest
	have *SeedProgress
	pace pace
}

// checkpointTime bounds the making of a checkpoint, which waits for a flush,
// fileTime a call for a range or a checksum of a file.
const (
	checkpointTime = time.Minute
	fileTime       = 30 * time.Second
)

// begin prepares the directory and asks for a checkpoint.
func (s *seeding) begin(ctx context.Context) error {
	s.r.unfinished.Store(true)
	if err := s.prepare(); err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, checkpointTime)
	defer cancel()
	m, err := s.peer.Checkpoint(call, &CheckpointRequest{Cluster: s.r.cfg.ClusterID, Holder: s.r.holds.holder()})
	if err != nil {
		return err
	}
	s.m, s.have = m, &SeedProgress{Source: s.id, Files: len(m.Files)}
	for _, f := range m.Files {
		if err := checkName(f.Name); err != nil || f.Name == "" || f.Size < 0 || strings.HasSuffix(f.Name, partSuffix) {
			return errors.Join(fmt.Errorf("%w: file %q of a checkpoint", tracker.ErrInvalid, f.Name), err)
		}
		s.have.Bytes += f.Size
	}
	if err := s.room(); err != nil {
		return err
	}
	s.r.seed.Store(s.have)
	return writeText(s.fs, s.fs.PathJoin(s.r.cfg.Dir, seedDir), seedSource, m.Server)
}

// prepare makes the directory. A state without an identity is what an earlier
// try left just before its end: its files are used again.
func (s *seeding) prepare() error {
	dir := s.fs.PathDir(s.dir)
	if err := makeDir(s.fs, dir); err != nil {
		return err
	}
	state := s.fs.PathJoin(s.r.cfg.Dir, "state")
	if _, err := s.fs.Stat(state); err == nil {
		if _, err := s.fs.Stat(s.dir); err == nil {
			return s.fs.RemoveAll(state)
		}
		if err := errors.Join(s.fs.Rename(state, s.dir), syncDir(s.fs, dir)); err != nil {
			return err
		}
	}
	return makeDir(s.fs, s.dir)
}

// room checks that what is not there yet will fit.
func (s *seeding) room() error {
	free, total, err := s.r.cfg.Space(s.r.cfg.Voter)
	if err != nil || total == 0 {
		return nil
	}
	lack := s.have.Bytes
	for _, f := range s.m.Files {
		if info, err := s.fs.Stat(s.fs.PathJoin(s.dir, f.Name)); err == nil && info.Size() == f.Size {
			lack -= f.Size
		}
	}
	if free < uint64(lack) {
		return fmt.Errorf("%w: %d bytes are free, and %d of the catalog's %d have to be copied", tracker.ErrCatalogFull, free, lack, s.have.Bytes)
	}
	return nil
}

// copy copies the files that are not there yet and removes all others.
func (s *seeding) copy(ctx context.Context) error {
	wanted := make(map[string]bool)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(seedWorkers)
	for _, f := range s.m.Files {
		wanted[f.Name] = true
		g.Go(func() error {
			if err := s.copyFile(ctx, f); err != nil {
				return fmt.Errorf("file %s: %w", f.Name, err)
			}
			s.have.files.Add(1)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !wanted[n] {
			if err := s.fs.RemoveAll(s.fs.PathJoin(s.dir, n)); err != nil {
				return err
			}
		}
	}
	return syncDir(s.fs, s.dir)
}

// copyFile copies a file and verifies it, unless it is there already.
func (s *seeding) copyFile(ctx context.Context, f CheckpointFile) error {
	path := s.fs.PathJoin(s.dir, f.Name)
	if sum, ok := s.present(ctx, path, f.Size); ok {
		theirs, err := s.sum(ctx, f.Name)
		if err != nil {
			return err
		}
		if theirs == sum {
			s.have.done.Add(f.Size)
			return nil
		}
	}
	sum, err := s.fetch(ctx, path+partSuffix, f)
	if err != nil {
		return err
	}
	theirs, err := s.sum(ctx, f.Name)
	if err != nil {
		return err
	}
	if theirs != sum {
		return fmt.Errorf("%w: what was copied has another checksum", raftlog.ErrCorrupt)
	}
	return errors.Join(s.fs.Rename(path+partSuffix, path), syncDir(s.fs, s.dir))
}

// present sums a file that is there with the right size.
func (s *seeding) present(ctx context.Context, path string, size int64) (uint64, bool) {
	info, err := s.fs.Stat(path)
	if err != nil || info.Size() != size {
		return 0, false
	}
	f, err := s.fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, false
	}
	var sum xxh3.Hasher
	_, err = io.CopyBuffer(onlyWriter{&sum}, &ctxReader{ctx, f}, make([]byte, 256<<10))
	return sum.Sum64(), errors.Join(err, f.Close()) == nil
}

// fetch copies a file, durably, and returns the checksum of what it wrote.
func (s *seeding) fetch(ctx context.Context, path string, f CheckpointFile) (_ uint64, err error) {
	out, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var sum xxh3.Hasher
	for off := int64(0); off < f.Size; {
		n := int(min(MaxRead, f.Size-off))
		if err := s.pace.wait(ctx, n); err != nil {
			return 0, err
		}
		var part *FileRange
		err := s.try(ctx, func(ctx context.Context) (err error) {
			part, err = s.peer.ReadFile(ctx, &ReadFileRequest{
				Cluster: s.r.cfg.ClusterID, Checkpoint: s.m.Checkpoint, Name: f.Name, Offset: off, Bytes: n,
			})
			return err
		})
		if err != nil {
			return 0, err
		}
		if len(part.Data) != n {
			return 0, fmt.Errorf("%w: %d bytes at %d, not %d", raftlog.ErrCorrupt, len(part.Data), off, n)
		}
		_, _ = sum.Write(part.Data) // before Write, which may change it
		if _, err := out.Write(part.Data); err != nil {
			return 0, err
		}
		off += int64(n)
		s.have.done.Add(int64(n))
	}
	return sum.Sum64(), out.Sync()
}

func (s *seeding) sum(ctx context.Context, name string) (uint64, error) {
	var a *FileSum
	err := s.try(ctx, func(ctx context.Context) (err error) {
		a, err = s.peer.SumFile(ctx, &SumFileRequest{Cluster: s.r.cfg.ClusterID, Checkpoint: s.m.Checkpoint, Name: name})
		return err
	})
	if err != nil {
		return 0, err
	}
	return a.Sum, nil
}

// tries is how often a call is made until another source is tried.
const tries = 6

// try makes a call again when it fails, except where that would not help.
func (s *seeding) try(ctx context.Context, call func(context.Context) error) error {
	wait := 100 * time.Millisecond
	for n := 1; ; n++ {
		c, cancel := context.WithTimeout(ctx, fileTime)
		err := call(c)
		cancel()
		if err == nil || n == tries || ctx.Err() != nil || errors.Is(err, ErrNoCheckpoint) {
			return err
		}
		if !sleep(ctx, s.r.cfg.Clock, wait) {
			return ctx.Err()
		}
		wait *= 2
	}
}

// lastSource returns the server that an earlier try copied from.
func (r *Replica) lastSource() string {
	f, err := r.cfg.FS.Open(r.cfg.FS.PathJoin(r.cfg.Dir, seedDir, seedSource))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return ""
	}
	return string(b)
}

// writeText replaces a small file; after a crash it may be lost.
func writeText(fs vfs.FS, dir, name, text string) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Create(path+partSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(fs.Rename(path+partSuffix, path), syncDir(fs, dir))
}
