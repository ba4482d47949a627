package sigv4

import (
	"crypto/sha256"
	"hash/maphash"
	"sync"
)

const cacheShards = 16

// keyName names a signing key.
type keyName struct{ accessKey, date, region string }

// keyEntry is a signing key and the secret it was derived from, so that a
// rotated secret is noticed at once.
type keyEntry struct {
	secret string
	key    [sha256.Size]byte
}

// keyCache is a bounded cache of signing keys, safe for concurrent use. Only
// keys that verified a request enter, so a caller without a secret cannot
// flush it. Each shard has two generations; when the young one is full it
// becomes the old one, which drops what was not used for a whole generation.
type keyCache struct {
	seed   maphash.Seed
	limit  int // entries of a generation of one shard
	shards [cacheShards]keyShard
}

type keyShard struct {
	mu struct {
		sync.RWMutex
		young, old map[keyName]keyEntry
	}
}

// newKeyCache returns a cache of at most about 2*size keys.
func newKeyCache(size int) *keyCache {
	c := &keyCache{seed: maphash.MakeSeed(), limit: max(1, size/cacheShards)}
	for i := range c.shards {
		c.shards[i].mu.young = make(map[keyName]keyEntry)
	}
	return c
}

func (c *keyCache) shard(n keyName) *keyShard {
	h := maphash.String(c.seed, n.accessKey) ^ maphash.String(c.seed, n.region)
	return &c.shards[h%cacheShards]
}

// get returns the signing key of n if it was derived from secret.
func (c *keyCache) get(n keyName, secret string) (key [sha256.Size]byte, ok bool) {
	s := c.shard(n)
	s.mu.RLock()
	e, young := s.mu.young[n]
	if !young {
		e, ok = s.mu.old[n]
	}
	s.mu.RUnlock()
	if !young && !ok || e.secret != secret {
		return key, false
	}
	if !young {
		c.put(n, e)
	}
	return e.key, true
}

// put adds or replaces a key.
func (c *keyCache) put(n keyName, e keyEntry) {
	s := c.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.mu.young[n]; !there && len(s.mu.young) >= c.limit {
		s.mu.old, s.mu.young = s.mu.young, make(map[keyName]keyEntry, c.limit)
	}
	s.mu.young[n] = e
}
