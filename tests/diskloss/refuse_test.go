package diskloss

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// refused runs a server that must not start and returns what it printed.
func refused(t *testing.T, what string, words []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), append([]string{"server", "--address", "127.0.0.1:0"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "HOLDFAST_ROOT_USER=" + harness.User, "HOLDFAST_ROOT_PASSWORD=" + harness.Password}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("%s: the server went on: %s", what, out)
		return
	}
	if err == nil {
		t.Errorf("%s: the server ended without an error: %s", what, out)
	}
	_, last, _ := strings.Cut(string(out), "holdfast: ")
	for _, w := range words {
		if !strings.Contains(last, w) {
			t.Errorf("%s: the refusal lacks %q: %s", what, w, out)
		}
	}
	if strings.Contains(string(out), "panic") {
		t.Errorf("%s: %s", what, out)
	}
}

// TestRefusals starts servers on directories that are not theirs, or not like
// this: each is refused with what to do.
func TestRefusals(t *testing.T) {
	t.Parallel()
	a := start(t, harness.Options{Dirs: 2, Scheme: "rep-2"})
	a.write(t, "a", 100, 20_000)
	refused(t, "a second server on the same directories", []string{"in use", "stop the other process"}, a.Dirs...)
	refused(t, "a second server on one of the directories", []string{"in use", "stop the other process"}, a.Dirs[0])
	a.verify(t, "beside refused servers")
	a.Stop()

	b := start(t, harness.Options{Dirs: 2, Scheme: "rep-2"})
	b.write(t, "b", 100, 20_000)
	b.Stop()
	refused(t, "a directory of another server", []string{"belongs to server", "give one server's directories only"}, a.Dirs[0], b.Dirs[1])
	refused(t, "another scheme", []string{"rep-2", "rep-1", "leave the flag out"}, append([]string{"--scheme", "rep-1"}, a.Dirs...)...)
	refused(t, "a scheme that is wider than there are directories", []string{"rs-2+2", "give more directories"}, "--scheme", "rs-2+2", t.TempDir(), t.TempDir())
	refused(t, "a scheme of letters", []string{"scheme"}, "--scheme", "rep-x", t.TempDir())
	refused(t, "the same directory twice", []string{a.Dirs[0]}, a.Dirs[0], a.Dirs[0])

	foreign := t.TempDir()
	photo := filepath.Join(foreign, "holiday.jpg")
	if err := os.WriteFile(photo, []byte("photo"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "a directory with something else in it", []string{"holiday.jpg", "is not empty", "give an empty one"}, foreign)
	refused(t, "one such beside empty ones", []string{"holiday.jpg", "is not empty"}, t.TempDir(), foreign)
	refused(t, "one such beside a server's own", []string{"holiday.jpg", "is not empty"}, a.Dirs[0], a.Dirs[1], foreign)
	if data, err := os.ReadFile(photo); err != nil || string(data) != "photo" {
		t.Errorf("the foreign file: %q, %v", data, err)
	}
	if n := harness.DiskUse(t, foreign).Files; n != 1 {
		t.Errorf("%d files in the foreign directory", n)
	}
	for _, s := range []*store{a, b} {
		s.Launch()
		s.WaitReady()
		s.verify(t, "after refused starts")
		s.Stop()
		harness.TakeCensus(t, s.Dirs[0]).Clean(t)
	}
}

// TestReplaceRefusals asks for replacements that would destroy something.
func TestReplaceRefusals(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a refill")
	}
	t.Parallel()
	s := start(t, harness.Options{Dirs: 3, Scheme: "rep-2"})
	s.write(t, "first", sizes...)
	admin := func(what, word string, args ...string) {
		t.Helper()
		if out, err := s.Admin(args...); err == nil || !strings.Contains(out, word) {
			t.Errorf("%s: %v: %s; want %q in it", what, err, out, word)
		}
	}
	admin("a directory that is well", "only a lost one can be", "disk", "replace", s.Dirs[0])
	admin("forgetting one that is well", "only a lost one can be", "disk", "replace", "--forget", s.Dirs[0])
	admin("a directory of nobody", "not one of this server's", "disk", "replace", t.TempDir())
	s.Stop()
	old := s.Dirs[2] + ".old"
	if err := os.Rename(s.Dirs[2], old); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.Dirs[2], 0o700); err != nil {
		t.Fatal(err)
	}
	s.Launch()
	s.WaitReady()
	foreign := filepath.Join(s.Dirs[2], "letter.txt")
	if err := os.WriteFile(foreign, []byte("letter"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin("a directory that is not empty", "not empty", "disk", "replace", s.Dirs[2])
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	s.MustAdmin("disk", "replace", s.Dirs[2])
	s.refilled(t)
	s.Stop()
	if err := os.Rename(s.Dirs[2], s.Dirs[2]+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, s.Dirs[2]); err != nil {
		t.Fatal(err)
	}
	refused(t, "a replaced directory that comes back", []string{"was replaced or forgotten", "leave it out"}, s.Dirs...)
	if err := os.Rename(s.Dirs[2], old); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.Dirs[2]+".new", s.Dirs[2]); err != nil {
		t.Fatal(err)
	}
	s.Launch()
	s.WaitReady()
	s.verify(t, "after refused replacements")
	s.census(t)
}

// TestCopyOfADirectory puts a copy in the place of a directory, as somebody
// does who moves a disk's files to a new one: nobody says what the copy lacks.
func TestCopyOfADirectory(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Dirs: 4, Scheme: "rs-2+2"})
	s.write(t, "first", 100, 20_000, 2<<20)
	old := s.Dirs[1] + ".old"
	rename(t, s.Dirs[1], old)
	copyTree(t, old, s.Dirs[1])
	s.write(t, "second", 20_000)
	for _, args := range [][]string{{s.Dirs[1]}, {"--forget", s.Dirs[1]}} {
		out, err := s.Admin(append([]string{"disk", "replace"}, args...)...)
		if err == nil || !strings.Contains(out, "not the directory that the server has open but a copy of it") || !strings.Contains(out, "empty it and repeat") {
			t.Errorf("disk replace %v: %v: %s", args, err, out)
		}
	}
	s.verify(t, "with a copy in the place of a directory")
	wipe(t, s.Dirs[1])
	s.MustAdmin("disk", "replace", s.Dirs[1])
	s.refilled(t)
	s.Stop()
	copyTree(t, s.Dirs[2], s.Dirs[2]+".copy")
	refused(t, "a directory and its copy", []string{"both hold node 3", "leave the copy out"}, append(s.Dirs, s.Dirs[2]+".copy")...)
	s.Launch()
	s.WaitReady()
	s.verify(t, "after a copy was refused")
	s.census(t)
}
