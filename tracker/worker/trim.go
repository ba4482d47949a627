package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"holdfast/tracker"
)

// trim drops what the catalog remembers for a while only: results of
// requests, outcomes of uploads, changes that every cursor has passed.
type trim struct {
	store Store
	every time.Duration
	steps atomic.Uint64
}

func (w *trim) Name() string          { return "trim" }
func (w *trim) Begin(uint64)          {}
func (w *trim) Wake() <-chan struct{} { return nil }
func (w *trim) Width() int            { return 1 }
func (w *trim) Queue() tracker.Queue  { return tracker.Queue{Done: w.steps.Load()} }
func (w *trim) Note() string          { return fmt.Sprintf("%d steps", w.steps.Load()) }

// Step takes one bounded step.
func (w *trim) Step(ctx context.Context) (time.Duration, error) {
	more, err := w.store.Trim(ctx)
	if err != nil {
		return 0, err
	}
	w.steps.Add(1)
	if more {
		return 0, nil
	}
	return w.every, nil
}
