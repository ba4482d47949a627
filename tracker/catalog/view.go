package catalog

import (
	"encoding/binary"
	"fmt"
	"sync"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// scratch is memory for one read.
type scratch struct{ key, key2, val []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Bucket reads a bucket by name. tracker.ErrNoSuchBucket.
func Bucket(r kv.Reader, name string) (*tracker.Bucket, error) {
	v, ok, err := r.Get(keyName(nil, name), nil)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%q: %w", name, tracker.ErrNoSuchBucket)
	}
	id, err := decodeNameRow(v)
	if err != nil {
		return nil, err
	}
	core, err := readCore(r, id)
	if err != nil {
		return nil, err
	}
	b := core.bucket(id)
	return &b, nil
}

// readCore reads an open bucket's core.
func readCore(r kv.Reader, id tracker.BucketID) (*bucketCore, error) {
	v, ok, err := r.Get(keySection(nil, id, coreSection), nil)
	if err != nil {
		return nil, err
	}
	core := new(bucketCore)
	if ok {
		if err := core.decode(v); err != nil {
			return nil, err
		}
	}
	if !ok || core.state != bucketOpen {
		return nil, fmt.Errorf("bucket %d: %w", id, tracker.ErrNoSuchBucket)
	}
	return core, nil
}

// ListBuckets returns a page of buckets in name order.
func ListBuckets(r kv.Reader, q *tracker.ListBuckets) (page *tracker.BucketPage, err error) {
	page = new(tracker.BucketPage)
	prefix := keyName(nil, q.Prefix)
	lower := prefix
	if q.After != "" {
		if after := append(keyName(nil, q.After), 0); string(after) > string(lower) {
			lower = after
		}
	}
	it, err := r.Iter(lower, keyAfter(nil, prefix))
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		if len(page.Buckets) >= q.Max {
			page.Truncated = q.Max > 0
			return page, nil
		}
		id, err := decodeNameRow(it.Value())
		if err != nil {
			return nil, err
		}
		core, err := readCore(r, id)
		if err != nil {
			return nil, err
		}
		page.Buckets = append(page.Buckets, core.bucket(id))
	}
	return page, nil
}

func closeIter(it kv.Iterator, err *error) {
	if e := it.Close(); e != nil && *err == nil {
		*err = e
	}
}

// Usage reads a bucket's counters.
func Usage(r kv.Reader, id tracker.BucketID) (tracker.Usage, error) {
	if _, err := readCore(r, id); err != nil {
		return tracker.Usage{}, err
	}
	var u usageRow
	v, ok, err := r.Get(keyUsage(nil, id), nil)
	if err == nil && ok {
		err = u.decode(v)
	}
	return tracker.Usage{Objects: u.objects, Versions: u.versions, Bytes: u.bytes, Uploads: u.uploads}, err
}

// GetObject reads a version. On tracker.ErrDeleteMarker the object is
// returned too.
func GetObject(r kv.Reader, q *tracker.GetObject) (*tracker.Object, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	var row objectRow
	current, err := s.find(r, q, &row)
	if err != nil {
		return nil, err
	}
	o := new(tracker.Object)
	if err := row.version(&o.Version, true); err != nil {
		return nil, err
	}
	o.Current = current
	if o.Marker {
		return o, tracker.ErrDeleteMarker
	}
	o.AllExtents = row.flags&flagPieces == 0 || row.count < rowExtents
	if !q.Data {
		return o, nil
	}
	if row.flags&flagInline != 0 {
		v, ok, err := r.Get(keyInline(s.key, q.Bucket, q.Key, row.seq), nil)
		if err != nil {
			return nil, err
		}
		if !ok || len(v) < 1 || v[0] != inlineRowVersion {
			return nil, badRow("inline bytes")
		}
		o.Inline = v[1:]
	}
	if row.count == 0 {
		return o, nil
	}
	o.Extents = make([]tracker.Extent, 0, row.count)
	w := extentReader{r: r, s: new(scratch), max: row.count}
	row.eachExtent(func(e *extent) { w.add(e) })
	o.Extents = w.out
	return o, w.err
}

// find finds the version a GetObject names and tells whether it is the
// current one; row points into s.val.
func (s *scratch) find(r kv.Reader, q *tracker.GetObject, row *objectRow) (current bool, err error) {
	s.key = keyObject(s.key, q.Bucket, q.Key)
	live, err := s.read(r, s.key, row)
	if err != nil {
		return false, err
	}
	if live && (q.Version == "" || q.Version == row.versionID()) {
		return true, nil
	}
	core, err := readCore(r, q.Bucket)
	if err != nil {
		return false, err
	}
	if q.Version == "" {
		if core.versioning == tracker.Unversioned {
			return false, tracker.ErrNoSuchKey
		}
		return s.newest(r, q, row)
	}
	seq := uint64(0)
	if q.Version == nullVersion {
		v, ok, err := r.Get(keyOf(s.key, rowNull, q.Bucket, q.Key), nil)
		if err != nil {
			return false, err
		}
		if ok && len(v) == 9 {
			seq = binary.LittleEndian.Uint64(v[1:])
		}
	} else if id, ok := parseID(q.Version); ok {
		seq = id.seq()
	}
	if seq == 0 {
		return false, tracker.ErrNoSuchVersion
	}
	s.key = keyVersion(s.key, q.Bucket, q.Key, seq)
	ok, err := s.read(r, s.key, row)
	if err != nil {
		return false, err
	}
	if !ok || row.versionID() != q.Version {
		return false, tracker.ErrNoSuchVersion
	}
	if live {
		return false, nil
	}
	var top objectRow
	saved := append([]byte(nil), s.val...)
	_, err = s.newest(r, q, &top)
	newest := top.seq
	s.val = saved
	if e := row.decode(saved); e != nil {
		return false, e
	}
	return newest == seq, err
}

// newest reads the newest row 11, a marker where there is no row 10.
func (s *scratch) newest(r kv.Reader, q *tracker.GetObject, row *objectRow) (current bool, err error) {
	s.key = keyOf(s.key, rowVersion, q.Bucket, q.Key)
	it, err := r.Iter(s.key, keyAfter(nil, s.key))
	if err != nil {
		return false, err
	}
	defer closeIter(it, &err)
	if !it.First() {
		return false, tracker.ErrNoSuchKey
	}
	s.val = append(s.val[:0], it.Value()...)
	return true, row.decode(s.val)
}

func (s *scratch) read(r kv.Reader, key []byte, row *objectRow) (bool, error) {
	v, ok, err := r.Get(key, s.val)
	if err != nil || !ok {
		return false, err
	}
	s.val = v
	return true, row.decode(v)
}

// extentReader makes extents of rows, from the one that covers from on.
type extentReader struct {
	r      kv.Reader
	s      *scratch
	from   int64
	max    int
	offset int64 // of the next extent in the object
	out    []tracker.Extent
	err    error
}

func (w *extentReader) add(e *extent) {
	at := w.offset
	w.offset += e.length
	if w.err != nil || len(w.out) >= w.max || at+e.length <= w.from {
		return
	}
	b, err := readBlob(w.r, w.s, e.id())
	if err != nil {
		w.err = err
		return
	}
	w.out = append(w.out, tracker.Extent{Offset: at, Length: e.length, BlobOffset: e.offset, Blob: b})
}

func readBlob(r kv.Reader, s *scratch, id storage.BlobID) (tracker.Blob, error) {
	row, err := s.blob(r, id)
	if err != nil {
		return tracker.Blob{}, err
	}
	if row == nil {
		return tracker.Blob{}, fmt.Errorf("blob %s: %w", id, tracker.ErrNoSuchVersion)
	}
	return row.blob(id), nil
}

// blob reads a blob's row, nil if there is none.
func (s *scratch) blob(r kv.Reader, id storage.BlobID) (*blobRow, error) {
	s.key = keyBlob(s.key, id)
	v, ok, err := r.Get(s.key, s.val)
	if err != nil || !ok {
		return nil, err
	}
	s.val = v
	row := new(blobRow)
	return row, row.decode(v)
}

// Extents returns the extents of a version from the one that covers offset
// on, at most max. A version that was overwritten keeps those beyond the
// first 8 until its garbage is swept.
func Extents(r kv.Reader, ref tracker.Ref, offset int64, max int) ([]tracker.Extent, error) {
	s := new(scratch)
	w := extentReader{r: r, s: new(scratch), from: offset, max: max}
	row, err := s.bySeq(r, ref)
	if err != nil {
		return nil, err
	}
	if row != nil {
		row.eachExtent(func(e *extent) { w.add(e) })
		if row.flags&flagPieces == 0 {
			return w.out, w.err
		}
	}
	prefix := keyPiece(nil, ref.Bucket, ref.Key, ref.Seq, pieceExtents)
	it, err := r.Iter(be64(append([]byte(nil), prefix...), uint64(offset)+1), keyAfter(nil, prefix))
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && w.err == nil && len(w.out) < max; ok = it.Next() {
		var p extentPiece
		if w.err = p.decode(it.Value()); w.err == nil {
			w.offset = p.start
			p.eachExtent(w.add)
		}
	}
	closeIter(it, &w.err)
	if row == nil && len(w.out) == 0 && w.err == nil {
		return nil, tracker.ErrNoSuchVersion
	}
	return w.out, w.err
}

// bySeq finds a version by its sequence, nil if it is gone.
func (s *scratch) bySeq(r kv.Reader, ref tracker.Ref) (*objectRow, error) {
	row := new(objectRow)
	s.key = keyObject(s.key, ref.Bucket, ref.Key)
	ok, err := s.read(r, s.key, row)
	if err != nil || ok && row.seq == ref.Seq {
		return row, err
	}
	s.key = keyVersion(s.key, ref.Bucket, ref.Key, ref.Seq)
	if ok, err = s.read(r, s.key, row); err != nil || ok {
		return row, err
	}
	return nil, nil
}
