package cluster

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/tests/harness"
)

// TestOneWinner has fifty writers through three gateways make one key, ten
// times, while the leading tracker is killed: exactly one of them is told that
// it did, and its bytes are there.
func TestOneWinner(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Gateways: 3, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-2", Nodes: 3}}})
	var raws []*harness.Raw
	for _, g := range c.Gateways {
		raws = append(raws, g.Raw())
	}
	raws[0].Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	for round := range 10 {
		key := fmt.Sprintf("key-%d", round)
		size := []int{100, 30_000}[round%2] // in the commit, and as shards
		name := leader(t, c)
		winners := make(chan int, 50)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for w := range 50 {
			wg.Go(func() {
				<-start
				if race(t, raws, w, harness.Path("bucket", key), body(fmt.Sprint(w), size)) {
					winners <- w
				}
			})
		}
		close(start)
		if round%2 == 0 {
			c.Process(name).Kill()
		} else {
			p := c.Process(name)
			p.Pause()
			time.AfterFunc(3*time.Second, p.Continue)
		}
		wg.Wait()
		close(winners)
		var won []int
		for w := range winners {
			won = append(won, w)
		}
		if len(won) != 1 {
			t.Fatalf("round %d: writers %v were told that they made the key", round, won)
		}
		a := raws[round%3].Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil)
		if string(a.Body) != string(body(fmt.Sprint(won[0]), size)) {
			t.Errorf("round %d: the key has not the winner's bytes", round)
		}
		if c.Process(name).Exited() {
			c.Process(name).Launch()
		}
		c.WaitReady()
	}
}

// race writes the key if it is not there, and reports whether it was told so.
// What may have been done without an answer is asked again: an object of its
// own bytes then counts as its win.
func race(t *testing.T, raws []*harness.Raw, w int, path string, b []byte) bool {
	for try := range 60 {
		a, err := raws[(w+try)%len(raws)].Do("PUT", path, "", b, "If-None-Match", "*")
		switch {
		case err == nil && a.Status == http.StatusOK:
			return true
		case err == nil && a.Status == http.StatusPreconditionFailed:
			if try == 0 {
				return false
			}
			got, err := raws[w%len(raws)].Do("GET", path, "", nil)
			return err == nil && string(got.Body) == string(b)
		case err == nil && a.Status/100 == 4 && a.Status != http.StatusConflict:
			t.Errorf("writer %d: %d %.200s", w, a.Status, a.Body)
			return false
		}
	}
	t.Errorf("writer %d had no answer", w)
	return false
}
