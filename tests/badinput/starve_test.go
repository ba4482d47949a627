package badinput

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/tests/harness"
)

const (
	// A server with this much memory keeps 64 MiB of it for writes.
	starveMemory = "256MiB"
	tricklers    = 400
	// tricklerHead is what a trickler sends at once, enough that it holds a
	// share of that memory; all of them together would hold twice as much as
	// there is.
	tricklerHead = 100 << 10
)

// TestTricklersStarveNobody: clients with good credentials that begin large
// uploads and then send a byte now and then do not keep others from writing.
func TestTricklersStarveNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for slow clients to be ended")
	}
	t.Parallel()
	s := harness.Start(t, harness.Options{Env: []string{"GOMEMLIMIT=" + starveMemory}})
	s.Raw().Must(t, 200, "PUT", "/starve", "", nil)
	stop := make(chan struct{})
	var wg, begun sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	begun.Add(tricklers)
	for i := range tricklers {
		wg.Go(func() {
			if err := trickle(s.Addr, i, &begun, stop); err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	const clients, size = 4, 4 << 20
	took := make([]time.Duration, clients)
	var writers sync.WaitGroup
	for i := range clients {
		writers.Go(func() {
			start := time.Now()
			a, err := s.Raw().Do("PUT", fmt.Sprintf("/starve/whole-%d", i), "", content(uint64(i), size))
			if took[i] = time.Since(start); err != nil || a.Status != http.StatusOK {
				t.Errorf("a write among %d tricklers: %v, %v after %v", tricklers, a, err, took[i])
			}
		})
	}
	writers.Wait()
	t.Logf("writes of %d MiB among %d tricklers took %v", size>>20, tricklers, took)
	if peak := s.Usage().PeakRSS; peak > 256<<20 {
		t.Errorf("peak RSS %d MiB", peak>>20)
	}
	sane(t, s)
}

// trickle begins an upload and goes on with a byte a second, until it is ended
// by the server or told to stop.
func trickle(addr string, i int, begun *sync.WaitGroup, stop chan struct{}) error {
	var once sync.Once
	defer once.Do(begun.Done)
	r, err := http.NewRequest("PUT", fmt.Sprintf("http://%s/starve/%d", addr, i), nil)
	if err != nil {
		return err
	}
	signer.Sign(r, sigv4.UnsignedPayload, time.Now())
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(append(head(r, 100<<20), make([]byte, tricklerHead)...)); err != nil {
		return nil // ended already
	}
	once.Do(begun.Done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return nil
		}
		if _, err := c.Write([]byte{0}); err != nil {
			return nil
		}
	}
}
