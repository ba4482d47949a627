// Package kv is the small ordered-KV transaction interface on which the
// meaning of the catalog's operations stands, so that another engine could
// stand under it. The one engine built is Pebble (this package's Store).
package kv

// Reader reads one consistent state. Keys order bytewise.
type Reader interface {
	// Get appends the value of key to buf[:0] and returns it; ok is false if
	// there is none.
	Get(key, buf []byte) (val []byte, ok bool, err error)
	// Iter returns an iterator over [lower, upper), not yet positioned. It
	// must be closed.
	Iter(lower, upper []byte) (Iterator, error)
}

// Iterator walks keys in order. Key and Value are valid until the next move.
type Iterator interface {
	First() bool
	SeekGE(key []byte) bool
	Next() bool
	Key() []byte
	Value() []byte
	// Close releases the iterator and returns the error that ended it, if any.
	Close() error
}

// Txn is a Reader that sees its own writes. Arguments are copied. Nothing is
// visible to others before the owner commits it.
type Txn interface {
	Reader
	Set(key, val []byte) error
	Delete(key []byte) error
	// DeleteRange deletes [lower, upper).
	DeleteRange(lower, upper []byte) error
}
