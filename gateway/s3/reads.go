package s3

import (
	"sync"
	"time"
)

// reads knows the reads of blobs that are being served, so that nothing which
// one of them still needs is dropped (see worker.GarbageConfig.OldestRead).
type reads struct {
	mu struct {
		sync.Mutex
		begun map[*objectReader]int64 // catalog time, ms
	}
}

func (r *reads) enter(o *objectReader, floor int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.begun == nil {
		r.mu.begun = map[*objectReader]int64{}
	}
	r.mu.begun[o] = floor
}

func (r *reads) leave(o *objectReader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.begun, o)
}

// floor is the catalog time of a read that begins now: what it needs is given
// up, if at all, at or over it. What passed since the object was looked up is
// within the readers' grace.
func (s *Server) floor() int64 {
	if s.deps.Floor == nil {
		return time.Now().UnixMilli()
	}
	return max(s.deps.Floor(), 1)
}

// OldestRead returns the catalog time in ms at which the oldest read that is
// still being served was begun, or less; 0 if there is none.
func (s *Server) OldestRead() (oldest int64) {
	s.reads.mu.Lock()
	defer s.reads.mu.Unlock()
	for _, at := range s.reads.mu.begun {
		if oldest == 0 || at < oldest {
			oldest = at
		}
	}
	return oldest
}
