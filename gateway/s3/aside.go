package s3

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// asides runs functions on goroutines of its own while the caller waits. What
// calls deep, a read of the catalog for one, would make the stack of the
// connection's goroutine grow, and it stays so for as long as the goroutine
// waits for the rest of a slow client's body. Its goroutines grow their stacks
// once and are used again.
type asides struct {
	slots chan struct{} // held by those that run
	tasks chan *task    // taken by a goroutine that is idle
	quit  chan struct{}
	idle  atomic.Int32
	wg    sync.WaitGroup
	pool  sync.Pool // of *task
}

const (
	// maxAsides is how many goroutines wait for work.
	maxAsides = 32
	// maxRunning is how many functions run at once. More wait, on the small
	// stacks that they have: the catalog may be slow while thousands come.
	maxRunning = 512
)

// task is a function to run.
type task struct {
	do       func()
	done     chan struct{} // capacity 1
	panicked any
}

func newAsides() *asides {
	return &asides{slots: make(chan struct{}, maxRunning), tasks: make(chan *task), quit: make(chan struct{})}
}

// run returns nil once do has returned, or ctx's error if it ended while do
// waited to begin. A panic of do is the caller's.
func (a *asides) run(ctx context.Context, do func()) error {
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.slots }()
	t, _ := a.pool.Get().(*task)
	if t == nil {
		t = &task{done: make(chan struct{}, 1)}
	}
	t.do = do
	select {
	case a.tasks <- t:
	default:
		a.wg.Go(func() { a.work(t) })
	}
	<-t.done
	p := t.panicked
	t.do, t.panicked = nil, nil
	a.pool.Put(t)
	if p != nil {
		panic(p)
	}
	return nil
}

// work runs t, and what comes after it while few goroutines are idle.
func (a *asides) work(t *task) {
	for {
		t.run()
		if a.idle.Add(1) > maxAsides {
			a.idle.Add(-1)
			return
		}
		select {
		case t = <-a.tasks:
			a.idle.Add(-1)
		case <-a.quit:
			return
		}
	}
}

func (t *task) run() {
	defer func() {
		if p := recover(); p != nil {
			t.panicked = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		t.done <- struct{}{}
	}()
	t.do()
}

// close ends the goroutines. No run may be under way, or come.
func (a *asides) close() {
	close(a.quit)
	a.wg.Wait()
}

// aside runs what calls deep: away from the connection's goroutine if that
// has yet to wait for a body. It returns do's error, or the request's if that
// ended before do could begin.
func (c *call) aside(do func() error) error {
	if c.body.ReadCloser == nil || c.body.ended {
		return do()
	}
	var err error
	if e := c.s.asides.run(c.r.Context(), func() { err = do() }); e != nil {
		return e
	}
	return err
}
