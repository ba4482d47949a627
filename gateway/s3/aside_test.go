package s3

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestAsides(t *testing.T) {
	t.Parallel()
	a := newAsides()
	defer a.close()
	var ran atomic.Int64
	var wg sync.WaitGroup
	for range 4 * maxAsides {
		wg.Go(func() {
			for i := range 200 {
				done := false // only one goroutine at a time has it, which -race holds
				a.run(func() { ran.Add(1); done = true })
				if !done {
					t.Errorf("run %d returned before its function had", i)
				}
			}
		})
	}
	wg.Wait()
	if n := ran.Load(); n != 4*maxAsides*200 {
		t.Errorf("%d functions ran", n)
	}
	if n := a.idle.Load(); n > maxAsides {
		t.Errorf("%d goroutines are idle", n)
	}
	func() {
		defer func() {
			if p := fmt.Sprint(recover()); !strings.Contains(p, "oops") || !strings.Contains(p, "TestAsides") {
				t.Errorf("a panic came back as %.300s", p)
			}
		}()
		a.run(func() { panic("oops") })
	}()
	a.run(func() { ran.Add(1) }) // and the next is none the worse
	if n := ran.Load(); n != 4*maxAsides*200+1 {
		t.Errorf("%d functions ran", n)
	}
}
