package harness

import (
	"sync"
	"time"

	"holdfast/internal/vfs"
)

// SickDisk is the machine's file system with a disk between that can be slow
// or hang. Its zero value is healthy.
type SickDisk struct {
	mu struct {
		sync.Mutex
		delay time.Duration
		all   bool          // reads too
		hangs chan struct{} // closed when it hangs no more
	}
}

// FS is the disk's file system.
func (d *SickDisk) FS() vfs.FS { return vfs.WithHook(vfs.OS(), d.call) }

// Slow makes every write and every sync take so long.
func (d *SickDisk) Slow(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.delay = delay
}

// Hang lets no write return, and with reads no read either, until Heal.
func (d *SickDisk) Hang(reads bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.all, d.mu.hangs = reads, make(chan struct{})
}

// Heal makes the disk healthy.
func (d *SickDisk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.delay = 0
	if d.mu.hangs != nil {
		close(d.mu.hangs)
		d.mu.hangs = nil
	}
}

// call is the hook before each call on a file.
func (d *SickDisk) call(op vfs.Op, _ string) error {
	d.mu.Lock()
	delay, hangs, all := d.mu.delay, d.mu.hangs, d.mu.all
	d.mu.Unlock()
	switch op {
	case vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpTruncate, vfs.OpPreallocate, vfs.OpPunch:
	case vfs.OpRead, vfs.OpOpen:
		delay = 0
		if !all {
			hangs = nil
		}
	default:
		return nil
	}
	if hangs != nil {
		<-hangs
	}
	if delay > 0 && (op == vfs.OpWrite || op.IsSync()) {
		<-time.After(delay)
	}
	return nil
}
