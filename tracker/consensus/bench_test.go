package consensus

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/tracker/kv"
)

// light writes a small row for each command, as a PUT with shards does.
type light struct{}

func (light) Apply(txn kv.Txn, _ uint64, cmds [][]byte) ([]any, error) {
	out := make([]any, len(cmds))
	for i, c := range cmds {
		if _, _, err := txn.Get(c[:16], nil); err != nil {
			return nil, err
		}
		if err := txn.Set(c[:16], c[:min(len(c), 300)]); err != nil {
			return nil, err
		}
		out[i] = true
	}
	return out, nil
}

// benchDir is a directory on HOLDFAST_BENCH_DIR, or a temporary one.
func benchDir(b *testing.B) string {
	root := os.Getenv("HOLDFAST_BENCH_DIR")
	if root == "" {
		return b.TempDir()
	}
	dir, err := os.MkdirTemp(root, "consensus")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func BenchmarkPropose(b *testing.B) {
	for _, n := range []int{1, 3} {
		for _, size := range []int{500, 4 << 10} {
			for _, writers := range []int{1, 64} {
				b.Run(fmt.Sprintf("voters=%d/size=%d/writers=%d", n, size, writers), func(b *testing.B) {
					benchPropose(b, n, size, writers)
				})
			}
		}
	}
}

func benchPropose(b *testing.B, n, size, writers int) {
	dir := benchDir(b)
	cfg := group(b, n, oneFS(vfs.Default))
	for i := range cfg.Voters {
		cfg.Voters[i].Dir = fmt.Sprintf("%s/%d/catalog", dir, i)
	}
	cfg.Bootstrap, cfg.BallastBytes, cfg.MinFree, cfg.commitTimeout = true, -1, 1, 0
	cfg.Machine = func(int) Machine { return light{} }
	l := mustOpen(b, cfg)
	defer l.Close()
	before := l.Metrics()
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	begin := time.Now()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			cmd := make([]byte, size)
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				copy(cmd, fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15))
				if _, err := l.Propose(context.Background(), cmd, true); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	after := l.Metrics()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "ops/s")
	b.ReportMetric(float64(after.LogSyncs-before.LogSyncs)/float64(b.N), "syncs/op")
	b.ReportMetric(float64(b.N)/float64(after.Entries-before.Entries+1), "cmds/entry")
}

func BenchmarkRead(b *testing.B) {
	cfg := group(b, 3, oneFS(vfs.NewMem()))
	cfg.Bootstrap = true
	l := mustOpen(b, cfg)
	defer l.Close()
	mustPropose(b, l, "key")
	ctx := context.Background()
	key, buf := []byte("kkey"), make([]byte, 0, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r, release, err := l.Read(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := r.Get(key, buf); err != nil {
			b.Fatal(err)
		}
		release()
	}
}
