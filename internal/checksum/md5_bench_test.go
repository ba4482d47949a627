package checksum

import (
	"crypto/md5"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkMD5Streams hashes so many streams of 10 MiB at once in writes of
// 64 KiB, through a pool and by crypto/md5 alone (a nil pool).
func BenchmarkMD5Streams(b *testing.B) {
	pool := NewMD5Pool()
	defer pool.Close()
	const total, block = 10 << 20, 64 << 10
	for _, streams := range []int{1, 4, 16, 32} {
		for name, p := range map[string]*MD5Pool{"pool": pool, "std": nil} {
			b.Run(fmt.Sprintf("%d/%s", streams, name), func(b *testing.B) {
				buf := make([]byte, block)
				b.SetBytes(int64(streams * total))
				for b.Loop() {
					var wg sync.WaitGroup
					for range streams {
						wg.Go(func() {
							h := p.New(total)
							defer h.Close()
							for n := 0; n < total; n += block {
								h.Write(buf)
							}
							h.Sum(nil)
						})
					}
					wg.Wait()
				}
			})
		}
	}
}

func BenchmarkMD5Short(b *testing.B) {
	pool := NewMD5Pool()
	defer pool.Close()
	buf := make([]byte, 4<<10)
	b.Run("sum", func(b *testing.B) {
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			MD5Sum(buf)
		}
	})
	b.Run("pool", func(b *testing.B) {
		b.SetBytes(int64(len(buf)))
		b.ReportAllocs()
		var out [md5.Size]byte
		for b.Loop() {
			h := pool.New(int64(len(buf)))
			h.Write(buf)
			h.Sum(out[:0])
			h.Close()
		}
	})
}

func BenchmarkAlgorithms(b *testing.B) {
	buf := make([]byte, 1<<20)
	for a := CRC32; a <= Last; a++ {
		b.Run(a.String(), func(b *testing.B) {
			b.SetBytes(int64(len(buf)))
			h := New(a)
			for b.Loop() {
				h.Write(buf)
			}
		})
	}
}

func BenchmarkFullObject10000Parts(b *testing.B) {
	parts := make([]Part, MaxParts)
	for i := range parts {
		parts[i] = Part{[]byte{1, 2, 3, 4, 5, 6, 7, byte(i)}, 5<<20 + int64(i%2)}
	}
	for b.Loop() {
		if _, err := FullObjectSum(CRC64NVME, parts); err != nil {
			b.Fatal(err)
		}
	}
}
