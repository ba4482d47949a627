package blob

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// latency remembers the last durations of one kind and their high quantiles.
// Safe for concurrent use.
type latency struct {
	p95, p99 atomic.Int64 // nanoseconds, 0 until enough are known
	mu       struct {
		sync.Mutex
		n    int
		ring [128]int64
	}
}

// observe adds a duration. Quantiles follow every 16th.
func (l *latency) observe(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.ring[l.mu.n%len(l.mu.ring)] = int64(d)
	l.mu.n++
	if l.mu.n%16 != 0 {
		return
	}
	sorted := l.mu.ring
	s := sorted[:min(l.mu.n, len(sorted))]
	slices.Sort(s)
	l.p95.Store(s[len(s)*95/100])
	l.p99.Store(s[len(s)*99/100])
}

// table finds a value by a small key, making it at first use.
type table[K comparable, V any] struct {
	mu struct {
		sync.RWMutex
		m map[K]*V
	}
}

func (t *table[K, V]) get(k K) *V {
	t.mu.RLock()
	v := t.mu.m[k]
	t.mu.RUnlock()
	if v != nil {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v = t.mu.m[k]; v == nil {
		if t.mu.m == nil {
			t.mu.m = make(map[K]*V)
		}
		v = new(V)
		t.mu.m[k] = v
	}
	return v
}
