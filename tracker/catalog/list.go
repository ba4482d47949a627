package catalog

import (
	"bytes"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// maxPage bounds a page of any listing.
const maxPage = 1000

// ListObjects returns a page of current objects in byte order of keys. It
// touches rows 10 only; a common prefix costs one seek.
func ListObjects(r kv.Reader, q *tracker.ListObjects) (page *tracker.ObjectPage, err error) {
	page = new(tracker.ObjectPage)
	limit := min(q.Max, maxPage)
	if limit <= 0 {
		return page, nil
	}
	base := keyObject(nil, q.Bucket, "")
	prefix := append(base[:len(base):len(base)], q.Prefix...)
	lower := prefix
	if q.After != "" {
		after := append(base[:len(base):len(base)], q.After...)
		if q.AfterPrefix {
			after = keyAfter(nil, after)
		} else {
			after = append(after, 0)
		}
		if bytes.Compare(after, lower) > 0 {
			lower = after
		}
	}
	upper := keyAfter(nil, prefix)
	if bytes.Compare(lower, upper) >= 0 {
		return page, nil
	}
	it, err := r.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	defer closeIter(it, &err)
	l := lister{page: page, prefix: len(q.Prefix), delimiter: []byte(q.Delimiter), limit: limit}
	return page, l.run(it, len(base))
}

// span is a place in the page's text.
type span struct{ key, etag, end uint32 }

// lister fills a page. The texts of all entries share one string, made at the
// end, so that a page costs few allocations.
type lister struct {
	page      *tracker.ObjectPage
	prefix    int
	delimiter []byte
	limit     int
	text      []byte
	spans     []span
	seek      []byte
}

func (l *lister) run(it kv.Iterator, base int) error {
	page := l.page
	page.Steps = 1
	for ok := it.First(); ok; {
		key := it.Key()
		k := key[base:]
		if len(page.Entries) == l.limit {
			page.Truncated = true
			break
		}
		if n := l.common(k); n > 0 {
			e := l.add(k[:n])
			e.Prefix = true
			l.spans[len(l.spans)-1].end = uint32(len(l.text))
			l.seek = keyAfter(l.seek, key[:base+n])
			ok = it.SeekGE(l.seek)
		} else {
			if err := l.object(k, it.Value()); err != nil {
				return err
			}
			ok = it.Next()
		}
		page.Steps++
	}
	all := string(l.text)
	for i, s := range l.spans {
		e := &page.Entries[i]
		e.Key, e.ETag = all[s.key:s.etag], all[s.etag:s.end]
	}
	if page.Truncated {
		last := &page.Entries[len(page.Entries)-1]
		page.Next, page.NextPrefix = last.Key, last.Prefix
	}
	return nil
}

// common returns the length of the common prefix k rolls up into, 0 for none.
func (l *lister) common(k []byte) int {
	return commonPrefix(k, l.prefix, l.delimiter)
}

func commonPrefix(k []byte, prefix int, delimiter []byte) int {
	if len(delimiter) == 0 {
		return 0
	}
	var i int
	if len(delimiter) == 1 {
		i = bytes.IndexByte(k[prefix:], delimiter[0])
	} else {
		i = bytes.Index(k[prefix:], delimiter)
	}
	if i < 0 {
		return 0
	}
	return prefix + i + len(delimiter)
}

// object adds a row 10.
func (l *lister) object(k, val []byte) error {
	var o objectRow
	if err := o.decode(val); err != nil {
		return err
	}
	e := l.add(k)
	e.Size, e.Modified, e.Algorithm, e.Composite = o.size, seqTime(o.seq), o.algorithm, o.composite
	if o.classCode != 0 {
		e.Class = o.classString()
	}
	l.text = o.appendETagText(l.text)
	l.spans[len(l.spans)-1].end = uint32(len(l.text))
	return nil
}

// add makes room for an entry and keeps its key.
func (l *lister) add(k []byte) *tracker.Entry {
	n := len(l.page.Entries)
	if n == cap(l.page.Entries) {
		l.grow(n)
	}
	l.page.Entries = l.page.Entries[:n+1]
	at := uint32(len(l.text))
	l.text = append(l.text, k...)
	l.spans = append(l.spans, span{key: at, etag: uint32(len(l.text))})
	return &l.page.Entries[n]
}

// grow makes room in two steps: short listings stay small.
func (l *lister) grow(n int) {
	size := min(l.limit, 64)
	if n > 0 {
		size = l.limit
	}
	l.page.Entries = append(make([]tracker.Entry, 0, size), l.page.Entries...)
	l.spans = append(make([]span, 0, size), l.spans...)
	per := 64
	if n > 0 {
		per = len(l.text)/n + 8
	}
	l.text = append(make([]byte, 0, size*per), l.text...)
}
