package vfs

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// logOps works on two files of a log and their directory as Pebble does. It
// returns what a caller was told.
func logOps(fs pvfs.FS) error {
	var errs []error
	told := func(err error) { errs = append(errs, err) }
	other, err := fs.OpenDir("db")
	told(err)
	dir, err := fs.OpenDir("db")
	told(err)
	defer other.Close()
	f, err := fs.Create("db/1.log", logCategory)
	told(err)
	told(dir.Sync())
	_, err = f.Write([]byte("one"))
	told(err)
	told(f.Sync())
	_, err = f.Write([]byte("two"))
	told(err)
	told(f.SyncData())
	_, err = f.SyncTo(6)
	told(err)
	told(f.Close())
	f, err = fs.ReuseForWrite("db/old.log", "db/2.log", logCategory)
	told(err)
	_, err = f.Stat()
	told(err)
	told(dir.Sync())
	_, err = f.Write([]byte("three"))
	told(err)
	told(f.Sync())
	told(f.Close())
	return errors.Join(errs...)
}

// TestKeepLog lets each call fail: the caller never hears of it, whoever asked
// for it does, once, and the log ends where it failed.
func TestKeepLog(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		mem := NewMem()
		for _, err := range []error{mem.MkdirAll("db", 0o700), WriteFile(mem, "db/old.log", []byte("123456789"))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		calls, after := 0, 0
		fs := WithHook(mem, func(op Op, path string) error {
			if op == OpOpen || op == OpClose && path == "db" {
				return nil
			}
			if calls++; calls == n {
				return syscall.EIO
			}
			if calls > n && op != OpClose {
				after++
			}
			return nil
		})
		var told []error
		if err := logOps(KeepLog(fs, func(err error) { told = append(told, err) })); err != nil {
			t.Fatalf("call %d: Pebble would be told %v", n, err)
		}
		if calls < n {
			if len(told) != 0 {
				t.Fatalf("told %v without a fault", told)
			}
			if n < 15 {
				t.Fatalf("only %d calls", n)
			}
			return
		}
		if len(told) != 1 || !errors.Is(told[0], syscall.EIO) {
			t.Fatalf("call %d: told %v", n, told)
		}
		if after != 0 {
			t.Fatalf("call %d: %d calls of the log after it had failed", n, after)
		}
	}
}

// TestKeepLogOnly keeps no error of anything else from Pebble, though it be of
// another handle of the log's directory.
func TestKeepLogOnly(t *testing.T) {
	t.Parallel()
	mem := NewMem()
	if err := mem.MkdirAll("db", 0o700); err != nil {
		t.Fatal(err)
	}
	broken := false
	fs := KeepLog(WithHook(mem, func(op Op, path string) error {
		if broken && !strings.HasSuffix(path, ".log") {
			return syscall.EIO
		}
		return nil
	}), func(err error) { t.Errorf("told %v", err) })
	tables, err := fs.OpenDir("db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.OpenDir("db"); err != nil { // the log's
		t.Fatal(err)
	}
	if _, err := fs.Create("db/1.log", logCategory); err != nil {
		t.Fatal(err)
	}
	table, err := fs.Create("db/2.sst", "pebble-memtable-flush")
	if err != nil {
		t.Fatal(err)
	}
	late, err := fs.OpenDir("db")
	if err != nil {
		t.Fatal(err)
	}
	broken = true
	_, werr := table.Write([]byte("x"))
	_, cerr := fs.Create("db/3.sst", "pebble-memtable-flush")
	for i, err := range []error{werr, cerr, table.Sync(), tables.Sync(), late.Sync()} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestKeepLogOrder tells of a failure before anybody is told that all is well.
func TestKeepLogOrder(t *testing.T) {
	t.Parallel()
	mem := NewMem()
	var second pvfs.File
	synced := false
	fs := KeepLog(WithHook(mem, func(op Op, path string) error {
		switch {
		case op == OpSync && path == "1.log":
			return syscall.EIO
		case op == OpSync && path == "2.log":
			synced = true
		}
		return nil
	}), func(error) {
		if err := second.Sync(); err != nil || !synced {
			t.Errorf("a sync was skipped before the failure was known: %v", err)
		}
	})
	first, err1 := fs.Create("1.log", logCategory)
	second, err2 := fs.Create("2.log", logCategory)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := first.Sync(); err != nil {
		t.Fatal(err)
	}
}
