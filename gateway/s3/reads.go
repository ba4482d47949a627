package s3

import "sync"

// reads knows the reads of blobs that are being served, so that nothing which
// one of them still needs is dropped (see worker.GarbageConfig.OldestRead).
type reads struct {
	mu struct {
		sync.Mutex
		begun map[*objectReader]int64 // ms since 1970
	}
}

func (r *reads) enter(o *objectReader, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.begun == nil {
		r.mu.begun = map[*objectReader]int64{}
	}
	r.mu.begun[o] = now
}

func (r *reads) leave(o *objectReader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.begun, o)
}

// OldestRead returns when the oldest read that is still being served was
// begun, in ms since 1970, 0 if there is none.
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
