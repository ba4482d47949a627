package s3

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAsidesAreBounded: while nothing answers, those who wait are no more
// goroutines with large stacks than a bound, and whoever need not wait any
// more goes.
func TestAsidesAreBounded(t *testing.T) {
	t.Parallel()
	const callers = 3 * maxRunning
	a := newAsides()
	defer a.close()
	ctx, leave := context.WithCancel(t.Context())
	answer := make(chan struct{})
	var began, left atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		ctx := ctx
		if i%2 == 0 {
			ctx = t.Context()
		}
		wg.Go(func() {
			if err := a.run(ctx, func() { began.Add(1); <-answer }); err != nil {
				left.Add(1)
			}
		})
	}
	for began.Load() < maxRunning {
		runtime.Gosched()
	}
	leave()
	for left.Load() == 0 {
		runtime.Gosched()
	}
	if n := began.Load(); n != maxRunning {
		t.Errorf("%d functions run at once, want %d", n, maxRunning)
	}
	close(answer)
	wg.Wait()
	if ran := began.Load(); ran+left.Load() != callers || ran < callers/2 {
		t.Errorf("%d functions ran, %d were left, of %d", ran, left.Load(), callers)
	}
}

func (a *asides) do(t *testing.T, do func()) {
	t.Helper()
	if err := a.run(t.Context(), do); err != nil {
		t.Error(err)
	}
}

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
				a.do(t, func() { ran.Add(1); done = true })
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
		a.do(t, func() { panic("oops") })
	}()
	a.do(t, func() { ran.Add(1) }) // and the next is none the worse
	if n := ran.Load(); n != 4*maxAsides*200+1 {
		t.Errorf("%d functions ran", n)
	}
}
