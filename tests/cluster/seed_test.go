package cluster

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/cmd/cluster"
	"holdfast/internal/peer"
	"holdfast/tests/harness"
	"holdfast/tracker"
)

// own is a tracker in this process, which begins a cluster of itself.
func own(t *testing.T) (*cluster.Tracker, string) {
	t.Helper()
	secret, err := peer.ParseSecret(harness.ClusterSecret)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := peer.Derived(secret, peer.Tracker)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := tcp.Addr().String()
	tr, err := cluster.NewTracker(t.Context(), cluster.TrackerConfig{
		Common: cluster.Common{Access: cluster.Access{Secret: secret, Credentials: creds}, Trackers: []string{addr}, Log: zerolog.Nop()},
		ID:     "first", Dir: t.TempDir(), Advertise: addr, Bootstrap: true, Listener: peer.NewListener(tcp, creds, peer.Control, peer.Raft),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr, addr
}

// objects is how many objects the catalog has that a tracker copies.
func objects() int64 {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 5_000_000
	}
	if testing.Short() {
		return 20_000
	}
	return 500_000
}

// TestSeeding lets a tracker with an empty directory join a catalog with many
// objects, kills it half-way, and again; it goes on from what it has, and
// catches up while writes go on.
func TestSeeding(t *testing.T) {
	first, addr := own(t)
	svc := first.Service()
	ctx := t.Context()
	var bucket *tracker.Bucket
	harness.Until(t, 20*time.Second, "the first tracker leads", func() bool {
		var err error
		bucket, err = svc.CreateBucket(ctx, &tracker.CreateBucket{Name: "bucket", Owner: "root"})
		return err == nil
	})
	put := func(n int64) error {
		_, err := svc.PutObject(ctx, &tracker.PutObject{Bucket: bucket.ID, Key: fmt.Sprintf("key-%012d", n),
			Meta: tracker.Meta{ETag: "d41d8cd98f00b204e9800998ecf8427e", Size: 100}, Inline: make([]byte, 100)})
		return err
	}
	var next atomic.Int64
	began := time.Now()
	var wg sync.WaitGroup
	for range 128 {
		wg.Go(func() {
			for n := next.Add(1); n <= objects() && !t.Failed(); n = next.Add(1) {
				if err := put(n); err != nil {
					t.Errorf("put %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d objects in %v", objects(), time.Since(began).Round(time.Millisecond))

	// Writes go on from here.
	stop := make(chan struct{})
	var later atomic.Int64
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := put(objects() + later.Add(1)); err != nil {
				t.Errorf("put while a tracker is seeded: %v", err)
				return
			}
		}
	})
	var once sync.Once
	rest := func() { once.Do(func() { close(stop); wg.Wait() }) }
	defer rest()

	dir := filepath.Join(t.TempDir(), "second")
	listen := freePort(t)
	launch := func() *exec.Cmd {
		cmd := exec.Command(harness.Binary(t), "tracker", dir, "--id", "second", "--listen", listen, "--advertise", listen, "--trackers", addr+","+listen)
		cmd.Env = []string{"HOLDFAST_CLUSTER_SECRET=" + harness.ClusterSecret, "HOME=" + dir}
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	// Killed at a tenth and at a fifth of what the first holds; its log is the
	// greater part of that, and is not copied.
	for _, part := range []int64{10, 5} {
		cmd := launch()
		whole := size(first.Dir())
		harness.Until(t, time.Minute, "a part was copied", func() bool { return size(dir) > whole/part || votes(t, svc) })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Logf("killed with %d of %d MB copied", size(dir)>>20, whole>>20)
	}
	cmd := launch()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	began = time.Now()
	harness.Until(t, 2*time.Minute, "the second tracker votes and has caught up", func() bool { return votes(t, svc) })
	t.Logf("joined in %v, with %d writes meanwhile", time.Since(began).Round(time.Millisecond), later.Load())
	rest() // two trackers take no writes without each other
	if later.Load() == 0 {
		t.Error("no write went on")
	}
}

// votes reports whether the second tracker has its vote and nearly all of the log.
func votes(t *testing.T, svc interface {
	Status(context.Context) (*tracker.Status, error)
}) bool {
	st, err := svc.Status(t.Context())
	if err != nil {
		return false
	}
	var first, second tracker.Voter
	for _, v := range st.Voters {
		if v.ID == "second" {
			second = v
		} else {
			first = v
		}
	}
	return second.ID != "" && !second.Joining && second.Applied+20_000 > first.Applied && second.Applied > 0
}

// size is the bytes of all files under dir.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if i, err := d.Info(); err == nil {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
