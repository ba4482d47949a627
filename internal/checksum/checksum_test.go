package checksum

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKnownValues has the check values of the catalogues of CRCs
// ("123456789"), the FIPS examples, and those of xxHash's own tests for no
// bytes and the same digits.
func TestKnownValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a        Algorithm
		in, want string
	}{
		{CRC32, "123456789", "cbf43926"},
		{CRC32C, "123456789", "e3069283"},
		{CRC64NVME, "123456789", "ae8b14860a799888"},
		{SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{SHA512, "", "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"},
		{MD5, "abc", "900150983cd24fb0d6963f7d28e17f72"},
		{XXHash64, "", "ef46db3751d8e999"},
		{XXHash64, "abc", "44bc2cf5ad770999"},
		{XXHash3, "", "2d06800538d394c2"},
		{XXHash3, "abc", "78af5f94892f3950"},
		{XXHash128, "", "99aa06d3014798d86001c324468d497f"},
		{XXHash128, "abc", "06b05ab6733a618578af5f94892f3950"},
	} {
		h := New(tc.a)
		h.Write([]byte(tc.in))
		if got := hex.EncodeToString(h.Sum(nil)); got != tc.want {
			t.Errorf("%v(%q) = %s, want %s", tc.a, tc.in, got, tc.want)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for a := CRC32; a <= Last; a++ {
		h := New(a)
		if h.Size() != a.Size() || a.Size() > MaxSize || len(h.Sum(nil)) != a.Size() || !a.Valid() {
			t.Errorf("%v: size", a)
		}
		if got, err := Parse(strings.ToLower(a.String())); err != nil || got != a {
			t.Errorf("%v: %v", a, err)
		}
		if got, ok := ParseHeader(a.Header()); !ok || got != a {
			t.Errorf("%v: header", a)
		}
		if got, ok := ParseHeader(strings.ToLower(a.Header())); !ok || got != a {
			t.Errorf("%v: header", a)
		}
		if !a.Multipart(a.DefaultType()) || a.Multipart(NoType) {
			t.Errorf("%v: type", a)
		}
		text := Encode(h.Sum(nil))
		if sum, err := Decode(a, text); err != nil || !bytes.Equal(sum, h.Sum(nil)) {
			t.Errorf("%v: %v", a, err)
		}
		sum, parts, err := DecodeComposite(a, EncodeComposite(h.Sum(nil), 10000))
		if err != nil || parts != 10000 || !bytes.Equal(sum, h.Sum(nil)) {
			t.Errorf("%v: %v", a, err)
		}
		h.Write([]byte("x"))
		h.Reset()
		if Encode(h.Sum(nil)) != text {
			t.Errorf("%v: reset", a)
		}
	}
	if New(None) != nil || New(Last+1) != nil || None.Valid() || (Last + 1).Valid() || None.DefaultType() != NoType {
		t.Error("none")
	}
	if _, err := Parse("CRC16"); !errors.Is(err, ErrAlgorithm) {
		t.Error(err)
	}
	if _, ok := ParseHeader("x-amz-checksum-mode"); ok {
		t.Error("mode is no checksum")
	}
	if SHA256.Multipart(FullObject) || CRC64NVME.Multipart(Composite) || !CRC32C.Multipart(FullObject) || !CRC32C.Multipart(Composite) {
		t.Error("types")
	}
	for _, typ := range []Type{FullObject, Composite} {
		if got, err := ParseType(typ.String()); err != nil || got != typ {
			t.Error(err)
		}
	}
	if _, err := ParseType("x"); !errors.Is(err, ErrType) {
		t.Error(err)
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "AAAA", "AAAAAAA=", "AAAAAB==", "AAAAA===", "AAAA\nA==", "!!!!!!==", "AAAAAA==-0", "AAAAAA==-", "AAAAAA==-01", "AAAAAA==-10001", "AAAAAA==-1-1"} {
		if _, _, err := DecodeComposite(CRC32, text); !errors.Is(err, ErrValue) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Decode(None, ""); !errors.Is(err, ErrValue) {
		t.Error(err)
	}
}

func TestFullObjectSum(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, 100000)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	sum := func(a Algorithm, b []byte) []byte {
		h := New(a)
		h.Write(b)
		return h.Sum(nil)
	}
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		for range 200 {
			var parts []Part
			whole := data[:rng.IntN(len(data))]
			for rest := whole; ; {
				n := rng.IntN(len(rest)/2 + 2)
				if n > len(rest) || rng.IntN(20) == 0 {
					n = len(rest)
				}
				parts = append(parts, Part{sum(a, rest[:n]), int64(n)})
				if rest = rest[n:]; len(rest) == 0 && rng.IntN(2) == 0 {
					break
				}
			}
			got, err := FullObjectSum(a, parts)
			if err != nil || !bytes.Equal(got, sum(a, whole)) {
				t.Fatalf("%v over %d parts: %x, %v", a, len(parts), got, err)
			}
		}
		empty := sum(a, nil)
		for _, split := range []int{0, 1, 50000, 100000} {
			got, err := Combine(a, sum(a, data[:split]), sum(a, data[split:]), int64(len(data)-split))
			if err != nil || !bytes.Equal(got, sum(a, data)) {
				t.Fatalf("%v at %d: %v", a, split, err)
			}
		}
		if got, err := FullObjectSum(a, nil); err != nil || !bytes.Equal(got, empty) {
			t.Fatalf("%v: %x", a, got)
		}
		if _, err := FullObjectSum(a, []Part{{empty[1:], 0}}); !errors.Is(err, ErrValue) {
			t.Fatal(err)
		}
		if _, err := FullObjectSum(a, []Part{{empty, -1}}); !errors.Is(err, ErrValue) {
			t.Fatal(err)
		}
	}
	if _, err := FullObjectSum(SHA256, nil); !errors.Is(err, ErrType) {
		t.Fatal(err)
	}
}

// TestLongSecondPart joins with lengths that no test can hold in memory: a run
// of zero bytes doubled by Combine itself agrees with the direct sum.
func TestLongSecondPart(t *testing.T) {
	t.Parallel()
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		h := New(a)
		h.Write(make([]byte, 1<<10))
		double, n := h.Sum(nil), int64(1<<10)
		for n < 16<<20 {
			double, _ = Combine(a, double, double, n)
			n *= 2
		}
		h.Write(make([]byte, 16<<20-1<<10))
		if !bytes.Equal(double, h.Sum(nil)) {
			t.Errorf("%v: %x", a, double)
		}
	}
}

func TestCompositeSum(t *testing.T) {
	t.Parallel()
	a, b := MD5Sum([]byte("a")), MD5Sum([]byte("b"))
	want := MD5Sum(append(a[:], b[:]...))
	got, err := CompositeSum(MD5, []Part{{a[:], 1}, {b[:], 1}})
	if err != nil || !bytes.Equal(got, want[:]) {
		t.Fatal(err)
	}
	if _, err := CompositeSum(CRC64NVME, nil); !errors.Is(err, ErrType) {
		t.Fatal(err)
	}
	if _, err := CompositeSum(MD5, []Part{{a[1:], 1}}); !errors.Is(err, ErrValue) {
		t.Fatal(err)
	}
}

// TestMD5Pool hashes many streams of odd lengths at once, and closes the pool
// while some are open.
func TestMD5Pool(t *testing.T) {
	t.Parallel()
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{7}).Read(data)
	check := func(p *MD5Pool, n int, size int64) {
		h := p.New(size)
		defer h.Close()
		for rest := data[:n]; len(rest) > 0; {
			k := min(len(rest), 1+n/7)
			h.Write(rest[:k])
			rest = rest[k:]
		}
		if want := MD5Sum(data[:n]); !bytes.Equal(h.Sum(nil), want[:]) {
			t.Errorf("wrong sum of %d bytes", n)
		}
	}
	p := NewMD5Pool()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { check(p, len(data)-i*1001, -1) })
		wg.Go(func() { check(p, i*11, int64(i*11)) })
	}
	wg.Wait()
	if n := p.open.Load(); n != 0 {
		t.Errorf("%d streams open", n)
	}
	var held []*MD5Hash
	for range 40 {
		h := p.New(-1)
		h.Write(data)
		held = append(held, h)
	}
	p.Close()
	p.Close()
	want := MD5Sum(data)
	for _, h := range held {
		if !bytes.Equal(h.Sum(nil), want[:]) {
			t.Error("wrong sum after the pool closed")
		}
		h.Close()
		h.Close()
	}
	check(p, 1000, -1)
	check(nil, 1000, -1)
}

func FuzzDecode(f *testing.F) {
	f.Add(uint8(CRC32), "AAAAAA==")
	f.Add(uint8(SHA256), "uhzJ-3")
	f.Fuzz(func(t *testing.T, a uint8, text string) {
		sum, parts, err := DecodeComposite(Algorithm(a), text)
		if err != nil {
			return
		}
		again := Encode(sum)
		if parts > 0 {
			again = EncodeComposite(sum, parts)
		}
		if again != text {
			t.Fatalf("%q became %q", text, again)
		}
	})
}
