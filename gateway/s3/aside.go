package s3

import (
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
	tasks chan *task // taken by a goroutine that is idle
	quit  chan struct{}
	idle  atomic.Int32
	wg    sync.WaitGroup
	pool  sync.Pool // of *task
}

// maxAsides is how many goroutines wait for work.
const maxAsides = 32

// task is a function to run.
type task struct {
	do       func()
	done     chan struct{} // capacity 1
	panicked any
}

func newAsides() *asides { return &asides{tasks: make(chan *task), quit: make(chan struct{})} }

// run returns once do has. A panic of do is the caller's.
func (a *asides) run(do func()) {
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
// has yet to wait for a body.
func (c *call) aside(do func()) {
	if c.body.ReadCloser == nil || c.body.ended {
		do()
		return
	}
	c.s.asides.run(do)
}
