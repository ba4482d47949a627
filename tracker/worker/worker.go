// Package worker owns the background work of the tracker that leads: garbage,
// repair, reconcile, census and trimming. A worker is a Task; Group runs its
// tasks, and only while this process leads.
//
// Everything here may be done twice and may stop anywhere: what is true is in
// the catalog and on the nodes, and what a task keeps in memory is only where
// to look first. No shard's bytes pass through. The package must never know
// Raft, HTTP or a disk.
//
// # Goroutines
//
//   - Group.Run: watches the leadership.
//   - Width (usually one) for each task, within a term; Run waits for them.
//   - One for each rebuild that a node is asked for. One whose node hangs deaf
//     in this process is left behind, until it answers.
package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/tracker"
)

// Task is one kind of background work. Begin is called before any Step of a
// term of leadership, and never beside one; Step is called by Width
// goroutines at once.
type Task interface {
	Name() string
	Begin(term uint64)
	// Step does one bounded piece of work and says how long to wait before
	// the next, 0 for not at all.
	Step(ctx context.Context) (wait time.Duration, err error)
	// Wake ends a wait early; it may be nil.
	Wake() <-chan struct{}
	Width() int
	// Queue tells the backlog, Note how it goes, for people.
	Queue() tracker.Queue
	Note() string
}

// Info is how a worker is doing.
type Info struct {
	Name   string
	State  string // "idle", "busy", "paused", "failing" or "follower"
	Err    string // why the last step failed
	Note   string
	Queue  tracker.Queue
	Steps  uint64
	Failed uint64
}

// Group runs tasks while this process leads.
type Group struct {
	lead    interface{ LeaderEpoch() (uint64, bool) }
	clk     clock.Clock
	logger  zerolog.Logger
	runners []*runner
}

// leaderPoll is how often the leadership is looked at.
const leaderPoll = time.Second

// NewGroup returns a group of tasks. It starts nothing.
func NewGroup(lead interface{ LeaderEpoch() (uint64, bool) }, clk clock.Clock, logger zerolog.Logger, tasks ...Task) *Group {
	g := &Group{lead: lead, clk: clk, logger: logger}
	for _, t := range tasks {
		r := &runner{task: t, g: g}
		r.mu.resume = make(chan struct{})
		close(r.mu.resume)
		r.mu.state = "follower"
		g.runners = append(g.runners, r)
	}
	return g
}

// Run runs the tasks in each term in which this process leads, until ctx
// ends; it returns ctx's error once every task has stopped.
func (g *Group) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if term, ok := g.lead.LeaderEpoch(); ok {
			g.term(ctx, term)
			continue
		}
		g.sleep(ctx, leaderPoll, nil)
	}
	return ctx.Err()
}

// term runs the tasks until the term or ctx ends.
func (g *Group) term(ctx context.Context, term uint64) {
	inner, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, r := range g.runners {
		r.task.Begin(term)
		for range max(r.task.Width(), 1) {
			wg.Go(func() { r.run(inner) })
		}
	}
	for inner.Err() == nil {
		if now, ok := g.lead.LeaderEpoch(); !ok || now != term {
			break
		}
		g.sleep(ctx, leaderPoll, nil)
	}
	cancel()
	wg.Wait()
	for _, r := range g.runners {
		r.set("follower", nil)
	}
}

// sleep waits for d, for wake or for the end of ctx.
func (g *Group) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-g.clk.After(d):
	case <-wake:
	}
}

// Pause stops the named worker after its present step; Resume lets it go on.
// They report whether there is one of that name.
func (g *Group) Pause(name string) bool  { return g.find(name, (*runner).pause) }
func (g *Group) Resume(name string) bool { return g.find(name, (*runner).goOn) }

func (g *Group) find(name string, f func(*runner)) bool {
	for _, r := range g.runners {
		if r.task.Name() == name {
			f(r)
			return true
		}
	}
	return false
}

// Step takes one step of the named worker now, whether it is paused or not,
// and tells how long it would have waited then: for tests and for a person in
// a hurry. The worker must not be running beside it, but for its Width.
func (g *Group) Step(ctx context.Context, name string) (time.Duration, error) {
	for _, r := range g.runners {
		if r.task.Name() == name {
			return r.task.Step(ctx)
		}
	}
	return 0, fmt.Errorf("no worker %q: %w", name, tracker.ErrUnavailable)
}

// Begin tells every task that a term begins, as Run does.
func (g *Group) Begin(term uint64) {
	for _, r := range g.runners {
		r.task.Begin(term)
	}
}

// Info tells of every worker.
func (g *Group) Info() []Info {
	out := make([]Info, 0, len(g.runners))
	for _, r := range g.runners {
		out = append(out, r.info())
	}
	return out
}

// Queues is the backlog of every worker by name.
func (g *Group) Queues() map[string]tracker.Queue {
	out := make(map[string]tracker.Queue, len(g.runners))
	for _, r := range g.runners {
		q := r.task.Queue()
		r.mu.Lock()
		q.Failed += r.mu.failed
		r.mu.Unlock()
		out[r.task.Name()] = q
	}
	return out
}

// runner drives one task.
type runner struct {
	task Task
	g    *Group
	mu   struct {
		sync.Mutex
		paused        bool
		resume        chan struct{} // closed while not paused
		state         string
		err           error
		steps, failed uint64
	}
}

func (r *runner) pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mu.paused {
		r.mu.paused, r.mu.resume = true, make(chan struct{})
	}
}

func (r *runner) goOn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.paused {
		r.mu.paused = false
		close(r.mu.resume)
	}
}

func (r *runner) set(state string, err error) {
	r.mu.Lock()
	r.mu.state, r.mu.err = state, err
	r.mu.Unlock()
}

func (r *runner) info() Info {
	in := Info{Name: r.task.Name(), Note: r.task.Note(), Queue: r.task.Queue()}
	r.mu.Lock()
	defer r.mu.Unlock()
	in.State, in.Steps, in.Failed = r.mu.state, r.mu.steps, r.mu.failed
	if r.mu.paused {
		in.State = "paused"
	}
	if r.mu.err != nil {
		in.Err = r.mu.err.Error()
	}
	return in
}

// run steps until ctx ends. A step that fails is tried again after a while
// that doubles from one second to a minute.
func (r *runner) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		r.mu.Lock()
		resume := r.mu.resume
		r.mu.Unlock()
		select {
		case <-resume:
		case <-ctx.Done():
			return
		}
		r.set("busy", nil)
		wait, err := r.task.Step(ctx)
		r.mu.Lock()
		r.mu.steps++
		r.mu.Unlock()
		if err == nil || ctx.Err() != nil || passing(err) {
			failures = 0
			if err != nil {
				wait = max(wait, leaderPoll)
			}
			if wait > 0 {
				r.set("idle", nil)
				r.g.sleep(ctx, wait, r.task.Wake())
			}
			continue
		}
		r.set("failing", err)
		r.mu.Lock()
		r.mu.failed++
		r.mu.Unlock()
		if failures == 0 {
			r.g.logger.Warn().Err(err).Str("worker", r.task.Name()).Msg("background work failed; trying again")
		}
		r.g.sleep(ctx, min(time.Second<<min(failures, 6), time.Minute), nil)
		failures++
	}
}

// passing tells whether an error is part of a change of leaders.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.NotLeader, fault.Canceled:
		return true
	}
	return errors.Is(err, tracker.ErrUncertain)
}
