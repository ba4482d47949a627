package frame

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"holdfast/erasure"
)

var update = flag.Bool("update", false, "rewrite the golden fixture")

var testBlob = [16]byte{0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}

func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// TestGolden holds the format: a value that changes here makes every stored
// shard unreadable.
func TestGolden(t *testing.T) {
	var b strings.Builder
	for _, id := range []struct {
		index uint8
		gen   uint32
	}{{0, 1}, {1, 1}, {0, 2}, {31, 1 << 30}} {
		s := SeedOf(testBlob, id.index, id.gen)
		fmt.Fprintf(&b, "shard %d.%d seed %016x name %016x\n", id.index, id.gen, uint64(s), Name(testBlob, id.index, id.gen))
		for _, n := range []int64{0, 1, 81919} {
			for _, l := range []int{1, 3, 16, 17, 128, 240, 241, 4096, erasure.FrameSize} {
				fmt.Fprintf(&b, "frame %d of %d: %016x\n", n, l, s.Sum(n, fill(l)))
			}
		}
		var seal Sealer
		for n := range int64(200) {
			f := append(fill(10), make([]byte, 8)...)
			s.Put(n, f)
			seal.Add(f)
			if n == 0 || n == 199 {
				fmt.Fprintf(&b, "seal after %d: %016x\n", n+1, seal.Sum())
			}
		}
	}
	const path = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("checksums changed:\n%s", b.String())
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := SeedOf(testBlob, 3, 9)
	for _, l := range []int{1, 100, 4096, erasure.FrameSize} {
		f := append(fill(l), make([]byte, 8)...)
		s.Put(5, f)
		if err := s.Check(5, f); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			i, bit := rng.IntN(len(f)), byte(1)<<rng.IntN(8)
			f[i] ^= bit
			if err := s.Check(5, f); !errors.Is(err, ErrSum) {
				t.Fatalf("flip at %d of %d: %v", i, len(f), err)
			}
			f[i] ^= bit
		}
		for name, bad := range map[string]error{
			"number":     s.Check(4, f),
			"index":      SeedOf(testBlob, 2, 9).Check(5, f),
			"generation": SeedOf(testBlob, 3, 8).Check(5, f),
			"blob":       SeedOf([16]byte{1}, 3, 9).Check(5, f),
			"cut":        s.Check(5, f[:len(f)-1]),
			"zeros":      s.Check(5, make([]byte, len(f))),
		} {
			if !errors.Is(bad, ErrSum) {
				t.Errorf("%s of %d: %v", name, l, bad)
			}
		}
	}
	for _, l := range []int{0, 7, 8, Stride + 1} {
		if err := s.Check(0, make([]byte, l)); !errors.Is(err, ErrSum) {
			t.Errorf("length %d: %v", l, err)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := SeedOf(testBlob, 0, 1)
	for _, last := range []int{1, 500, erasure.FrameSize} {
		run := make([]byte, 2*Stride+last+8)
		for n := range 3 {
			s.Put(int64(n)+10, run[n*Stride:min(len(run), (n+1)*Stride)])
		}
		if n, err := s.CheckRun(10, run); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		if n, ok := Count(int64(len(run))); n != 3 || !ok {
			t.Fatal(n, ok)
		}
		var seal Sealer
		seal.AddRun(run)
		if seal.Frames != 3 || seal.Length != int64(len(run)) || seal.Sum() != SumRun(run) {
			t.Fatal(seal.Frames, seal.Length)
		}
		run[Stride] ^= 1
		if n, err := s.CheckRun(10, run); n != 1 || !errors.Is(err, ErrSum) {
			t.Fatal(n, err)
		}
	}
	if SumRun(nil) != 0 || new(Sealer).Sum() != 0 {
		t.Error("sum of no frames is not 0")
	}
	var seal Sealer
	seal.Add(fill(20))
	seal.Reset()
	seal.Add(fill(30))
	if seal.Sum() != SumRun(fill(30)) {
		t.Error("reset sealer remembers")
	}
	for l, want := range map[int64]bool{0: true, 8: false, 9: true, Stride: true, Stride + 1: false, -1: false} {
		if _, ok := Count(l); ok != want {
			t.Errorf("Count(%d) %v", l, ok)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	s, f := SeedOf(testBlob, 0, 1), make([]byte, Stride)
	var seal Sealer
	if n := testing.AllocsPerRun(100, func() {
		s.Put(1, f)
		if s.Check(1, f) != nil {
			t.Fail()
		}
		seal.Add(f)
		_ = Name(testBlob, 1, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	s := SeedOf(testBlob, 0, 1)
	for _, l := range []int{4096, 16384, erasure.FrameSize} {
		f := make([]byte, l+8)
		s.Put(0, f)
		b.Run(fmt.Sprint(l), func(b *testing.B) {
			b.SetBytes(int64(l))
			for b.Loop() {
				if s.Check(0, f) != nil {
					b.Fail()
				}
			}
		})
	}
}
