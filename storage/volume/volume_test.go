package volume

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/erasure/frame"
	"holdfast/internal/vfs"
	"holdfast/storage"
)

var update = flag.Bool("update", false, "rewrite the golden fixtures")

var testID = storage.ShardID{Blob: storage.MakeBlobID(1, 2, 1700000000000, 42), Index: 3, Gen: 7}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// packed returns a record of a shard with one frame, as it stands at off.
func packed(payload int, nonce uint64, off int64) ([]byte, Record) {
	b := make([]byte, RecordSpan(int64(payload)+8))
	frames := b[RecordSize:][:payload+8]
	for i := range payload {
		frames[i] = byte(i)
	}
	frame.SeedOf(testID.Blob, testID.Index, testID.Gen).Put(0, frames)
	r := Record{Kind: Packed, ID: testID, Expiry: 1 << 40, Span: int64(len(b)),
		Seal: storage.Seal{Frames: 1, Length: int64(payload) + 8, Sum: frame.SumRun(frames)}}
	r.Encode(b, nonce, off)
	return b, r
}

func samples() map[string]Record {
	_, p := packed(100, 0, 0)
	moved := p
	moved.Copy, moved.Origin = true, Origin(9, 4096)
	return map[string]Record{
		"packed": p,
		"moved":  moved,
		"filed": {Kind: Filed, ID: testID, Expiry: 5, File: 1<<32 | 99, Span: FiledSpan,
			Seal: storage.Seal{Frames: 3, Length: 2*frame.Stride + 50, Sum: 0xabc}},
		"filler": {Kind: Filler, Span: 96},
		"empty":  {Kind: Packed, ID: testID, Span: RecordSpan(0)},
	}
}

// TestGolden holds the formats: what is written today must open for ever.
func TestGolden(t *testing.T) {
	var b strings.Builder
	h := Header{Number: 5, Node: 6, Cluster: "test", Nonce: 0x1122334455667788, Created: 1700000000000}
	fmt.Fprintf(&b, "header %x %x\n", h.Encode()[:48], h.Encode()[HeaderSize-8:])
	for _, name := range []string{"empty", "filed", "filler", "moved", "packed"} {
		r := samples()[name]
		buf := make([]byte, RecordSize)
		r.Encode(buf, h.Nonce, 8192)
		fmt.Fprintf(&b, "%s %x\n", name, buf)
		if r.Kind == Filed {
			r.EncodeTrailer(buf)
			fmt.Fprintf(&b, "trailer %x\n", buf)
		}
	}
	const path = "testdata/golden.txt"
	if *update {
		must(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
	for line := range strings.Lines(string(want)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		buf, _ := hex.DecodeString(digits)
		if want, ok := samples()[name]; ok {
			got, err := DecodeRecord(buf, h.Nonce, 8192)
			if err != nil || got != want {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if name == "trailer" {
			if got, err := DecodeTrailer(buf, 1<<32|99); err != nil || got != samples()["filed"] {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	h := Header{Number: 5, Node: 6, Cluster: "test", Nonce: 7, Created: 8}
	b := h.Encode()
	if got, err := DecodeHeader(b, "test"); err != nil || got != h {
		t.Fatal(got, err)
	}
	flipped := slices.Clone(b)
	flipped[100] ^= 1
	for name, c := range map[string]struct {
		b       []byte
		cluster string
	}{"other cluster": {b, "tess"}, "flipped": {flipped, "test"}, "cut": {b[:4000], "test"}, "zeros": {make([]byte, HeaderSize), "test"}} {
		if _, err := DecodeHeader(c.b, c.cluster); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]uint32{"00000007.vol": 7, "7.vol": 0, "00000000.vol": 0, "00000007.vox": 0, "123456789.vol": 123456789} {
		if n, ok := ParseName(name); ok != (want != 0) || ok && n != want {
			t.Error(name, n, ok)
		}
	}
}

func TestRecordBounds(t *testing.T) {
	t.Parallel()
	for name, r := range samples() {
		buf := make([]byte, RecordSize)
		r.Encode(buf, 1, 64)
		for what, err := range map[string]error{
			"nonce":  second(DecodeRecord(buf, 2, 64)),
			"offset": second(DecodeRecord(buf, 1, 96)),
		} {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%s at another %s: %v", name, what, err)
			}
		}
		for i := range buf {
			if r.Kind == Filler && i >= 24 {
				break
			}
			buf[i] ^= 0x20
			if _, err := DecodeRecord(buf, 1, 64); !errors.Is(err, ErrFormat) {
				t.Errorf("%s: flip of byte %d: %v", name, i, err)
			}
			buf[i] ^= 0x20
		}
	}
	for name, change := range map[string]func(*Record){
		"span":   func(r *Record) { r.Span += Slot },
		"frames": func(r *Record) { r.Seal.Frames++ },
		"length": func(r *Record) { r.Seal.Length = -1 },
		"large":  func(r *Record) { r.Seal.Length, r.Span = MaxPacked+1000, RecordSpan(MaxPacked+1000) },
		"kind":   func(r *Record) { r.Kind = 9 },
	} {
		r := samples()["packed"]
		change(&r)
		buf := make([]byte, RecordSize)
		r.Encode(buf, 1, 64)
		if _, err := DecodeRecord(buf, 1, 64); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ tail, length, want int64 }{
		{8192, 5000, 8192},                  // aligned anyway
		{8224, 100, 8224},                   // small
		{8224, 4104, 8224},                  // a gap would double it
		{8224, 65544, 12288},                // a gap costs little and frees whole blocks
		{12256, 5000, 12288},                // a small gap
		{12288 + 4000, 16392, 12288 + 4096}, // likewise
		{12288, 1 << 20, 12288},
	} {
		if got := Place(c.tail, c.length, RecordSpan(c.length)); got != c.want {
			t.Errorf("record of %d at %d: %d, want %d", c.length, c.tail, got, c.want)
		}
	}
}

// TestScan writes records with gaps, holes and damage between and finds the
// good ones.
func TestScan(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem()
	f, err := m.OpenFile("/v", vfs.CreateNew)
	must(t, err)
	h := Header{Number: 1, Cluster: "c", Nonce: 99}
	_, err = f.WriteAt(h.Encode(), 0)
	must(t, err)
	tail := int64(HeaderSize)
	var offs []int64
	for i := range 40 {
		size := []int{1, 5000, 60_000, 16384}[i%4]
		b, r := packed(size, 0, 0)
		off := Place(tail, r.Seal.Length, r.Span)
		if off > tail {
			gap := make([]byte, Slot)
			fill := Record{Kind: Filler, Span: off - tail}
			fill.Encode(gap, h.Nonce, tail)
			_, err = f.WriteAt(gap, tail)
			must(t, err)
		}
		r.Encode(b, h.Nonce, off)
		_, err = f.WriteAt(b, off)
		must(t, err)
		offs = append(offs, off)
		tail = off + r.Span
	}
	scan := func() (good []int64, bad int) {
		got, err := ReadHeader(f, "c")
		must(t, err)
		s, err := NewScanner(f, got, HeaderSize)
		must(t, err)
		for {
			r, off, err := s.Next()
			switch {
			case err == io.EOF:
				return good, bad
			case errors.Is(err, ErrFormat):
				bad++
				if _, err := s.Resync(); err != nil {
					t.Fatal(err)
				}
				continue
			case err != nil:
				t.Fatal(err)
			}
			frames, err := s.Frames(&r, off)
			must(t, err)
			if r.Verify(frames) == nil {
				good = append(good, off)
			} else {
				bad++
			}
		}
	}
	if good, bad := scan(); !slices.Equal(good, offs) || bad != 0 {
		t.Fatalf("%d good, %d bad", len(good), bad)
	}
	must(t, f.Punch(offs[2]+4096, 40_000))                // a hole
	_, err = f.WriteAt(make([]byte, RecordSize), offs[9]) // a lost header
	must(t, err)
	must(t, f.Truncate(tail-100)) // a torn tail
	good, bad := scan()
	if len(good) != 37 || bad != 3 {
		t.Fatalf("%d good, %d bad", len(good), bad)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		id := storage.ShardID{Blob: storage.MakeBlobID(uint16(rng.Uint32()), 1, rng.Uint64(), rng.Uint64()), Index: uint8(rng.Uint32()), Gen: rng.Uint32()}
		file := rng.Uint64N(1 << 52)
		_, name := FileName(id, file)
		if got, f, ok := ParseFileName(uint32(file>>32), name); !ok || got != id || f != file {
			t.Fatal(name, got, f, ok)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range samples() {
		buf := make([]byte, RecordSize)
		r.Encode(buf, 1, 64)
		f.Add(buf)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b, 1, 64)
		if err != nil {
			return
		}
		again := make([]byte, RecordSize)
		r.Encode(again, 1, 64)
		if got, err := DecodeRecord(again, 1, 64); err != nil || got != r {
			t.Fatal(r, got, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add((&Header{Number: 1, Cluster: "c"}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := DecodeHeader(b, "c"); err == nil && h.Cluster != "c" {
			t.Fatal(h)
		}
	})
}

// FuzzScan scans arbitrary bytes as a volume: it must end, and not panic.
func FuzzScan(f *testing.F) {
	b, _ := packed(100, 5, HeaderSize)
	f.Add(b)
	f.Fuzz(func(t *testing.T, tail []byte) {
		m := vfs.NewMem()
		file, err := m.OpenFile("/v", vfs.CreateNew)
		must(t, err)
		_, err = file.WriteAt(tail, HeaderSize)
		must(t, err)
		s, err := NewScanner(file, Header{Nonce: 5}, HeaderSize)
		must(t, err)
		for range len(tail)/Slot + 2 {
			_, _, err := s.Next()
			if errors.Is(err, ErrFormat) {
				_, err = s.Resync()
			}
			if err == io.EOF {
				return
			}
			must(t, err)
		}
		t.Fatal("scan does not end")
	})
}

func FuzzFileName(f *testing.F) {
	_, name := FileName(testID, 1<<32|5)
	f.Add(name)
	f.Fuzz(func(t *testing.T, name string) {
		if id, file, ok := ParseFileName(1, name); ok {
			if _, again := FileName(id, file); again != name {
				t.Fatal(name, again)
			}
		}
	})
}
