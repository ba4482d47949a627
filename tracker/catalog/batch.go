package catalog

import (
	"encoding/binary"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// batch is the work of one log entry: the transaction, the group's state as
// it changes, and the buckets that were touched, whose usage is written once
// at the end. An error of the store sticks in err; reads then find nothing
// and writes do nothing, and the whole entry is given up.
type batch struct {
	txn   kv.Txn
	err   error
	index uint64
	sub   uint32 // change rows written

	head       uint64 // last seq
	now, fence int64
	inline     int64
	level      uint64
	ct         int64 // time of the command being applied

	buckets map[tracker.BucketID]*bucketState
	spare   []*bucketState

	garbageSeq uint64
	garbageN   uint32

	key, key2, key3  []byte // keys being made
	curVal, val      []byte // row 10 as read; other rows as read
	srcVal, resVal   []byte // a copy's source or an upload's state, a remembered result as read
	row, obj         []byte // a row being made; the object row being made
	blobVal, blobKey []byte
}

// bucketState is a bucket as the batch sees it.
type bucketState struct {
	id    tracker.BucketID
	core  bucketCore
	usage usageRow
	dirty bool
}

func (b *batch) begin(txn kv.Txn, index uint64) {
	b.txn, b.err, b.index, b.sub = txn, nil, index, 0
	b.garbageSeq, b.garbageN = 0, 0
	for id, st := range b.buckets {
		b.spare = append(b.spare, st)
		delete(b.buckets, id)
	}
	b.head, b.inline = 0, 0
	if d, ok := b.state(stateSeq); ok {
		b.head, b.inline = d.u64(), int64(d.u64())
		b.check(d, stateSeq)
	}
	b.now = int64(b.stateNumber(stateNow))
	b.fence = int64(b.stateNumber(stateFence))
	if b.level = max(b.stateNumber(stateLevel), plainLevel); b.level > Level {
		b.fail(newerLevel(b.level))
	}
}

// end writes what is written once for a batch.
func (b *batch) end() error {
	for _, st := range b.buckets {
		if st.dirty {
			b.key = keyUsage(b.key, st.id)
			b.row = st.usage.append(b.row[:0])
			b.set(b.key, b.row)
		}
	}
	b.key = keyState(b.key, stateSeq)
	b.row = le64(le64(append(b.row[:0], 1), b.head), uint64(b.inline))
	b.set(b.key, b.row)
	b.txn = nil
	return b.err
}

func (b *batch) state(name string) (dec, bool) {
	b.key = keyState(b.key, name)
	v, ok := b.get(b.key, &b.val)
	if !ok {
		return dec{}, false
	}
	d := dec{p: v}
	d.version(1)
	return d, true
}

func (b *batch) stateNumber(name string) uint64 {
	d, ok := b.state(name)
	if !ok {
		return 0
	}
	n := d.u64()
	b.check(d, name)
	return n
}

func (b *batch) setStateNumber(name string, n uint64) {
	b.key = keyState(b.key, name)
	b.row = le64(append(b.row[:0], 1), n)
	b.set(b.key, b.row)
}

func (b *batch) check(d dec, what string) {
	if !d.done() {
		b.fail(badRow(what))
	}
}

// fail keeps the first error.
func (b *batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// get reads a row into *buf, which it may grow.
func (b *batch) get(key []byte, buf *[]byte) ([]byte, bool) {
	if b.err != nil {
		return nil, false
	}
	v, ok, err := b.txn.Get(key, *buf)
	if err != nil {
		b.fail(err)
		return nil, false
	}
	if ok {
		*buf = v
	}
	return v, ok
}

func (b *batch) set(key, val []byte) {
	if b.err == nil {
		b.fail(b.txn.Set(key, val))
	}
}

func (b *batch) delete(key []byte) {
	if b.err == nil {
		b.fail(b.txn.Delete(key))
	}
}

// walk calls f for each row of [lower, upper) until it returns false. f must
// not write: the rows stay as they were while it runs.
func (b *batch) walk(lower, upper []byte, f func(key, val []byte) bool) {
	if b.err != nil {
		return
	}
	it, err := b.txn.Iter(lower, upper)
	if err != nil {
		b.fail(err)
		return
	}
	for ok := it.First(); ok; ok = it.Next() {
		if !f(it.Key(), it.Value()) {
			break
		}
	}
	b.fail(it.Close())
}

// next takes the next sequence.
func (b *batch) next() uint64 {
	b.head = max(uint64(b.ct)<<seqCounterBits, b.head+1)
	return b.head
}

// bucket returns an open bucket, nil if there is none.
func (b *batch) bucket(id tracker.BucketID) *bucketState {
	st := b.anyBucket(id)
	if st == nil || st.core.state != bucketOpen {
		return nil
	}
	return st
}

// anyBucket returns a bucket that is open or being removed.
func (b *batch) anyBucket(id tracker.BucketID) *bucketState {
	if st := b.buckets[id]; st != nil {
		return st
	}
	b.key = keySection(b.key, id, coreSection)
	v, ok := b.get(b.key, &b.val)
	if !ok {
		return nil
	}
	st := b.freshBucket(id)
	if err := st.core.decode(v); err != nil {
		b.fail(err)
		return nil
	}
	b.key = keyUsage(b.key, id)
	if v, ok = b.get(b.key, &b.val); ok {
		if err := st.usage.decode(v); err != nil {
			b.fail(err)
		}
	}
	b.buckets[id] = st
	return st
}

func (b *batch) freshBucket(id tracker.BucketID) *bucketState {
	var st *bucketState
	if n := len(b.spare); n > 0 {
		st, b.spare = b.spare[n-1], b.spare[:n-1]
	} else {
		st = new(bucketState)
	}
	*st = bucketState{id: id}
	return st
}

// count adds to a bucket's usage.
func (b *batch) count(st *bucketState, d usageRow) {
	u := &st.usage
	u.objects += d.objects
	u.versions += d.versions
	u.bytes += d.bytes
	u.uploads += d.uploads
	u.inline += d.inline
	b.inline += d.inline
	st.dirty = true
}

// The operations of the change log.
const (
	changePut    = 1 // a new current version
	changeMarker = 2 // a new delete marker
	changeRemove = 3 // a version or marker was removed; seq names it
	changeBucket = 4 // a bucket was made, changed or removed
	changeTags   = 5 // the tags of a version changed; seq names it
)

// changed writes a row of the change log: version u8 (1), operation u8, flags
// u16 of the row, bucket u64, seq u64, seq of the version that was current
// before (0: none) u64, size delta i64, key to the end.
func (b *batch) changed(op byte, st *bucketState, key []byte, flags uint16, seq, prev uint64, delta int64) {
	b.key = keyChange(b.key, b.index, b.sub)
	b.sub++
	v := le16(append(b.row[:0], 1, op), flags)
	v = le64(le64(le64(le64(v, uint64(st.id)), seq), prev), uint64(delta))
	b.row = append(v, key...)
	b.set(b.key, b.row)
}

// garbage returns the key of a new garbage row of the sequence seq.
func (b *batch) garbage(seq uint64) []byte {
	if b.garbageSeq != seq {
		b.garbageSeq, b.garbageN = seq, 0
	}
	b.key3 = keyGarbage(b.key3, seq, b.garbageN)
	b.garbageN++
	return b.key3
}

func seqFromKey(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
