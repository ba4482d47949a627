package catalog

import (
	"fmt"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// GetUpload reads an open upload. tracker.ErrNoSuchUpload.
func GetUpload(r kv.Reader, ref tracker.UploadRef) (*tracker.Upload, error) {
	id, ok := parseID(ref.Upload)
	if !ok {
		return nil, fmt.Errorf("%q: %w", ref.Upload, tracker.ErrNoSuchUpload)
	}
	if _, err := readCore(r, ref.Bucket); err != nil {
		return nil, err
	}
	v, ok, err := r.Get(keyUpload(nil, rowUpload, ref.Bucket, ref.Key, id), nil)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, tracker.ErrNoSuchUpload
	}
	var row uploadRow
	if err := row.decode(v); err != nil {
		return nil, err
	}
	u, err := row.upload(ref.Bucket, ref.Key, id)
	return &u, err
}

// ListParts returns the parts of an open upload after a number.
func ListParts(r kv.Reader, ref tracker.UploadRef, after, max int) (page *tracker.PartPage, err error) {
	u, err := GetUpload(r, ref)
	if err != nil {
		return nil, err
	}
	page = &tracker.PartPage{Upload: *u}
	max = min(max, maxPage)
	if max <= 0 || after >= maxParts {
		return page, nil
	}
	id, _ := parseID(ref.Upload)
	prefix := keyUpload(nil, rowPart, ref.Bucket, ref.Key, id)
	lower := be32(append([]byte(nil), prefix...), uint32(after+1))
	it, err := r.Iter(lower, keyAfter(nil, prefix))
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		if len(page.Parts) == max {
			page.Truncated = true
			break
		}
		var p partRow
		if err := p.decode(it.Value()); err != nil {
			return nil, err
		}
		page.Parts = append(page.Parts, p.part(partNumber(it.Key())))
	}
	return page, nil
}

// Parts returns the parts of a completed version after a number.
func Parts(r kv.Reader, ref tracker.Ref, after, max int) (parts []tracker.Part, err error) {
	prefix := keyPiece(nil, ref.Bucket, ref.Key, ref.Seq, pieceParts)
	it, err := r.Iter(be32(append([]byte(nil), prefix...), uint32(after)+1), keyAfter(nil, prefix))
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	for ok := it.First(); ok && len(parts) < max; ok = it.Next() {
		var p partPiece
		if err := p.decode(it.Value()); err != nil {
			return nil, err
		}
		err := p.each(func(n int, b *partBody) bool {
			if n > after && len(parts) < max {
				parts = append(parts, b.part(n))
			}
			return len(parts) < max
		})
		if err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// ListUploads returns a page of open uploads by key, then by upload id.
func ListUploads(r kv.Reader, q *tracker.ListUploads) (page *tracker.UploadPage, err error) {
	page = new(tracker.UploadPage)
	limit := min(q.Max, maxPage)
	if limit <= 0 {
		return page, nil
	}
	w := keyRange{row: rowUpload, bucket: q.Bucket, prefix: q.Prefix}
	lower := w.start(q.KeyAfter, q.AfterPrefix, q.UploadAfter != "")
	if id, ok := parseID(q.UploadAfter); ok && q.KeyAfter != "" {
		if from := append(keyUpload(nil, rowUpload, q.Bucket, q.KeyAfter, id), 0); string(from) > string(lower) {
			lower = from
		}
	}
	upper := keyAfter(nil, w.low())
	if string(lower) >= string(upper) {
		return page, nil
	}
	it, err := r.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	var key []byte
	for ok := it.First(); ok; {
		if len(page.Uploads)+len(page.Prefixes) == limit {
			page.Truncated = true
			return page, nil
		}
		k, rest, good := unescape(key, it.Key()[9:])
		if !good || len(rest) != uploadIDLen {
			return nil, badRow("upload key")
		}
		if key = k; commonPrefix(k, len(q.Prefix), []byte(q.Delimiter)) > 0 {
			common := string(k[:commonPrefix(k, len(q.Prefix), []byte(q.Delimiter))])
			page.Prefixes = append(page.Prefixes, common)
			page.NextKey, page.NextUpload, page.NextPrefix = common, "", true
			ok = it.SeekGE(keyAfter(nil, keyPrefix(nil, rowUpload, q.Bucket, common)))
			continue
		}
		var row uploadRow
		if err := row.decode(it.Value()); err != nil {
			return nil, err
		}
		u, err := row.upload(q.Bucket, string(k), uploadID(rest))
		if err != nil {
			return nil, err
		}
		page.Uploads = append(page.Uploads, u)
		page.NextKey, page.NextUpload, page.NextPrefix = u.Key, u.Upload, false
		ok = it.Next()
	}
	page.NextKey, page.NextUpload, page.NextPrefix = "", "", false
	return page, nil
}

// keyPrefix makes row B and the escaped bytes with which E(K) begins for every
// K that starts with prefix.
func keyPrefix[T text](dst []byte, row byte, b tracker.BucketID, prefix T) []byte {
	dst = keyOf(dst, row, b, prefix)
	return dst[:len(dst)-2]
}

// keyRange is the part of a row's keys with escaped keys that a listing walks.
type keyRange struct {
	row    byte
	bucket tracker.BucketID
	prefix string
}

func (w keyRange) low() []byte { return keyPrefix(nil, w.row, w.bucket, w.prefix) }

// start returns where the range begins over a key: over all rows of the key,
// or over all keys that start with it, or at it if at is set.
func (w keyRange) start(after string, prefix, at bool) []byte {
	low := w.low()
	if after == "" {
		return low
	}
	var from []byte
	switch {
	case prefix:
		from = keyAfter(nil, keyPrefix(nil, w.row, w.bucket, after))
	case at:
		from = keyOf(nil, w.row, w.bucket, after)
	default:
		from = keyAfter(nil, keyOf(nil, w.row, w.bucket, after))
	}
	if string(from) > string(low) {
		return from
	}
	return low
}
