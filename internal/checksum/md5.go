package checksum

import (
	"crypto/md5"
	"hash"
	"runtime"
	"sync"
	"sync/atomic"

	md5simd "github.com/minio/md5-simd"
)

const (
	// lanes is how many streams one SIMD server works on at once.
	lanes = 16
	// maxStreams is how many streams share one server. Its buffers are 3 a
	// lane, all streams draw on them, and each may hold one that the server
	// has not been told of while it waits for the next: with as many streams
	// as buffers none would ever go on.
	maxStreams = 2 * lanes
	// crowd is the number of open streams from which SIMD lanes pay off. On 2
	// cores with AVX-512 a MiB of MD5 costs 1.35 ms of CPU in crypto/md5; in
	// the lanes 2.2 ms with 1 or 2 streams, 0.9 ms with 4 and 0.4 ms with 16.
	crowd = 4
	// minLaned is the length in bytes from which a stream may go to a lane: a
	// lane costs a hand-over between goroutines per write (345 us against
	// 2.7 us for 4 KiB).
	minLaned = 1 << 20
)

// MD5Pool makes MD5 hashes for entity tags. Short bodies and few streams are
// hashed by crypto/md5, many long streams at once by SIMD lanes. It is safe for
// concurrent use. A nil pool hashes everything by crypto/md5. Its goroutines
// (one per server, at most one for each two processors and never over 8) start
// with the first crowd and end with Close.
type MD5Pool struct {
	open   atomic.Int64 // streams of minLaned bytes and more
	plain  sync.Pool
	mu     sync.Mutex
	server []*laneServer
	closed bool
}

// laneServer is a SIMD server and its hashers. Those are used again, since the
// server never forgets one, not even one that was closed.
type laneServer struct {
	md5simd.Server
	streams int
	idle    []md5simd.Hasher
}

// MD5Hash is a hash.Hash that has to be closed.
type MD5Hash struct {
	hash.Hash
	pool   *MD5Pool
	lane   md5simd.Hasher // nil when hashed by crypto/md5
	server *laneServer
	long   bool
	open   bool // bytes came since the last Sum
}

// NewMD5Pool returns a pool without any goroutine yet.
func NewMD5Pool() *MD5Pool { return &MD5Pool{} }

// MD5Sum is the MD5 of b, the fastest way for what is in memory.
func MD5Sum(b []byte) [md5.Size]byte { return md5.Sum(b) }

// New returns a hash for a body of size bytes, -1 when not known. The caller
// closes it, once, after the last Sum.
func (p *MD5Pool) New(size int64) *MD5Hash {
	if p == nil {
		return &MD5Hash{Hash: md5.New()}
	}
	h := &MD5Hash{pool: p, long: size < 0 || size >= minLaned}
	if h.long && p.open.Add(1) >= crowd {
		if h.server, h.lane = p.acquire(); h.lane != nil {
			h.Hash = h.lane
			return h
		}
	}
	if d, _ := p.plain.Get().(hash.Hash); d != nil {
		d.Reset()
		h.Hash = d
		return h
	}
	h.Hash = md5.New()
	return h
}

// Write implements hash.Hash.
func (h *MD5Hash) Write(b []byte) (int, error) {
	h.open = true
	return h.Hash.Write(b)
}

// Sum implements hash.Hash.
func (h *MD5Hash) Sum(b []byte) []byte {
	h.open = false
	return h.Hash.Sum(b)
}

// Close gives the hash's resources back; the hash is not used again.
func (h *MD5Hash) Close() {
	if h.pool == nil || h.Hash == nil {
		return
	}
	if h.long {
		h.pool.open.Add(-1)
	}
	if h.lane != nil {
		if h.open { // the server gives a buffer back only once it is asked for something
			h.lane.Sum(nil)
		}
		h.pool.release(h.server, h.lane)
	} else {
		h.pool.plain.Put(h.Hash)
	}
	h.Hash, h.lane = nil, nil
}

// acquire returns a hasher of the fullest server with a free lane, else of the
// emptiest; none where all are full.
func (p *MD5Pool) acquire() (*laneServer, md5simd.Hasher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil
	}
	var fullest, emptiest *laneServer
	for _, s := range p.server {
		if s.streams < lanes && (fullest == nil || s.streams > fullest.streams) {
			fullest = s
		}
		if emptiest == nil || s.streams < emptiest.streams {
			emptiest = s
		}
	}
	s := fullest
	switch {
	case s != nil:
	case len(p.server) < min(8, max(1, runtime.GOMAXPROCS(0)/2)):
		s = &laneServer{Server: md5simd.NewServer()}
		p.server = append(p.server, s)
	case emptiest.streams < maxStreams:
		s = emptiest
	default:
		return nil, nil
	}
	s.streams++
	if n := len(s.idle); n > 0 {
		lane := s.idle[n-1]
		s.idle = s.idle[:n-1]
		lane.Reset()
		return s, lane
	}
	return s, s.NewHash()
}

// release ends a stream's use of a hasher; the last one of a closed pool ends
// the server.
func (p *MD5Pool) release(s *laneServer, lane md5simd.Hasher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.streams--
	s.idle = append(s.idle, lane)
	if p.closed && s.streams == 0 {
		s.end()
	}
}

// end ends the server. No stream may use it.
func (s *laneServer) end() {
	for _, lane := range s.idle {
		lane.Close()
	}
	s.Server.Close()
}

// Close ends the pool's goroutines, those of servers in use when their last
// hash is closed. New still works and uses crypto/md5.
func (p *MD5Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, s := range p.server {
		if s.streams == 0 {
			s.end()
		}
	}
	p.server = nil
}
