package bench

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
)

// prepareBytes bounds what is written to prepare one set of objects.
const prepareBytes = 2 << 30

// prepare writes the objects that a step reads or deletes, once per set.
func (b *Bench) prepare(ctx context.Context, step, set string, size int64, fresh bool) error {
	if b.prepared[set] > 0 && !fresh {
		return nil
	}
	n := int(min(int64(b.o.Objects), max(16, prepareBytes/max(size, 1))))
	var ops, bad, bytes atomic.Int64
	defer b.watch("prepare "+step, 0, &ops, &bad, &bytes)()
	err := each(ctx, n, func(i int) error {
		err := b.expect(ctx, http.MethodPut, fmt.Sprintf("%s/%08d", set, i), "", size)
		ops.Add(1)
		bytes.Add(size)
		return err
	})
	b.prepared[set] = n
	if err != nil {
		return fmt.Errorf("preparing %s: %w", set, err)
	}
	return nil
}

// cleanUp deletes every object that was written, and the bucket if it is ours.
func (b *Bench) cleanUp(ctx context.Context) error {
	var ops, bad, bytes atomic.Int64
	defer b.watch("remove what was written", 0, &ops, &bad, &bytes)()
	for set, n := range b.prepared {
		if err := each(ctx, n, func(i int) error {
			defer ops.Add(1)
			return b.expect(ctx, http.MethodDelete, fmt.Sprintf("%s/%08d", set, i), "", 0)
		}); err != nil {
			return err
		}
	}
	if !b.made {
		return nil
	}
	return b.expect(ctx, http.MethodDelete, "", "", 0)
}

// each calls f for 0 to n-1 from 16 goroutines and returns the first error.
func each(ctx context.Context, n int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(16, n) {
		wg.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}
