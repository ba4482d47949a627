package service

import (
	"sync"

	"holdfast/storage"
)

// damageQueue keeps reports of missing and bad shards until the repair worker
// takes them: each shard once, and a bounded number. What does not fit is
// dropped, since reconcile and scrub find it again.
type damageQueue struct {
	ready chan struct{}
	max   int
	mu    struct {
		sync.Mutex
		list    []storage.Damage
		seen    map[damaged]struct{}
		dropped uint64
	}
}

type damaged struct {
	shard storage.ShardID
	node  storage.NodeID
}

func (q *damageQueue) init(max int) {
	q.ready, q.max = make(chan struct{}, 1), max
	q.mu.seen = map[damaged]struct{}{}
}

func (q *damageQueue) add(in []storage.Damage) {
	q.mu.Lock()
	for _, d := range in {
		k := damaged{d.Shard, d.Node}
		if _, ok := q.mu.seen[k]; ok {
			continue
		}
		if len(q.mu.list) >= q.max {
			q.mu.dropped++
			continue
		}
		q.mu.seen[k] = struct{}{}
		q.mu.list = append(q.mu.list, d)
	}
	some := len(q.mu.list) > 0
	q.mu.Unlock()
	if some {
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
}

func (q *damageQueue) take() []storage.Damage {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.mu.list
	q.mu.list = nil
	clear(q.mu.seen)
	return out
}

// TakeDamage hands over what was reported since the last call.
func (s *Service) TakeDamage() []storage.Damage { return s.damage.take() }

// DamageReady is signalled when there is something to take.
func (s *Service) DamageReady() <-chan struct{} { return s.damage.ready }
