package catalog

import (
	"encoding/binary"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// BlobState is a blob's row.
type BlobState struct {
	tracker.Blob
	Seq    uint64 // of the command that committed it; see SeqTime
	MapGen uint32 // raised by each change of the map
	Dying  bool
	Shared bool
}

func (r *blobRow) state(id storage.BlobID) BlobState {
	return BlobState{Blob: r.blob(id), Seq: r.seq, MapGen: r.mapGen, Dying: r.flags&blobDying != 0, Shared: r.flags&blobShared != 0}
}

// Blob reads a blob's row; ok is false if there is none.
func Blob(r kv.Reader, id storage.BlobID) (b BlobState, ok bool, err error) {
	row, err := new(scratch).blob(r, id)
	if err != nil || row == nil {
		return b, false, err
	}
	return row.state(id), true, nil
}

// Blobs calls f for each blob of a range in order until it returns false.
func Blobs(r kv.Reader, ids storage.IDRange, f func(*BlobState) bool) (err error) {
	upper := []byte{rowBlob + 1}
	if ids.To != (storage.BlobID{}) {
		upper = keyBlob(nil, ids.To)
	}
	it, err := r.Iter(keyBlob(nil, ids.From), upper)
	if err != nil {
		return err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		var row blobRow
		if len(it.Key()) != 17 {
			return badRow("blob key")
		}
		if err := row.decode(it.Value()); err != nil {
			return err
		}
		if s := row.state(storage.BlobID(it.Key()[1:])); !f(&s) {
			return nil
		}
	}
	return nil
}

// GarbageRows returns up to max garbage rows after one, in order.
func GarbageRows(r kv.Reader, after GarbageID, max int) (rows []Garbage, err error) {
	it, err := r.Iter(append(keyGarbage(nil, after.Seq, after.N), 0), []byte{rowGarbage + 1})
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok && len(rows) < max; ok = it.Next() {
		var g Garbage
		if err := g.decode(it.Key(), append([]byte(nil), it.Value()...)); err != nil {
			return nil, err
		}
		rows = append(rows, g)
	}
	return rows, nil
}

// Cursor is how far a consumer of the change log has come.
type Cursor struct {
	Consumer string
	Index    uint64
	Sub      uint32
}

// Cursors reads all cursors.
func Cursors(r kv.Reader) (out []Cursor, err error) {
	err = eachRow(r, []byte{rowCursor}, func(k, v []byte) error {
		d := dec{p: v}
		d.version(1)
		c := Cursor{string(k[1:]), d.u64(), d.u32()}
		if !d.done() {
			return badRow("cursor")
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

// Job reads the state of a long job, nil if there is none.
func Job(r kv.Reader, id string) ([]byte, error) {
	v, ok, err := r.Get(append([]byte{rowJob}, id...), nil)
	if err != nil || !ok {
		return nil, err
	}
	if len(v) < 1 || v[0] != 1 {
		return nil, badRow("job")
	}
	return v[1:], nil
}

// Change is a row of the change log.
type Change struct {
	Index  uint64 // log index of the command's entry
	Sub    uint32 // order within it
	Op     ChangeOp
	Bucket tracker.BucketID
	Key    string
	Seq    uint64 // of the version made or removed
	Prev   uint64 // of the version that was current before, 0 for none
	Delta  int64  // change of the bucket's bytes
	Null   bool   // it is a null version
	Marker bool
}

// ChangeOp says what happened.
type ChangeOp uint8

// The operations of the change log.
const (
	ChangePut    ChangeOp = changePut
	ChangeMarker ChangeOp = changeMarker
	ChangeRemove ChangeOp = changeRemove
	ChangeBucket ChangeOp = changeBucket
	ChangeTags   ChangeOp = changeTags
)

// Changes returns up to max rows of the change log after a place in it.
func Changes(r kv.Reader, index uint64, sub uint32, max int) (out []Change, err error) {
	it, err := r.Iter(append(keyChange(nil, index, sub), 0), []byte{rowChange + 1})
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok && len(out) < max; ok = it.Next() {
		k, d := it.Key(), dec{p: it.Value()}
		d.version(1)
		c := Change{Op: ChangeOp(d.u8())}
		flags := d.u16()
		c.Bucket, c.Seq, c.Prev, c.Delta = tracker.BucketID(d.u64()), d.u64(), d.u64(), int64(d.u64())
		c.Null, c.Marker, c.Key = flags&flagNull != 0, flags&flagMarker != 0, string(d.p)
		if d.bad || len(k) != 13 {
			return nil, badRow("change")
		}
		c.Index, c.Sub = binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint32(k[9:])
		out = append(out, c)
	}
	return out, nil
}
