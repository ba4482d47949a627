package consensus

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// benchReplicas opens n replicas over the loopback network on fs.
func benchReplicas(b *testing.B, n int, fs vfs.FS, dir string) *Replica {
	c := newCluster(b, n, oneFS(fs))
	overLoopback(b, c)
	for i := range c.cfgs {
		c.cfgs[i].Dir = fmt.Sprintf("%s/%d/catalog", dir, i)
		c.cfgs[i].HeartbeatTimeout, c.cfgs[i].commitTimeout, c.cfgs[i].MinFree = 0, 0, 1
		c.cfgs[i].Machine = light{}
	}
	c.startAll()
	_, lead := c.leader()
	return lead
}

// BenchmarkReplicaPropose is BenchmarkPropose over the loopback network.
func BenchmarkReplicaPropose(b *testing.B) {
	for _, n := range []int{1, 3} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("replicas=%d/size=500/writers=%d", n, writers), func(b *testing.B) {
				lead := benchReplicas(b, n, vfs.Default, benchDir(b))
				before := lead.Metrics()
				var next atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				begin := time.Now()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						cmd := make([]byte, 500)
						for {
							i := next.Add(1)
							if i > int64(b.N) {
								return
							}
							copy(cmd, fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15))
							if _, err := lead.Propose(context.Background(), cmd, true); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				after := lead.Metrics()
				b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "ops/s")
				b.ReportMetric(float64(after.LogSyncs-before.LogSyncs)/float64(b.N), "leader-syncs/op")
				b.ReportMetric(float64(b.N)/float64(after.Entries-before.Entries+1), "cmds/entry")
			})
		}
	}
}

// BenchmarkReplicaRead reads under the lease: while reads arrive, and with a
// pause before each, so that each asks for promises first.
func BenchmarkReplicaRead(b *testing.B) {
	for _, idle := range []bool{false, true} {
		b.Run(fmt.Sprintf("idle=%v", idle), func(b *testing.B) {
			lead := benchReplicas(b, 3, vfs.NewMem(), "")
			if _, err := lead.Propose(context.Background(), []byte("0123456789abcdef"), false); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				if idle {
					lead.lease.mu.Lock()
					clear(lead.lease.ends)
					lead.lease.settle()
					lead.lease.mu.Unlock()
				}
				_, release, err := lead.Read(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				release()
			}
		})
	}
}

// overLoopback moves a cluster to the loopback network, and again after its
// replicas have closed; control calls stay in memory.
func overLoopback(t testing.TB, c *cluster) {
	var members []Member
	for i := range c.cfgs {
		addr := "127.0.0.1:0"
		if c.cfgs[i].Listener != nil {
			addr = c.cfgs[i].Advertise
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &c.cfgs[i]
		cfg.Listener, cfg.Advertise, cfg.Peer = l, l.Addr().String(), c.net.peer(l.Addr().String())
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
		members = append(members, Member{cfg.ID, cfg.Advertise})
	}
	for i := range c.cfgs {
		c.cfgs[i].Members = members
	}
}
