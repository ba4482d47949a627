package s3

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/gateway/s3err"
)

// drip is a client: it gives as many bytes as it is told to, and none until
// then, but for the deadline of its connection.
type drip struct {
	http.ResponseWriter // none
	bytes               chan int
	mu                  sync.Mutex
	deadline            time.Time
	moved               chan struct{}
}

func newDrip() *drip { return &drip{bytes: make(chan int), moved: make(chan struct{})} }

func (d *drip) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deadline = t
	close(d.moved)
	d.moved = make(chan struct{})
	return nil
}

func (d *drip) Read(p []byte) (int, error) {
	for {
		d.mu.Lock()
		left, moved := time.Until(d.deadline), d.moved
		d.mu.Unlock()
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		select {
		case n := <-d.bytes:
			return min(n, len(p)), nil
		case <-moved:
		case <-time.After(left):
		}
	}
}

func (d *drip) Close() error { return nil }

// holder is a body that holds a share of a budget while it is read.
func holder(t *testing.T, b *budget, n int64) (d *drip, ended chan error) {
	d, ended = newDrip(), make(chan error, 1)
	from := &stallReader{ReadCloser: d, w: d, stall: time.Minute}
	go func() {
		s := &share{b: b, from: from}
		defer s.release()
		err := s.Take(t.Context(), n)
		for err == nil {
			_, err = from.Read(make([]byte, 1<<20))
		}
		ended <- err
	}()
	synctest.Wait()
	return d, ended
}

// TestSlowHoldersMakeRoom: who sends next to nothing gives way to others, and
// nobody else does.
func TestSlowHoldersMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(1 << 40)
		told := 0
		b.ended = func(n int) { told += n }
		const part = minBudget / 4
		trickler, tricklerEnd := holder(t, b, part)
		other, otherEnd := holder(t, b, part)
		fast, fastEnd := holder(t, b, part)
		copying := &share{b: b} // has no client
		if err := copying.Take(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(over)
		feed := func(d *drip, n int, every time.Duration) {
			wg.Go(func() {
				for {
					select {
					case d.bytes <- n:
					case <-over:
						return
					}
					select {
					case <-time.After(every):
					case <-over:
						return
					}
				}
			})
		}
		feed(trickler, 1, 5*time.Second)
		feed(other, 1000, time.Second)
		feed(fast, 20<<10, 2*time.Second)
		time.Sleep(5 * time.Minute)
		select {
		case err := <-tricklerEnd:
			t.Fatalf("ended though nobody waits: %v", err)
		default:
		}
		start := time.Now()
		s := &share{b: b, from: &stallReader{}}
		if err := s.Take(t.Context(), part/2); err != nil || time.Since(start) > pressEvery {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if told != 1 {
			t.Errorf("%d holders were ended for one that waits", told)
		}
		more := &share{b: b, from: &stallReader{}}
		if err := more.Take(t.Context(), 2*part); err == nil || code(err) != s3err.SlowDown {
			t.Errorf("more than is to be had: %v", err)
		}
		for name, end := range map[string]chan error{"trickler": tricklerEnd, "slow one": otherEnd} {
			select {
			case err := <-end:
				if code(bodyError(err)) != s3err.RequestTimeout {
					t.Errorf("%s: %v", name, err)
				}
			default:
				t.Errorf("the %s is still there", name)
			}
		}
		select {
		case err := <-fastEnd:
			t.Errorf("the fast one was ended: %v", err)
		default:
		}
		s.release()
		copying.release()
		fast.SetReadDeadline(time.Now())
		if err := <-fastEnd; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if !b.sem.TryAcquire(b.max) {
			t.Error("something was not given back")
		}
	})
}

func TestShare(t *testing.T) {
	t.Parallel()
	b := newBudget(1 << 40)
	s := &share{b: b}
	if err := s.Take(t.Context(), 10<<20); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		n, left int64
		ok      bool
	}{{20 << 20, minBudget - 20<<20, true}, {minBudget + 1, minBudget - 20<<20, false}, {5 << 20, minBudget - 5<<20, true}, {minBudget, 0, true}, {0, minBudget, true}} {
		if ok := s.Try(tc.n); ok != tc.ok {
			t.Errorf("%d: %v", tc.n, ok)
		}
		if !b.sem.TryAcquire(tc.left) || tc.left < minBudget && b.sem.TryAcquire(1) {
			t.Errorf("%d: not %d bytes are left", tc.n, tc.left)
		}
		b.sem.Release(tc.left)
	}
	s.release()
	s.release()
	if !b.sem.TryAcquire(b.max) || len(b.mu.shares) != 0 {
		t.Error("something was not given back")
	}
}

// TestCut ends a read that waits for its client, over a real connection.
func TestCut(t *testing.T) {
	t.Parallel()
	bodies := make(chan *stallReader)
	ended := make(chan error)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := &stallReader{ReadCloser: r.Body, w: w, stall: time.Hour}
		bodies <- b
		_, err := io.Copy(io.Discard, b)
		ended <- err
	}))
	defer ts.Close()
	for range 20 {
		conn, err := net.Dial("tcp", ts.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
		b := <-bodies
		b.cut()
		if err := <-ended; code(bodyError(err)) != s3err.RequestTimeout {
			t.Fatal(err)
		}
	}
}
