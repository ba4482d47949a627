package vfs

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// pageSize is the block of Mem: the unit of allocation and of what a crash
// keeps or drops.
const pageSize = 4096

// Mem is a file system in memory that knows what was synced. CrashClone
// returns what a power loss may leave of it. Blocks are copied on write, so a
// sync costs the blocks that changed and a clone costs pointers.
//
// Paths use "/" and are taken from the root whether they begin with it or
// not. Permissions are not modelled.
type Mem struct {
	mu struct {
		sync.Mutex
		root     *inode
		locks    map[string]bool
		capacity int64 // in pages, 0 without bound
		used     int64 // pages held by all files
	}
}

// NewMem returns an empty file system without a bound on its size.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.root = newDir()
	m.mu.locks = map[string]bool{}
	return m
}

// SetCapacity bounds the file system: writes that need a block over it fail
// with ENOSPC, and GetDiskUsage reports it. 0 takes the bound away.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.capacity = bytes / pageSize
}

// inode is a file or a directory. Its fields are guarded by Mem.mu.
type inode struct {
	dir  bool
	mod  time.Time
	link int // names
	open int // handles

	// Of a file. Pages are nil in holes.
	size     int64
	pages    []*page
	prealloc int64 // pages taken behind the size
	dirty    map[int64]struct{}
	synced   struct {
		size  int64
		pages []*page
	}

	// Of a directory.
	names       map[string]*inode
	syncedNames map[string]*inode
	ops         []dirOp // since the last sync
}

// page is a block. Once frozen it is never written again and may be shared
// by synced states and clones.
type page struct {
	frozen bool
	b      [pageSize]byte
}

// dirOp is a name set or removed. Ops with the same tx (a rename) happen
// together or not at all.
type dirOp struct {
	name string
	node *inode // nil for a removal
	tx   *byte
}

func newDir() *inode { return &inode{dir: true, names: map[string]*inode{}, mod: time.Now()} }

func memErr(op, name string, err error) error {
	return &os.PathError{Op: op, Path: name, Err: err}
}

// find walks to name. With m.mu held.
func (m *Mem) find(name string) (*inode, error) {
	n := m.mu.root
	for _, part := range strings.Split(path.Clean("/" + name)[1:], "/") {
		if part == "" {
			continue
		}
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		if n = n.names[part]; n == nil {
			return nil, os.ErrNotExist
		}
	}
	return n, nil
}

// parent walks to the directory of name. With m.mu held.
func (m *Mem) parent(name string) (dir *inode, base string, err error) {
	d, base := path.Split(path.Clean("/" + name))
	if base == "" {
		return nil, "", os.ErrInvalid
	}
	if dir, err = m.find(d); err == nil && !dir.dir {
		err = syscall.ENOTDIR
	}
	return dir, base, err
}

// set changes a name and notes it for CrashClone. With m.mu held.
func (m *Mem) set(dir *inode, name string, node *inode, tx *byte) {
	if old := dir.names[name]; old != nil {
		old.link--
		m.release(old)
	}
	if node == nil {
		delete(dir.names, name)
	} else {
		dir.names[name] = node
		node.link++
	}
	dir.ops = append(dir.ops, dirOp{name, node, tx})
	dir.mod = time.Now()
}

// release gives an unreachable file's blocks back. With m.mu held.
func (m *Mem) release(n *inode) {
	if n.link > 0 || n.open > 0 || n.dir {
		return
	}
	for _, p := range n.pages {
		if p != nil {
			m.mu.used--
		}
	}
	m.mu.used -= n.prealloc
	n.prealloc = 0
}

func (m *Mem) handle(n *inode, name string, read, write bool) *memFile {
	n.open++
	return &memFile{m: m, n: n, name: name, read: read, write: write}
}

func (m *Mem) open(op, name string, flag Flag, replace bool) (*memFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, memErr(op, name, err)
	}
	n := dir.names[base]
	switch {
	case n == nil && !replace && flag != CreateNew:
		return nil, memErr(op, name, os.ErrNotExist)
	case n != nil && flag == CreateNew && !replace:
		return nil, memErr(op, name, os.ErrExist)
	case n != nil && n.dir && (flag != ReadOnly || replace):
		return nil, memErr(op, name, syscall.EISDIR)
	case n == nil || replace:
		n = &inode{mod: time.Now()}
		m.set(dir, base, n, new(byte))
	}
	return m.handle(n, name, true, flag != ReadOnly), nil
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag Flag) (File, error) {
	f, err := m.open("open", name, flag, false)
	if err != nil {
		return nil, err
	}
	return ownFile{f}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(dir)
	if err != nil {
		return memErr("sync", dir, err)
	}
	n.sync()
	return nil
}

// Create implements pvfs.FS.
func (m *Mem) Create(name string, _ pvfs.DiskWriteCategory) (pvfs.File, error) {
	f, err := m.open("create", name, CreateNew, true)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open implements pvfs.FS.
func (m *Mem) Open(name string, opts ...pvfs.OpenOption) (pvfs.File, error) {
	m.mu.Lock()
	n, err := m.find(name)
	if err != nil {
		m.mu.Unlock()
		return nil, memErr("open", name, err)
	}
	f := m.handle(n, name, true, false)
	m.mu.Unlock()
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// OpenReadWrite implements pvfs.FS.
func (m *Mem) OpenReadWrite(name string, _ pvfs.DiskWriteCategory, opts ...pvfs.OpenOption) (pvfs.File, error) {
	f, err := m.open("open", name, ReadWrite, false)
	if errors.Is(err, os.ErrNotExist) {
		f, err = m.open("open", name, CreateNew, false)
	}
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// OpenDir implements pvfs.FS.
func (m *Mem) OpenDir(name string) (pvfs.File, error) { return m.Open(name) }

// Link implements pvfs.FS.
func (m *Mem) Link(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(oldname)
	if err != nil {
		return memErr("link", oldname, err)
	}
	dir, base, err := m.parent(newname)
	if err == nil && dir.names[base] != nil {
		err = os.ErrExist
	}
	if err != nil {
		return memErr("link", newname, err)
	}
	m.set(dir, base, n, new(byte))
	return nil
}

// Remove implements pvfs.FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return memErr("remove", name, err)
	}
	n := dir.names[base]
	if n == nil {
		return memErr("remove", name, os.ErrNotExist)
	}
	if len(n.names) > 0 {
		return memErr("remove", name, syscall.ENOTEMPTY)
	}
	m.set(dir, base, nil, new(byte))
	return nil
}

// RemoveAll implements pvfs.FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil || dir.names[base] == nil {
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return memErr("remove", name, err)
	}
	m.removeTree(dir, base)
	return nil
}

func (m *Mem) removeTree(dir *inode, base string) {
	n := dir.names[base]
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		m.removeTree(n, name)
	}
	m.set(dir, base, nil, new(byte))
}

// Rename implements pvfs.FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldbase, err := m.parent(oldname)
	if err == nil && from.names[oldbase] == nil {
		err = os.ErrNotExist
	}
	if err != nil {
		return memErr("rename", oldname, err)
	}
	to, newbase, err := m.parent(newname)
	if err != nil {
		return memErr("rename", newname, err)
	}
	n := from.names[oldbase]
	if to.names[newbase] == n {
		return nil
	}
	tx := new(byte)
	m.set(to, newbase, n, tx)
	m.set(from, oldbase, nil, tx)
	return nil
}

// ReuseForWrite implements pvfs.FS.
func (m *Mem) ReuseForWrite(oldname, newname string, _ pvfs.DiskWriteCategory) (pvfs.File, error) {
	if err := m.Rename(oldname, newname); err != nil {
		return nil, err
	}
	f, err := m.open("open", newname, ReadWrite, false)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// MkdirAll implements pvfs.FS.
func (m *Mem) MkdirAll(name string, _ os.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.root
	for _, part := range strings.Split(path.Clean("/" + name)[1:], "/") {
		if part == "" {
			continue
		}
		next := n.names[part]
		if next == nil {
			next = newDir()
			m.set(n, part, next, new(byte))
		}
		if !next.dir {
			return memErr("mkdir", name, syscall.ENOTDIR)
		}
		n = next
	}
	return nil
}

// Lock implements pvfs.FS. A clone holds no locks.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	held := m.mu.locks[path.Clean("/"+name)]
	m.mu.Unlock()
	if held {
		return nil, fmt.Errorf("lock %s: %w", name, syscall.EAGAIN)
	}
	f, err := m.OpenReadWrite(name, pvfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.locks[path.Clean("/"+name)] = true
	return &memLock{File: f, m: m, name: path.Clean("/" + name)}, nil
}

type memLock struct {
	pvfs.File
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() (err error) {
	l.once.Do(func() {
		l.m.mu.Lock()
		delete(l.m.mu.locks, l.name)
		l.m.mu.Unlock()
		err = l.File.Close()
	})
	return err
}

// List implements pvfs.FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(dir)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, memErr("list", dir, err)
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// Stat implements pvfs.FS.
func (m *Mem) Stat(name string) (pvfs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return nil, memErr("stat", name, err)
	}
	return n.info(path.Base(name)), nil
}

// PathBase implements pvfs.FS.
func (*Mem) PathBase(p string) string { return path.Base(p) }

// PathJoin implements pvfs.FS.
func (*Mem) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements pvfs.FS.
func (*Mem) PathDir(p string) string { return path.Dir(p) }

// GetDiskUsage implements pvfs.FS. Without a capacity it is 1 PiB.
func (m *Mem) GetDiskUsage(string) (pvfs.DiskUsage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	total := m.mu.capacity
	if total == 0 {
		total = 1 << 50 / pageSize
	}
	return pvfs.DiskUsage{
		AvailBytes: uint64(max(0, total-m.mu.used)) * pageSize,
		TotalBytes: uint64(total) * pageSize,
		UsedBytes:  uint64(m.mu.used) * pageSize,
	}, nil
}

// Unwrap implements pvfs.FS.
func (*Mem) Unwrap() pvfs.FS { return nil }

// Used returns the bytes of all blocks in use.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.used * pageSize
}
