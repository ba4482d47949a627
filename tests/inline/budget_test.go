// Package inline shows that the catalog keeps small objects only up to its
// budget.
package inline

import (
	"fmt"
	"testing"
	"time"

	"holdfast/cmd/allinone"
	"holdfast/tests/harness"
)

func TestBudget(t *testing.T) {
	clk := harness.NewClock()
	s := harness.StartLocal(t, harness.LocalOptions{Clock: clk, Tune: allinone.Tune{InlineBudget: 100 << 10, Ballast: -1}})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/budget", "", nil)
	body := make([]byte, 4<<10)
	put := func(i int) { r.Must(t, 200, "PUT", fmt.Sprintf("/budget/%d", i), "", body) }
	shards := func() float64 { return harness.Sum(s.Metrics(), "holdfast_node_shards_written_total") }
	for i := range 25 {
		put(i)
	}
	if n := shards(); n != 0 {
		t.Fatalf("%v of 25 small objects went to the node while the catalog had room", n)
	}
	next := 25
	harness.Until(t, 20*time.Second, "small objects to go to the node once the budget is used", func() bool {
		clk.Jump(5 * time.Second)
		put(next)
		next++
		return shards() > 0
	})
	for i := range next {
		if a := r.Must(t, 200, "GET", fmt.Sprintf("/budget/%d", i), "", nil); len(a.Body) != len(body) {
			t.Errorf("object %d has %d bytes", i, len(a.Body))
		}
		r.Must(t, 204, "DELETE", fmt.Sprintf("/budget/%d", i), "", nil)
	}
	before := shards()
	harness.Until(t, 20*time.Second, "the catalog to take small objects again", func() bool {
		clk.Jump(5 * time.Second)
		was := shards()
		put(next)
		next++
		return shards() == was
	})
	t.Logf("%d objects, %v of them on the node", next, before)
}
