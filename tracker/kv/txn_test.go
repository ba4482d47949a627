package kv

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

type model map[string]string

func (m model) keys(lower, upper string) []string {
	var ks []string
	for k := range m {
		if lower <= k && k < upper {
			ks = append(ks, k)
		}
	}
	slices.Sort(ks)
	return ks
}

func check(t *testing.T, r Reader, m model, rnd *rand.Rand) {
	t.Helper()
	for range 10 {
		k := fmt.Sprintf("%02d", rnd.IntN(100))
		want, ok := m[k]
		if !ok {
			want = "-"
		}
		if got := get(t, r, k); got != want {
			t.Fatalf("key %s is %q, want %q", k, got, want)
		}
	}
}

func checkRange(t *testing.T, r Reader, m model, rnd *rand.Rand) {
	t.Helper()
	a, b := fmt.Sprintf("%02d", rnd.IntN(100)), fmt.Sprintf("%02d", rnd.IntN(101))
	it, err := r.Iter([]byte(a), []byte(b))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for ok := it.First(); ok; ok = it.Next() {
		got = append(got, string(it.Key())+"="+string(it.Value()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	for _, k := range m.keys(a, b) {
		want = append(want, k+"="+m[k])
	}
	if !slices.Equal(got, want) {
		t.Fatalf("[%s, %s) is %v, want %v", a, b, got, want)
	}
}

func TestTxAgainstModel(t *testing.T) {
	t.Parallel()
	for round := range 30 {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 1))
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s := open(t, vfs.NewMem(), Options{})
			defer s.Close()
			committed := model{}
			for n := range 20 {
				tx, m := s.Begin(), model{}
				for k, v := range committed {
					m[k] = v
				}
				for step := range rnd.IntN(40) {
					k := fmt.Sprintf("%02d", rnd.IntN(100))
					switch p := rnd.IntN(100); {
					case p < 50:
						v := fmt.Sprintf("%d.%d", n, step)
						if err := tx.Set([]byte(k), []byte(v)); err != nil {
							t.Fatal(err)
						}
						m[k] = v
					case p < 75:
						if err := tx.Delete([]byte(k)); err != nil {
							t.Fatal(err)
						}
						delete(m, k)
					case p < 82:
						hi := fmt.Sprintf("%02d", rnd.IntN(100))
						if err := tx.DeleteRange([]byte(k), []byte(hi)); err != nil {
							t.Fatal(err)
						}
						for _, d := range m.keys(k, hi) {
							delete(m, d)
						}
					case p < 90 && round%2 == 0:
						checkRange(t, tx, m, rnd)
					default:
						check(t, tx, m, rnd)
						check(t, s, committed, rnd)
					}
				}
				if rnd.IntN(4) == 0 {
					tx.Close()
					continue
				}
				if err := tx.Commit(rnd.IntN(5) == 0); err != nil {
					t.Fatal(err)
				}
				committed = m
				checkRange(t, s, committed, rnd)
			}
		})
	}
}

// BenchmarkPut is one PUT-shaped command in batches of 32: two reads, five
// writes and one read of an own write.
func BenchmarkPut(b *testing.B) {
	s := open(b, vfs.NewMem(), Options{})
	defer s.Close()
	val, buf := make([]byte, 300), make([]byte, 0, 512)
	key := func(k []byte, kind byte, n int) []byte {
		return fmt.Appendf(append(k[:0], kind), "bucket00/%012d/some/longer/object/key", n)
	}
	type txn interface {
		get(k []byte)
		set(k, v []byte)
	}
	run := func(b *testing.B, begin func() (txn, func())) {
		b.ReportAllocs()
		k := make([]byte, 0, 128)
		for i := 0; i < b.N; {
			tx, commit := begin()
			for range 32 {
				k = key(k, 0x10, i%50000)
				tx.get(k)
				tx.set(k, val)
				for kind := byte(0x11); kind < 0x15; kind++ {
					tx.set(key(k, kind, i%50000), val[:60])
				}
				tx.get(key(k, 6, 0))
				tx.set(key(k, 6, 0), val[:24])
				i++
			}
			commit()
		}
	}
	b.Run("overlay", func(b *testing.B) {
		run(b, func() (txn, func()) {
			tx := s.Begin()
			return overlay{tx, buf}, func() { _ = tx.Commit(false) }
		})
	})
	b.Run("indexed", func(b *testing.B) {
		run(b, func() (txn, func()) {
			ib := s.db.NewIndexedBatch()
			return indexedTxn{ib}, func() { _ = ib.Commit(pebble.NoSync); _ = ib.Close() }
		})
	})
}

type overlay struct {
	tx  *Tx
	buf []byte
}

func (o overlay) get(k []byte)    { _, _, _ = o.tx.Get(k, o.buf) }
func (o overlay) set(k, v []byte) { _ = o.tx.Set(k, v) }

type indexedTxn struct{ b *pebble.Batch }

func (o indexedTxn) get(k []byte) {
	if _, c, err := o.b.Get(k); err == nil {
		_ = c.Close()
	}
}
func (o indexedTxn) set(k, v []byte) { _ = o.b.Set(k, v, nil) }
