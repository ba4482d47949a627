package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"holdfast/internal/vfs"
	"holdfast/storage"
)

// mostRest is how many times Limits.ReopenEvery a disk that fails again and
// again is left alone at most.
const mostRest = 64

// Keep does a node's background work until ctx ends, as Run does. A node that
// is read-only since its disk failed a write is opened anew, as a restart
// would, once the disk takes writes again: swap is told, and puts the new node
// in the place of the old one, which is closed. Where swap reports false, since
// the old one has no place any more, the new one is closed again. The error is
// ctx's, or nil once somebody else has closed the node.
func Keep(ctx context.Context, n *Node, swap func(old, fresh *Node) bool) error {
	for rest := n.limits.ReopenEvery; ; {
		began := n.clock.Now()
		fresh, err := n.keep(ctx, rest)
		if fresh == nil {
			return err
		}
		if !swap(n, fresh) {
			return fresh.Close()
		}
		fresh.RaiseEpoch(n.epoch.Load()) // it may have been raised meanwhile
		n.log.Warn().Msg("the disk takes writes again; node was opened anew")
		if rest = min(2*rest, mostRest*n.limits.ReopenEvery); n.clock.Now().Sub(began) > mostRest*n.limits.ReopenEvery {
			rest = n.limits.ReopenEvery
		}
		n = fresh
	}
}

// keep runs a node until it was opened anew.
func (n *Node) keep(ctx context.Context, rest time.Duration) (*Node, error) {
	work, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { _ = n.Run(work) }) // its error is ctx's
	for gone, told := false, ""; ; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-n.clock.After(rest):
		}
		switch {
		case gone: // closed below
		case n.closed.Load():
			return nil, nil
		case n.failure() == nil:
			continue
		default:
			if err := n.probe(); err != nil {
				n.log.Debug().Err(err).Msg("disk takes no writes yet")
				continue
			}
			stop()
			wg.Wait()
			if err := n.Close(); err != nil {
				n.log.Debug().Err(err).Msg("failed node did not close as it should")
			}
			gone = true
		}
		fresh, err := n.again(ctx)
		if err == nil {
			return fresh, nil
		}
		if err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			n.log.Error().Err(err).Msg("the disk takes writes again, but the node cannot be opened; tried again, and if that does not end, restart its process")
		}
	}
}

// probeName is a file that is written to learn whether the disk takes writes.
const probeName = "probe"

// probe reports whether the directory is the node's still and takes writes
// again, and nothing of the failed node would be in the way of a new one.
func (n *Node) probe() error {
	if n.index.Held() {
		return errHeld
	}
	id, err := ReadIdentity(n.fs, n.dir)
	if err == nil {
		err = id.check(n.dir, &n.cfg)
	}
	if err != nil {
		return err
	}
	path := n.path(probeName)
	if err := n.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := n.fs.OpenFile(path, vfs.CreateNew)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(make([]byte, probeBytes), 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), n.fs.Remove(path), n.fs.SyncDir(n.dir))
}

const probeBytes = 64 << 10

// closePatience is how long the index of a failed node may take to let go of
// its directory.
const closePatience = 30 * time.Second

// again opens the directory of a closed node.
func (n *Node) again(ctx context.Context) (*Node, error) {
	select {
	case <-n.index.Gone():
	case <-n.clock.After(closePatience):
		return nil, fmt.Errorf("index of node %d: %w", n.cfg.Node, errHeld)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	cfg := n.cfg
	n.mu.Unlock()
	cfg.Epoch = n.epoch.Load()
	return Open(ctx, cfg)
}

// errHeld is a database that an error left with its locks held.
var errHeld = errors.New("the index does not let go of its directory; restart the process")

// failure is why the node takes no writes, nil if it does.
func (n *Node) failure() error {
	n.mu.Lock()
	err := n.mu.failed
	n.mu.Unlock()
	if err == nil {
		err = n.index.Err()
	}
	return err
}

// writable returns nil, or why the node takes no writes.
func (n *Node) writable() error {
	if n.closed.Load() {
		return fmt.Errorf("node %d is closed: %w", n.cfg.Node, storage.ErrOffline)
	}
	err := n.failure()
	if err == nil {
		return nil
	}
	until := "its disk takes writes again"
	if n.index.Held() {
		until = "its process is restarted"
	}
	return fmt.Errorf("node %d is read-only until %s: %w: %w", n.cfg.Node, until, storage.ErrOffline, err)
}
