package catalog

import (
	"bytes"
	"encoding/binary"

	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// ListVersions returns a page of versions and markers: keys in byte order,
// newest version first. Headers are left out.
func ListVersions(r kv.Reader, q *tracker.ListVersions) (page *tracker.VersionPage, err error) {
	page = new(tracker.VersionPage)
	limit := min(q.Max, maxPage)
	if limit <= 0 {
		return page, nil
	}
	w := versionWalk{q: q, page: page, limit: limit}
	if err := w.open(r); err != nil {
		w.close(&err)
		return nil, err
	}
	defer w.close(&err)
	if err := w.run(); err != nil {
		return nil, err
	}
	if !page.Truncated {
		page.NextKey, page.NextVersion, page.NextPrefix = "", "", false
	}
	return page, nil
}

// versionWalk merges row 10, the current live objects, with row 11, the rest.
type versionWalk struct {
	q     *tracker.ListVersions
	page  *tracker.VersionPage
	limit int

	live, old     kv.Iterator
	liveOK, oldOK bool
	before        uint64 // in the key KeyAfter, only versions under this seq
	oldKey        []byte // K of the row old stands on
	last          []byte // K of the last version that was passed
	passed        bool   // last is set
}

func (w *versionWalk) open(r kv.Reader) (err error) {
	q := w.q
	if q.VersionAfter != "" && q.KeyAfter != "" && !q.AfterPrefix {
		if w.before, err = versionSeq(r, q); err != nil {
			return err
		}
	}
	at := w.before != 0
	base := keyObject(nil, q.Bucket, q.Prefix)
	lower := base
	if q.KeyAfter != "" {
		from := keyObject(nil, q.Bucket, q.KeyAfter)
		switch {
		case q.AfterPrefix:
			from = keyAfter(nil, from)
		case !at:
			from = append(from, 0)
		}
		if bytes.Compare(from, lower) > 0 {
			lower = from
		}
	}
	if w.live, err = r.Iter(lower, keyAfter(nil, base)); err != nil {
		return err
	}
	in := keyRange{rowVersion, q.Bucket, q.Prefix}
	from, upper := in.start(q.KeyAfter, q.AfterPrefix, at), keyAfter(nil, in.low())
	if w.old, err = r.Iter(from, upper); err != nil {
		return err
	}
	w.liveOK, w.oldOK = w.live.First(), w.old.First()
	if at {
		w.resume()
	}
	return w.split()
}

// resume passes over the versions of KeyAfter that a page before had.
func (w *versionWalk) resume() {
	key := w.q.KeyAfter
	if w.liveOK && string(w.live.Key()[9:]) == key {
		var o objectRow
		if o.decode(w.live.Value()) == nil && o.seq >= w.before {
			w.pass([]byte(key))
			w.liveOK = w.live.Next()
		}
	}
	mine := keyOf(nil, rowVersion, w.q.Bucket, key)
	if w.oldOK && bytes.HasPrefix(w.old.Key(), mine) && ^seqFromKey(w.old.Key()) >= w.before {
		w.pass([]byte(key))
		w.oldOK = w.old.SeekGE(be64(mine, ^(w.before - 1)))
	}
}

func (w *versionWalk) close(err *error) {
	if w.live != nil {
		closeIter(w.live, err)
	}
	if w.old != nil {
		closeIter(w.old, err)
	}
}

// split finds the key of the row that old stands on.
func (w *versionWalk) split() error {
	if !w.oldOK {
		return nil
	}
	k, rest, ok := unescape(w.oldKey, w.old.Key()[9:])
	if !ok || len(rest) != 8 {
		return badRow("version key")
	}
	w.oldKey = k
	return nil
}

func (w *versionWalk) pass(key []byte) { w.last, w.passed = append(w.last[:0], key...), true }

func (w *versionWalk) run() error {
	page, delimiter := w.page, []byte(w.q.Delimiter)
	for w.liveOK || w.oldOK {
		if len(page.Entries) == w.limit {
			page.Truncated = true
			return nil
		}
		var key []byte
		fromLive := false
		if w.liveOK {
			key, fromLive = w.live.Key()[9:], true
		}
		if w.oldOK && (!fromLive || bytes.Compare(w.oldKey, key) < 0) {
			key, fromLive = w.oldKey, false
		}
		if n := commonPrefix(key, len(w.q.Prefix), delimiter); n > 0 {
			if err := w.common(string(key[:n])); err != nil {
				return err
			}
			continue
		}
		if err := w.version(key, fromLive); err != nil {
			return err
		}
	}
	return nil
}

func (w *versionWalk) common(prefix string) error {
	w.page.Entries = append(w.page.Entries, tracker.VersionEntry{Key: prefix, Prefix: true})
	w.page.NextKey, w.page.NextVersion, w.page.NextPrefix = prefix, "", true
	if w.liveOK {
		w.liveOK = w.live.SeekGE(keyAfter(nil, keyObject(nil, w.q.Bucket, prefix)))
	}
	if w.oldOK {
		w.oldOK = w.old.SeekGE(keyAfter(nil, keyPrefix(nil, rowVersion, w.q.Bucket, prefix)))
	}
	return w.split()
}

// version adds the version that live or old stands on and moves on.
func (w *versionWalk) version(key []byte, fromLive bool) error {
	it := w.old
	if fromLive {
		it = w.live
	}
	var o objectRow
	if err := o.decode(it.Value()); err != nil {
		return err
	}
	e := tracker.VersionEntry{Key: string(key)}
	if err := o.version(&e.Version, false); err != nil {
		return err
	}
	e.Current = fromLive || !w.passed || string(w.last) != e.Key
	w.page.Entries = append(w.page.Entries, e)
	w.page.NextKey, w.page.NextPrefix = e.Key, false
	w.page.NextVersion = makeID(o.seq, tagOf(o.req)).String()
	w.pass(key)
	if fromLive {
		w.liveOK = w.live.Next()
		return nil
	}
	w.oldOK = w.old.Next()
	return w.split()
}

// versionSeq finds the seq of VersionAfter. A null version that is gone
// begins the key anew.
func versionSeq(r kv.Reader, q *tracker.ListVersions) (uint64, error) {
	if q.VersionAfter != nullVersion {
		id, ok := parseID(q.VersionAfter)
		if !ok || id.seq() == 0 {
			return 0, tracker.ErrInvalid
		}
		return id.seq(), nil
	}
	var row objectRow
	s := new(scratch)
	s.key = keyObject(s.key, q.Bucket, q.KeyAfter)
	ok, err := s.read(r, s.key, &row)
	if err != nil || ok && row.null() {
		return row.seq, err
	}
	v, ok, err := r.Get(keyOf(nil, rowNull, q.Bucket, q.KeyAfter), nil)
	if err != nil || !ok || len(v) != 9 {
		return ^uint64(0), err
	}
	return binary.LittleEndian.Uint64(v[1:]), nil
}
