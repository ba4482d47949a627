package index

import (
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"

	"holdfast/internal/golden"
	"holdfast/storage"
)

// goldenID names the n-th shard of the fixture.
func goldenID(n uint64) storage.ShardID {
	return storage.ShardID{Blob: storage.MakeBlobID(1, 2, 3, n), Index: uint8(n), Gen: uint32(0x01020300 + n)}
}

func goldenEntries() []Entry {
	var es []Entry
	for i := range uint64(6) {
		e := entry(3 * int(i%2)) // packed, filed
		e.ID, e.Loc = goldenID(i), Loc{7, int64(i) * 16384}
		e.Seal.Sum, e.Expiry = 0x0102030405060708+i, 1_800_000_000_123
		if e.File != 0 {
			e.File = 0x0A0B0C0D00000000 + i
		} else {
			e.Seal.Length = 9000 // there is a hole to punch
		}
		es = append(es, e)
	}
	return es
}

// goldenHistory leaves rows of every kind: shards of both kinds, some in
// quarantine, space and a file to free, counters, the caller's rows.
func goldenHistory(t *testing.T, x *Index) {
	t.Helper()
	var puts []*Put
	for _, e := range goldenEntries() {
		puts = append(puts, &Put{Entry: e})
	}
	must(t, x.Append(puts, Loc{7, 6 * 16384}))
	must(t, x.Quarantine([]storage.ShardID{goldenID(2), goldenID(3)}, 1_800_000_000_456))
	must(t, x.Delete([]storage.ShardID{goldenID(4), goldenID(5)}))
	must(t, x.SetMeta("caller", []byte("row")))
}

// TestGolden holds the rows: what a release wrote is read by all later ones.
// The index may be rebuilt, but only while nothing is in quarantine.
func TestGolden(t *testing.T) {
	t.Parallel()
	x := open(t, mem(t))
	goldenHistory(t, x)
	var lines []golden.Line
	must(t, x.iterate([]byte{0}, []byte{0xFF}, func(k, v []byte) (bool, error) {
		lines = append(lines, golden.Line{Name: hex.EncodeToString(k), Bytes: slices.Clone(v)})
		return true, nil
	}))
	readGolden(t, golden.Check(t, "testdata/rows.golden", lines))
}

// readGolden opens an index that holds the rows and nothing else.
func readGolden(t *testing.T, rows []golden.Line) {
	t.Helper()
	m := mem(t)
	x := open(t, m)
	for _, r := range rows {
		k, err := hex.DecodeString(r.Name)
		must(t, err)
		must(t, x.db.Set(k, r.Bytes, pebble.Sync))
	}
	x = open(t, m.CrashClone(0, nil))
	want := map[storage.ShardID]Entry{}
	for i, e := range goldenEntries()[:4] {
		if i >= 2 {
			e.Quarantined = 1_800_000_000_456
		}
		want[e.ID] = e
	}
	got := map[storage.ShardID]Entry{}
	var totals Totals
	var live VolumeStat
	must(t, x.Scan(storage.IDRange{}, storage.ShardID{}, func(e *Entry) bool {
		got[e.ID] = *e
		totals.Shards++
		totals.Bytes += e.Seal.Length
		live.Records++
		live.Live += e.Span()
		return true
	}))
	totals.Quarantined = 2
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if x.Totals() != totals || x.Volume(7) != live {
		t.Errorf("totals %+v, want %+v; volume %+v, want %+v", x.Totals(), totals, x.Volume(7), live)
	}
	if p := x.Position(); p != (Loc{7, 6 * 16384}) {
		t.Errorf("position %v", p)
	}
	ids, err := x.Quarantined(math.MaxInt64-1, 9)
	must(t, err)
	if d := cmp.Diff(ids, []storage.ShardID{goldenID(2), goldenID(3)}); d != "" {
		t.Errorf("quarantine: %s", d)
	}
	frees, err := x.Frees(Free{}, 9)
	must(t, err)
	es := goldenEntries()
	if d := cmp.Diff(frees, []Free{{ID: es[4].ID, Loc: es[4].Loc, Span: es[4].Span()}, {ID: es[5].ID, File: es[5].File}}); d != "" {
		t.Errorf("to free: %s", d)
	}
	if v, err := x.Meta("caller"); err != nil || string(v) != "row" {
		t.Errorf("the caller's row: %q %v", v, err)
	}
}
