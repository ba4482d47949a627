package catalog_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// golden returns the fields of the lines of a golden file, decoded from the
// given one on.
func golden(f *testing.F, name string, from int) (out [][][]byte) {
	f.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		var row [][]byte
		for _, x := range strings.Split(line, " ")[from:] {
			b, err := hex.DecodeString(x)
			if err != nil {
				f.Fatal(err)
			}
			row = append(row, b)
		}
		out = append(out, row)
	}
	return out
}

// FuzzCommand applies any bytes as a command to a catalog with some rows: it
// is judged or refused, never a panic, and what is refused changes nothing
// but the log's own row.
func FuzzCommand(f *testing.F) {
	for _, row := range golden(f, "commands.golden", 1) {
		f.Add(row[0])
	}
	f.Fuzz(func(t *testing.T, cmd []byte) {
		w := newWorld(t)
		history(w)
		before := w.dump()
		r, err := w.log.Apply(cmd)
		if err != nil {
			raise := len(cmd) > 0 && cmd[0] == 26 // to a level of a newer release
			if len(cmd) >= 2 && cmd[0] >= 1 && cmd[0] <= 28 && cmd[1] <= 2 && !raise {
				t.Errorf("a command stopped the voter: %v", err)
			}
			return // of a newer release
		}
		if len(cmd) > 0 && cmd[0] == 9 {
			return // what Complete is made of is the proposer's word
		}
		if _, refused := r[0].(error); refused && w.dump() != before {
			t.Errorf("refused with %v, and rows changed", r[0])
		}
		for _, line := range catalog.Check(w.log.Store) {
			if !strings.Contains(line, "trim row") { // a request id that comes again under another key
				t.Error(line)
			}
		}
	})
}

// FuzzRow puts any bytes in the place of a row; reads and the checker answer
// with errors, never a panic.
func FuzzRow(f *testing.F) {
	for _, row := range golden(f, "rows.golden", 0) {
		f.Add(row[0], row[1])
	}
	rows := golden(f, "rows.golden", 0)
	f.Fuzz(func(t *testing.T, key, val []byte) {
		s, err := kv.Open(vfs.NewMem(), "state", kv.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		tx := s.Begin()
		defer tx.Close()
		for _, r := range rows {
			_ = tx.Set(r[0], r[1])
		}
		_ = tx.Set(key, val)
		readAll(tx)
	})
}

// readAll reads everything in every way.
func readAll(r kv.Reader) {
	catalog.Check(r)
	_, _ = catalog.ReadState(r)
	page, err := catalog.ListBuckets(r, &tracker.ListBuckets{Max: 10})
	if err != nil {
		return
	}
	for _, b := range page.Buckets {
		_, _ = catalog.Bucket(r, b.Name)
		_, _ = catalog.Usage(r, b.ID)
		_, _ = catalog.ListObjects(r, &tracker.ListObjects{Bucket: b.ID, Max: 100, Delimiter: "/"})
		if p, err := catalog.ListVersions(r, &tracker.ListVersions{Bucket: b.ID, Max: 100}); err == nil {
			for _, e := range p.Entries {
				_, _ = catalog.GetObject(r, &tracker.GetObject{Bucket: b.ID, Key: e.Key, Version: e.ID, Data: true})
				ref := tracker.Ref{Bucket: b.ID, Key: e.Key, Seq: e.Seq}
				_, _ = catalog.Extents(r, ref, 0, 100)
				_, _ = catalog.Parts(r, ref, 0, 100)
			}
		}
		if p, err := catalog.ListUploads(r, &tracker.ListUploads{Bucket: b.ID, Max: 100}); err == nil {
			for _, u := range p.Uploads {
				_, _ = catalog.ListParts(r, u.UploadRef, 0, 100)
				_, _, _ = catalog.PrepareComplete(r, &tracker.CompleteUpload{UploadRef: u.UploadRef, Size: -1, Parts: []tracker.CompletePart{{Number: 1}}})
			}
		}
	}
	_, _ = catalog.GarbageRows(r, catalog.GarbageID{}, 100)
	_, _ = catalog.Changes(r, 0, 0, 100)
	_, _ = catalog.Cursors(r)
	_, _ = catalog.Nodes(r)
	_, _ = catalog.Groups(r)
}
