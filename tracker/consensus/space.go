package consensus

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spaceState is what is known of a voter's disk.
type spaceState struct {
	full        atomic.Bool
	busy        atomic.Bool   // a measurement runs
	free, total atomic.Uint64 // bytes; 0 and 0 if unknown
}

// measureSpace asks for the free space of each disk, and first whether the
// copy's directory is there. A disk that hangs holds
// up nothing but its own answer.
func (l *Local) measureSpace() {
	for _, v := range l.voters() {
		if v.runs() && v.space.busy.CompareAndSwap(false, true) {
			go func() {
				defer v.space.busy.Store(false)
				v.measure(&l.parts.cfg)
			}()
		}
	}
}

// measure asks whether the voter's directory is there and how full its disk is.
func (v *voter) measure(cfg *settings) {
	if _, err := v.FS.Stat(v.path("log")); errors.Is(err, os.ErrNotExist) {
		// The open files still take writes, which no restart would find.
		v.fail(fmt.Errorf("directory of the copy is gone: %w", err))
		return
	}
	free, total, err := cfg.Space(v.Voter)
	if err != nil {
		v.log.Debug().Err(err).Msg("cannot measure the disk of a copy")
		return
	}
	v.space.free.Store(free)
	v.space.total.Store(total)
	full := total > 0 && free < max(cfg.MinFree, total/100*3)
	if v.space.full.Swap(full) != full {
		v.log.Warn().Bool("full", full).Uint64("bytes", free).Msg("disk of a copy of the catalog")
	}
}

// isFull reports whether any voter's disk is nearly full, as of the last
// measurement; that is at most a second old while there are proposals.
func (l *Local) isFull() bool {
	q := l.quorum.Load()
	if q == nil {
		return false
	}
	for _, v := range q.known {
		if v.space.full.Load() && !v.isDead() {
			return true
		}
	}
	return false
}

// ballastMinDisk is the smallest disk that gets a ballast file.
const ballastMinDisk = 16 << 30

// keepBallast makes a voter's ballast file where the disk is roomy.
func (v *voter) keepBallast(cfg *settings) {
	free, total, err := cfg.Space(v.Voter)
	if err != nil || cfg.BallastBytes < 0 || total < ballastMinDisk ||
		free < 2*max(cfg.MinFree, total/100*3)+uint64(cfg.BallastBytes) {
		return
	}
	if info, err := v.FS.Stat(v.path("ballast")); err == nil && info.Size() >= cfg.BallastBytes {
		return
	}
	if err := writeBallast(v.FS, v.path("ballast"), cfg.BallastBytes, v.dead); err != nil {
		v.log.Warn().Err(err).Msg("cannot write the ballast file")
	}
}

// writeBallast writes bytes that no file system can compress away.
func writeBallast(fs vfs.FS, path string, size int64, stop <-chan struct{}) (err error) {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rnd := rand.NewChaCha8([32]byte{})
	for size > 0 {
		select {
		case <-stop:
			return nil
		default:
		}
		n, err := io.CopyN(onlyWriter{f}, rnd, min(size, 1<<20))
		if err != nil {
			return err
		}
		size -= n
	}
	return f.Sync()
}

// DropBallast gives the ballast files up, so that there is room to delete and
// compact on a full disk. They are made again at a start with enough room.
func (l *Local) DropBallast() error {
	var errs []error
	for _, v := range l.voters() {
		if _, err := v.FS.Stat(v.path("ballast")); err == nil {
			errs = append(errs, v.FS.Remove(v.path("ballast")))
		}
	}
	return errors.Join(errs...)
}
