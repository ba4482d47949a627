package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

var errMode = errors.New("file was not opened for this")

// memFile is a handle as Pebble sees it; ownFile adds the methods of File.
type memFile struct {
	m           *Mem
	n           *inode
	name        string
	pos         int64
	read, write bool
	closed      bool
}

type ownFile struct{ *memFile }

func (n *inode) page(i int64) *page {
	if i < int64(len(n.pages)) {
		return n.pages[i]
	}
	return nil
}

func (n *inode) touch(i int64) {
	if n.dirty == nil {
		n.dirty = map[int64]struct{}{}
	}
	n.dirty[i] = struct{}{}
}

// writable returns page i, alone and allocated, or nil if the disk is full.
// With m.mu held.
func (m *Mem) writable(n *inode, i int64) *page {
	for int64(len(n.pages)) <= i {
		n.pages = append(n.pages, nil)
	}
	p := n.pages[i]
	switch {
	case p == nil:
		if n.prealloc > 0 {
			n.prealloc--
			m.mu.used--
		}
		if m.mu.capacity > 0 && m.mu.used >= m.mu.capacity {
			return nil
		}
		m.mu.used++
		p = &page{}
		n.pages[i] = p
	case p.frozen:
		p = &page{b: p.b}
		n.pages[i] = p
	}
	n.touch(i)
	return p
}

func (m *Mem) writeAt(n *inode, b []byte, off int64) (int, error) {
	n.mod = time.Now()
	done := 0
	for done < len(b) {
		at := off + int64(done)
		p := m.writable(n, at/pageSize)
		if p == nil {
			n.size = max(n.size, at)
			return done, syscall.ENOSPC
		}
		done += copy(p.b[at%pageSize:], b[done:])
	}
	n.size = max(n.size, off+int64(done))
	return done, nil
}

func (n *inode) readAt(b []byte, off int64) (int, error) {
	if off >= n.size {
		return 0, io.EOF
	}
	want := len(b)
	b = b[:min(int64(want), n.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		in := b[done:min(len(b), done+int(pageSize-at%pageSize))]
		if p := n.page(at / pageSize); p != nil {
			copy(in, p.b[at%pageSize:])
		} else {
			clear(in)
		}
		done += len(in)
	}
	if len(b) < want {
		return len(b), io.EOF
	}
	return len(b), nil
}

// zero makes a range read as zeros; whole pages become holes. With m.mu held.
func (m *Mem) zero(n *inode, off, end int64) {
	for at := off; at < end; {
		i, next := at/pageSize, min(end, (at/pageSize+1)*pageSize)
		switch p := n.page(i); {
		case p == nil:
		case next-at == pageSize:
			n.pages[i] = nil
			m.mu.used--
			n.touch(i)
		default:
			if p = m.writable(n, i); p != nil {
				clear(p.b[at%pageSize : at%pageSize+next-at])
			}
		}
		at = next
	}
}

func (n *inode) sync() {
	if n.dir {
		n.syncedNames, n.ops = maps.Clone(n.names), nil
		return
	}
	n.synced.size = n.size
	if len(n.synced.pages) > len(n.pages) {
		clear(n.synced.pages[len(n.pages):])
	}
	for i := range n.dirty {
		for int64(len(n.synced.pages)) <= i {
			n.synced.pages = append(n.synced.pages, nil)
		}
		p := n.page(i)
		if p != nil && !p.frozen {
			p.frozen = true
		}
		n.synced.pages[i] = p
	}
	n.dirty = nil
}

func (f *memFile) lock(op string, need bool) (func(), error) {
	f.m.mu.Lock()
	switch {
	case f.closed:
		f.m.mu.Unlock()
		return nil, memErr(op, f.name, os.ErrClosed)
	case !need:
		f.m.mu.Unlock()
		return nil, memErr(op, f.name, errMode)
	}
	return f.m.mu.Unlock, nil
}

func (f *memFile) Close() error {
	unlock, err := f.lock("close", true)
	if err != nil {
		return err
	}
	defer unlock()
	f.closed = true
	f.n.open--
	f.m.release(f.n)
	return nil
}

func (f *memFile) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	unlock, err := f.lock("read", f.read && !f.n.dir)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return f.n.readAt(b, off)
}

func (f *memFile) Write(b []byte) (int, error) {
	n, err := f.WriteAt(b, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	unlock, err := f.lock("write", f.write)
	if err != nil {
		return 0, err
	}
	defer unlock()
	n, err := f.m.writeAt(f.n, b, off)
	if err != nil {
		err = memErr("write", f.name, err)
	}
	return n, err
}

func (f *memFile) Sync() error {
	unlock, err := f.lock("sync", true)
	if err != nil {
		return err
	}
	defer unlock()
	f.n.sync()
	return nil
}

func (f *memFile) SyncData() error { return f.Sync() }

// SyncTo promises nothing, as pvfs.File allows, to surface who relies on it.
func (f *memFile) SyncTo(int64) (bool, error) { return false, nil }

func (f *memFile) Prefetch(int64, int64) error { return nil }
func (f *memFile) Fd() uintptr                 { return pvfs.InvalidFd }

// Preallocate counts the blocks behind the file's last page as taken.
func (f *memFile) Preallocate(off, n int64) error {
	unlock, err := f.lock("preallocate", f.write)
	if err != nil {
		return err
	}
	defer unlock()
	m := f.m
	want := (off+n+pageSize-1)/pageSize - int64(len(f.n.pages)) - f.n.prealloc
	if want <= 0 {
		return nil
	}
	if m.mu.capacity > 0 && m.mu.used+want > m.mu.capacity {
		return memErr("preallocate", f.name, syscall.ENOSPC)
	}
	m.mu.used += want
	f.n.prealloc += want
	return nil
}

func (f *memFile) Stat() (pvfs.FileInfo, error) {
	unlock, err := f.lock("stat", true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return f.n.info(f.name), nil
}

func (f ownFile) WriteVec(bufs [][]byte, off int64) (int64, error) {
	var done int64
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f ownFile) Truncate(size int64) error {
	unlock, err := f.lock("truncate", f.write)
	if err != nil {
		return err
	}
	defer unlock()
	m, n := f.m, f.n
	m.mu.used -= n.prealloc
	n.prealloc = 0
	if size < n.size {
		end := int64(len(n.pages)) * pageSize
		m.zero(n, size, end)
		n.pages = slices.Clip(n.pages[:(size+pageSize-1)/pageSize])
	}
	n.size = size
	n.mod = time.Now()
	return nil
}

func (f ownFile) Punch(off, length int64) error {
	unlock, err := f.lock("punch", f.write)
	if err != nil {
		return err
	}
	defer unlock()
	f.m.zero(f.n, off, min(off+length, f.n.size))
	return nil
}

func (f ownFile) Flush(int64, int64) {}

func (f ownFile) Size() (int64, error) {
	unlock, err := f.lock("stat", true)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return f.n.size, nil
}

func (f ownFile) Allocated() (int64, error) {
	unlock, err := f.lock("stat", true)
	if err != nil {
		return 0, err
	}
	defer unlock()
	pages := f.n.prealloc
	for _, p := range f.n.pages {
		if p != nil {
			pages++
		}
	}
	return pages * pageSize, nil
}

func (f ownFile) SendTo(w io.Writer, off, n int64) (int64, error) {
	return sendBuffered(f.memFile, w, off, n)
}

func (n *inode) info(name string) pvfs.FileInfo {
	return memInfo{name: name, size: n.size, mod: n.mod, dir: n.dir}
}

type memInfo struct {
	name string
	size int64
	mod  time.Time
	dir  bool
}

func (i memInfo) Name() string            { return i.name }
func (i memInfo) Size() int64             { return i.size }
func (i memInfo) ModTime() time.Time      { return i.mod }
func (i memInfo) IsDir() bool             { return i.dir }
func (i memInfo) Sys() any                { return nil }
func (i memInfo) DeviceID() pvfs.DeviceID { return pvfs.DeviceID{} }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
