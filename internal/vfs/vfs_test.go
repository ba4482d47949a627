package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// each runs test on the real file system and on the one in memory.
func each(t *testing.T, test func(t *testing.T, fs FS, dir string)) {
	t.Run("os", func(t *testing.T) { t.Parallel(); test(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		t.Parallel()
		m := NewMem()
		if err := m.MkdirAll("/d", 0o700); err != nil {
			t.Fatal(err)
		}
		test(t, m, "/d")
	})
}

func create(t *testing.T, fs FS, name string, b []byte) File {
	t.Helper()
	f, err := fs.OpenFile(name, CreateNew)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fs FS, dir string) {
		name := fs.PathJoin(dir, "f")
		data := bytes.Repeat([]byte("0123456789abcdef"), 4096) // 64 KiB
		f := create(t, fs, name, data)
		if _, err := fs.OpenFile(name, CreateNew); !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		must(t, f.Sync())
		full, err := f.Allocated()
		must(t, err)
		if err := f.Punch(5000, 40000); errors.Is(err, ErrUnsupported) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		must(t, f.SyncData())
		if now, err := f.Allocated(); err != nil || full-now < 32768 {
			t.Errorf("punch freed %d bytes, %v", full-now, err)
		}
		clear(data[5000:45000])
		got := make([]byte, len(data))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
			t.Fatal("punched file differs", err)
		}
		n, err := f.WriteVec([][]byte{[]byte("abc"), nil, []byte("defg")}, 1000)
		if n != 7 || err != nil {
			t.Fatal(n, err)
		}
		var sent bytes.Buffer
		if n, err := f.SendTo(&sent, 998, 10); n != 10 || err != nil || !bytes.Equal(sent.Bytes()[2:9], []byte("abcdefg")) {
			t.Fatal(n, err, sent.Bytes())
		}
		if _, err := f.SendTo(&sent, 65530, 10); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if err := f.Preallocate(65536, 1<<20); err != nil && !errors.Is(err, ErrUnsupported) {
			t.Fatal(err)
		}
		must(t, f.Truncate(1004))
		if size, err := f.Size(); size != 1004 || err != nil {
			t.Fatal(size, err)
		}
		must(t, f.Sync())
		if a, err := f.Allocated(); err != nil || a > 16384 {
			t.Fatal("truncated file takes", a, err)
		}
		must(t, f.Truncate(2000))
		if _, err := f.ReadAt(got[:1000], 1000); err != nil || !bytes.Equal(got[:4], []byte("abcd")) || got[5] != 0 {
			t.Fatal(got[:8], err)
		}
		must(t, f.Close())
		if fi, err := os.Stat(name); err == nil && fi.Mode().Perm() != 0o600 {
			t.Error("mode", fi.Mode())
		}
	})
}

func TestWriteFileAndLock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fs FS, dir string) {
		name := fs.PathJoin(dir, "id")
		for _, s := range []string{"one", "two two"} {
			must(t, WriteFile(fs, name, []byte(s)))
			if b, err := ReadFile(fs, name, 10); err != nil || string(b) != s {
				t.Fatal(b, err)
			}
		}
		if _, err := ReadFile(fs, name, 3); err == nil {
			t.Error("limit ignored")
		}
		l, err := fs.Lock(fs.PathJoin(dir, "lock"))
		must(t, err)
		if _, err := fs.Lock(fs.PathJoin(dir, "lock")); err == nil {
			t.Fatal("locked twice")
		}
		must(t, l.Close())
		l, err = fs.Lock(fs.PathJoin(dir, "lock"))
		must(t, err)
		must(t, l.Close())
	})
}

func TestLockThroughAnotherPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	l, err := OS().Lock(filepath.Join(dir, "lock"))
	must(t, err)
	defer l.Close()
	if _, err := OS().Lock(filepath.Join(link, "lock")); err == nil {
		t.Fatal("locked twice through a link")
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, m.MkdirAll("/d", 0o700))
	must(t, m.SyncDir("/"))
	data := bytes.Repeat([]byte{1}, 3*pageSize)
	f := create(t, m, "/d/f", data)
	must(t, f.Sync())
	if _, err := m.CrashClone(0, nil).Stat("/d/f"); !os.IsNotExist(err) {
		t.Fatal("name survived without a directory sync", err)
	}
	must(t, m.SyncDir("/d"))
	must(t, f.Punch(0, pageSize))
	must(t, f.Truncate(2*pageSize))
	if _, err := f.WriteAt([]byte{2}, pageSize); err != nil {
		t.Fatal(err)
	}
	read := func(c *Mem) string {
		b, err := ReadFile(c, "/d/f", 1<<20)
		must(t, err)
		s := fmt.Sprint(len(b) / pageSize)
		for i := 0; i < len(b); i += pageSize {
			s += fmt.Sprint(" ", b[i])
		}
		return s
	}
	if got := read(m.CrashClone(0, nil)); got != "3 1 1 1" {
		t.Error("0 %:", got)
	}
	all := m.CrashClone(100, nil)
	if got := read(all); got != "2 0 2" {
		t.Error("100 %:", got)
	}
	if all.Used() != m.Used() {
		t.Error("used", all.Used(), m.Used())
	}
	seen := map[string]bool{}
	for i := range uint64(200) {
		seen[read(m.CrashClone(50, rand.New(rand.NewPCG(i, 1))))] = true
	}
	if len(seen) != 8 || seen["3 1 1 0"] {
		t.Error("50 %:", seen)
	}
	must(t, f.Sync())
	if got := read(m.CrashClone(0, nil)); got != "2 0 2" {
		t.Error("synced:", got)
	}

	// A rename is whole: the file is under one name, never under none.
	must(t, m.Rename("/d/f", "/d/g"))
	must(t, m.Remove("/d/g"))
	for i := range uint64(50) {
		c := m.CrashClone(50, rand.New(rand.NewPCG(i, 2)))
		_, e1 := c.Stat("/d/f")
		_, e2 := c.Stat("/d/g")
		if e1 == nil && e2 == nil {
			t.Error("both names")
		}
	}
	if _, err := m.CrashClone(0, nil).Stat("/d/f"); err != nil {
		t.Error(err)
	}
	// Writing on in the source or the clone does not show in the other.
	if _, err := f.WriteAt([]byte{9}, pageSize); err != nil {
		t.Fatal(err)
	}
	if got := read(m.CrashClone(0, nil)); got != "2 0 2" {
		t.Error("after write:", got)
	}
}

func TestMakeDir(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fs FS, dir string) {
		must(t, MakeDir(fs, fs.PathJoin(dir, "a/b/c")))
		must(t, MakeDir(fs, fs.PathJoin(dir, "a/b")))
		if fi, err := fs.Stat(fs.PathJoin(dir, "a/b/c")); err != nil || !fi.IsDir() {
			t.Fatal(err)
		}
	})
	m := NewMem()
	must(t, MakeDir(m, "/x/y/z"))
	if _, err := m.CrashClone(0, nil).Stat("/x/y/z"); err != nil {
		t.Error("a power loss takes the new directories:", err)
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	m := NewMem()
	m.SetCapacity(10 * pageSize)
	f := create(t, m, "/f", make([]byte, 8*pageSize))
	n, err := f.WriteAt(make([]byte, 4*pageSize), 8*pageSize)
	if n != 2*pageSize || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	must(t, f.Punch(0, 3*pageSize))
	if u, err := m.GetDiskUsage("/"); err != nil || u.AvailBytes != 3*pageSize {
		t.Fatal(u, err)
	}
	must(t, m.Remove("/f"))
	if m.Used() != 7*pageSize {
		t.Error("open file was freed", m.Used())
	}
	must(t, f.Close())
	if m.Used() != 0 {
		t.Error("used", m.Used())
	}
}

// TestPebble opens a database on Mem, cuts the power at each sync point and
// expects every synced write.
func TestPebble(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			m := NewMem()
			rng := rand.New(rand.NewPCG(7, uint64(percent)))
			type cut struct {
				fs    *Mem
				acked int
			}
			var mu sync.Mutex // the database has goroutines of its own
			var cuts []cut
			acked := -1
			ack := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				acked = n
			}
			fs := WithHook(m, func(op Op, _ string) error {
				mu.Lock()
				defer mu.Unlock()
				if op.IsSync() && acked >= 0 {
					cuts = append(cuts, cut{m.CrashClone(percent, rng), acked})
				}
				return nil
			})
			db, err := pebble.Open("/db", &pebble.Options{FS: fs, Logger: quiet{}})
			must(t, err)
			ack(0)
			for i := range 20 {
				must(t, db.Set(fmt.Appendf(nil, "k%02d", i), bytes.Repeat([]byte{byte(i)}, 3000), pebble.Sync))
				ack(i + 1)
			}
			must(t, db.Close())
			if len(cuts) < 20 {
				t.Fatal("sync points", len(cuts))
			}
			for _, c := range cuts {
				db, err := pebble.Open("/db", &pebble.Options{FS: c.fs, Logger: quiet{}})
				must(t, err)
				for i := range c.acked {
					_, closer, err := db.Get(fmt.Appendf(nil, "k%02d", i))
					if err != nil {
						t.Fatalf("key %d of %d: %v", i, c.acked, err)
					}
					closer.Close()
				}
				must(t, db.Close())
			}
		})
	}
}

// quiet drops Pebble's log.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// TestSendTo sends a file over a connection, where the kernel does the work.
func TestSendTo(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fs FS, dir string) {
		data := bytes.Repeat([]byte("0123456789"), 100_000)
		name := fs.PathJoin(dir, "f")
		f := create(t, fs, name, data)
		defer f.Close()
		must(t, fs.Remove(name)) // it needs no name
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer l.Close()
		got := make(chan []byte, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			b, _ := io.ReadAll(c)
			got <- b
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		if n, err := f.SendTo(c, 7, 900_000); n != 900_000 || err != nil {
			t.Fatal(n, err)
		}
		must(t, c.Close())
		if !bytes.Equal(<-got, data[7:900_007]) {
			t.Error("bytes differ")
		}
	})
}

func TestFailNth(t *testing.T) {
	t.Parallel()
	fs := WithHook(NewMem(), FailNth(2, false, syscall.EIO, func(op Op, _ string) bool { return op == OpWrite }))
	f := create(t, fs, "/f", []byte("x"))
	if _, err := f.WriteAt([]byte("y"), 0); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("z"), 0); err != nil {
		t.Fatal(err)
	}
}
