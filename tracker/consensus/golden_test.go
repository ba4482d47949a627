package consensus

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"holdfast/internal/golden"
	"holdfast/tracker/kv"
)

// TestEntryGolden holds the data of an entry. A read mark, a command of no
// bytes, is not told to the machine.
func TestEntryGolden(t *testing.T) {
	t.Parallel()
	entries := map[string][]string{"empty": nil, "mark": {""}, "one": {"command"}, "many": {"one", "", "three", string(make([]byte, 200))}}
	var lines []golden.Line
	for _, name := range []string{"empty", "mark", "one", "many"} {
		b := []byte{entryVersion}
		for _, c := range entries[name] {
			b = appendCommand(b, []byte(c))
		}
		lines = append(lines, golden.Line{Name: name, Bytes: b})
	}
	for _, l := range golden.Check(t, "testdata/entry.golden", lines) {
		cmds, err := splitEntry(l.Bytes, nil)
		if err != nil {
			t.Fatalf("%s: %v", l.Name, err)
		}
		var got []string
		for _, c := range cmds {
			got = append(got, string(c))
		}
		want := slices.DeleteFunc(slices.Clone(entries[l.Name]), func(c string) bool { return c == "" })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", l.Name, got, want)
		}
	}
}

// TestPositionGolden holds the log's own rows in the state.
func TestPositionGolden(t *testing.T) {
	t.Parallel()
	// Raft's own encoding of a configuration is on disk for as long as ours.
	members := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: "v0.00ff", Address: "v0.00ff"}, {Suffrage: raft.Nonvoter, ID: "v1.00ee", Address: "v1"}}}
	at := position{index: 0x0102030405060708, term: 9, confIndex: 3, conf: raft.EncodeConfiguration(members)}
	bare := position{index: 1, term: 1}
	s := mustKV(t)
	if err := writeFlushed(s, at.index+1, 10); err != nil {
		t.Fatal(err)
	}
	flushed, _, err := s.Get(keyFlushed, nil)
	if err != nil {
		t.Fatal(err)
	}
	old := golden.Check(t, "testdata/position.golden", []golden.Line{
		{Name: "applied", Bytes: at.append(nil)}, {Name: "applied-no-configuration", Bytes: bare.append(nil)}, {Name: "flushed", Bytes: flushed}})

	if got := raft.DecodeConfiguration(old[0].Bytes[25:]); !cmp.Equal(got, members) {
		t.Errorf("configuration %+v, want %+v", got, members)
	}
	read := func(rows map[string][]byte) position {
		t.Helper()
		s := mustKV(t)
		b := s.NewBatch(64)
		for k, v := range rows {
			if err := b.Set([]byte(k), v); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		p, err := readPosition(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	further := at
	further.index, further.term = at.index+1, 10
	for name, c := range map[string]struct {
		rows map[string][]byte
		want position
	}{
		"applied":     {map[string][]byte{"\x01applied": old[0].Bytes}, at},
		"no members":  {map[string][]byte{"\x01applied": old[1].Bytes}, bare},
		"and flushed": {map[string][]byte{"\x01applied": old[0].Bytes, "\x01flushed": old[2].Bytes}, further},
	} {
		if d := cmp.Diff(c.want, read(c.rows), cmp.AllowUnexported(position{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func mustKV(t *testing.T) *kv.Store {
	t.Helper()
	s, err := kv.Open(vfs.NewMem(), "state", kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestStreamGolden holds the state stream: voters of two releases seed each
// other.
func TestStreamGolden(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	files := map[string]string{"000002.sst": "table", "CURRENT": "", "MANIFEST-000001": string(bytes.Repeat([]byte{7}, 300))}
	if err := fs.MkdirAll("/src", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range files {
		f, err := fs.Create("/src/"+name, vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write([]byte(body))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := newStream(fs, "/src")
	if err != nil {
		t.Fatal(err)
	}
	sent, err := io.ReadAll(s)
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	old := golden.Check(t, "testdata/stream.golden", []golden.Line{{Name: "stream", Bytes: sent}})
	if err := receive(bytes.NewReader(old[0].Bytes), fs, "/dst"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	names, err := fs.List("/dst")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := fs.Open("/dst/" + name)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		got[name] = string(body)
	}
	if d := cmp.Diff(files, got); d != "" {
		t.Error(d)
	}
}

// TestGreetingGolden holds what a connection between Rafts begins with.
func TestGreetingGolden(t *testing.T) {
	t.Parallel()
	b := appendGreeting(nil, 0x0102030405060708, "cluster", "t1.00ff", "t2.00ee")
	for _, l := range golden.Check(t, "testdata/greeting.golden", []golden.Line{{Name: "hello", Bytes: b}}) {
		recovery, cluster, from, to, err := readGreeting(bytes.NewReader(l.Bytes))
		if err != nil || recovery != 0x0102030405060708 || cluster != "cluster" || from != "t1.00ff" || to != "t2.00ee" {
			t.Errorf("%d %q %q %q %v", recovery, cluster, from, to, err)
		}
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add(appendGreeting(nil, 1, "c", "a", "b"))
	f.Add([]byte(greeting))
	f.Fuzz(func(t *testing.T, b []byte) {
		recovery, cluster, from, to, err := readGreeting(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := appendGreeting(nil, recovery, cluster, from, to); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x is read as %x", b, again)
		}
	})
}
