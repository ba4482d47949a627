package catalog_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

var (
	seed  = flag.Uint64("seed", 0, "seed of the random models; 0 takes the time")
	steps = flag.Int("steps", 2500, "operations of the random model")
)

// mVersion is a version as the model knows it.
type mVersion struct {
	id           string
	seq          uint64
	null, marker bool
	size         int64
	etag         string
	data         string // what the bytes are: inline text or blob ids
	parts        int
	tags         []tracker.Field
}

type mUpload struct {
	bucket, key, id string
	tags            []tracker.Field
	parts           map[int]*tracker.PutPart
}

type mBucket struct {
	id    tracker.BucketID
	state tracker.Versioning
	keys  map[string][]*mVersion // newest first
}

func (b *mBucket) current(key string) *mVersion {
	if l := b.keys[key]; len(l) > 0 && !l[0].marker {
		return l[0]
	}
	return nil
}

// add puts a version or marker on top.
func (b *mBucket) add(key string, v *mVersion) {
	v.null = b.state != tracker.VersioningEnabled
	switch b.state {
	case tracker.Unversioned:
		b.keys[key] = nil
	case tracker.VersioningSuspended:
		b.keys[key] = slices.DeleteFunc(b.keys[key], func(o *mVersion) bool { return o.null })
	}
	b.keys[key] = append([]*mVersion{v}, b.keys[key]...)
}

// model is a map beside the catalog.
type model struct {
	*world
	rnd     *rand.Rand
	buckets map[string]*mBucket
	uploads map[string]*mUpload
	past    []attempt
	n       int
}

// attempt is a command that took effect, to be tried again.
type attempt struct {
	at     int64
	cmd    []byte
	result any
	what   string
}

func (m *model) pick(list ...string) string { return list[m.rnd.IntN(len(list))] }

func (m *model) anyBucket() (string, *mBucket) {
	name := m.pick("alpha", "beta")
	if b := m.buckets[name]; b != nil {
		return name, b
	}
	h, c := m.header(), catalog.CreateBucket{CreateBucket: &tracker.CreateBucket{Name: name, Owner: "root"}}
	r := m.with(h, c).(*catalog.BucketResult)
	if r.Existed {
		m.t.Fatalf("%s existed", name)
	}
	b := &mBucket{id: r.Bucket.ID, keys: map[string][]*mVersion{}}
	m.buckets[name] = b
	return name, b
}

func (m *model) anyKey() string {
	return m.pick("a", "a/b", "a/c", "b\x00", "b\x00\x01", "b", "\xff\xff", "z/")
}

// effect does a command that is expected to be judged as want says, and keeps
// it for another try.
func (m *model) effect(c catalog.Command, want error) any {
	m.t.Helper()
	h := m.header()
	r := m.with(h, c)
	err, refused := r.(error)
	switch {
	case want != nil && (!refused || !errors.Is(err, want)):
		m.t.Fatalf("step %d %T%+v: %v, want %v", m.n, c, c, r, want)
	case want == nil && refused:
		m.t.Fatalf("step %d %T%+v: %v", m.n, c, c, err)
	case want == nil:
		m.past = append(m.past, attempt{m.now, catalog.Encode(nil, h, c), r, fmt.Sprintf("%T%+v", c, c)})
	}
	return r
}

// conditions makes random conditions and what they come to for v.
func (m *model) conditions(v *mVersion) (c tracker.Conditions, want error) {
	switch m.rnd.IntN(10) {
	case 0:
		c.IfNoneMatch = []string{"*"}
		if v != nil {
			want = tracker.ErrPrecondition
		}
	case 1:
		c.IfMatch = []string{"*"}
		if v == nil {
			want = tracker.ErrNoSuchKey
		}
	case 2:
		c.IfMatch = []string{"x", etagOf(1)}
		if v == nil {
			want = tracker.ErrNoSuchKey
		} else if v.etag != etagOf(1) {
			want = tracker.ErrPrecondition
		}
	case 3:
		if v != nil {
			c.IfMatch = []string{"y", v.etag}
			size := v.size
			c.IfSize = &size
			at := catalog.SeqTime(v.seq)/1000*1000 + 999
			c.IfModifiedTime = &at
		}
	case 4:
		if v != nil {
			size := v.size + 1
			c.IfSize = &size
			want = tracker.ErrPrecondition
		}
	}
	return c, want
}

func (m *model) put() {
	_, b := m.anyBucket()
	key := m.anyKey()
	r := m.inline(b.id, key, m.rnd.IntN(3))
	var want error
	r.Conditions, want = m.conditions(b.current(key))
	r.Tags = m.someTags()
	v := &mVersion{size: 4, etag: r.ETag, data: string(r.Inline), tags: r.Tags}
	switch m.rnd.IntN(4) {
	case 0:
		r.Inline, r.Size, v.size, v.data = nil, 0, 0, ""
	case 1:
		r.Inline, r.Size, v.data = nil, 0, ""
		for range m.pickN(1, 1, 2, 9, 12, 300) {
			nb := m.blob(1 + int64(m.rnd.IntN(100)))
			r.Blobs = append(r.Blobs, nb)
			r.Size += nb.Length
			v.data += nb.ID.String()
		}
		v.size = r.Size
	case 2:
		_, sb := m.anyBucket()
		sk := m.anyKey()
		src := m.anyVersion(sb, sk)
		if src == nil {
			return
		}
		r.Inline, r.Size = nil, 0
		if m.rnd.IntN(2) == 0 {
			r.ETag, v.etag, r.Checksum = "", src.etag, tracker.Checksum{}
		}
		r.Source = &tracker.Ref{Bucket: sb.id, Key: sk, Seq: src.seq}
		if want == nil && src.marker {
			want = tracker.ErrNoSuchKey
		}
		v.size, v.data, v.parts = src.size, src.data, src.parts
	}
	res := m.effect(catalog.Put{PutObject: r}, want)
	if want == nil {
		m.added(b, key, v, res.(*tracker.PutResult))
	}
}

func (m *model) added(b *mBucket, key string, v *mVersion, p *tracker.PutResult) {
	m.t.Helper()
	v.id, v.seq = p.VersionID, p.Seq
	if v.id == "" {
		v.id = "null"
	}
	if v.etag != p.ETag {
		m.t.Fatalf("step %d: ETag %s, want %s", m.n, p.ETag, v.etag)
	}
	b.add(key, v)
}

// someTags makes no tags, or a few.
func (m *model) someTags() (tags []tracker.Field) {
	for i := range max(0, m.rnd.IntN(6)-2) {
		tags = append(tags, tracker.Field{Name: fmt.Sprint("k", i), Value: strings.Repeat("v", m.rnd.IntN(3)*100)})
	}
	return tags
}

// setTags changes the tags of some version.
func (m *model) setTags() {
	_, b := m.anyBucket()
	key := m.anyKey()
	r := &tracker.SetTags{Bucket: b.id, Key: key, Tags: m.someTags()}
	v := m.anyVersion(b, key)
	var want error
	switch {
	case v == nil:
		if want = tracker.ErrNoSuchKey; m.rnd.IntN(2) == 0 {
			r.Version, want = "null", tracker.ErrNoSuchVersion
		}
	case m.rnd.IntN(3) == 0:
		if v = b.keys[key][0]; v.marker {
			want = tracker.ErrDeleteMarker
		}
	default:
		if r.Version = v.id; v.marker {
			want = tracker.ErrDeleteMarker
		}
	}
	got := m.effect(catalog.SetTags{SetTags: r}, want)
	if want != nil {
		return
	}
	v.tags = r.Tags
	if id := got.(string); id != v.id && !(id == "" && v.id == "null" && b.state == tracker.Unversioned) {
		m.t.Fatalf("step %d: tags of %q %s answered with %q", m.n, key, v.id, id)
	}
}

func (m *model) pickN(list ...int) int { return list[m.rnd.IntN(len(list))] }

func (m *model) anyVersion(b *mBucket, key string) *mVersion {
	if l := b.keys[key]; len(l) > 0 {
		return l[m.rnd.IntN(len(l))]
	}
	return nil
}

// deletion makes a random deletion of a key, does it in the model, and
// returns what is expected.
func (m *model) deletion(b *mBucket, key string) (e tracker.DeleteEntry, want tracker.DeleteResult, marker *mVersion) {
	e.Key = key
	if m.rnd.IntN(2) == 0 {
		v := m.anyVersion(b, key)
		if v == nil {
			e.Version = "null"
			return e, tracker.DeleteResult{VersionID: "null"}, nil
		}
		e.Version = v.id
		named := v
		if v.marker {
			named = nil
		}
		e.Conditions, want.Err = m.conditions(named)
		if want.Err != nil {
			return e, want, nil
		}
		b.keys[key] = slices.DeleteFunc(b.keys[key], func(o *mVersion) bool { return o == v })
		return e, tracker.DeleteResult{VersionID: v.id, Marker: v.marker}, nil
	}
	e.Conditions, want.Err = m.conditions(b.current(key))
	switch {
	case want.Err != nil:
	case b.state == tracker.Unversioned:
		delete(b.keys, key)
	default:
		marker = &mVersion{marker: true}
		b.add(key, marker)
		want.Marker = true
		if marker.null {
			want.VersionID, marker.id = "null", "null"
		}
	}
	return e, want, marker
}

func (m *model) remove() {
	_, b := m.anyBucket()
	key := m.anyKey()
	had := len(b.keys[key]) > 0
	e, want, marker := m.deletion(b, key)
	c := catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b.id, Key: key, Version: e.Version, Conditions: e.Conditions}}
	if r := m.effect(c, want.Err); want.Err == nil {
		if !had && marker == nil {
			m.past = m.past[:len(m.past)-1] // it did nothing and is not remembered
		}
		m.deleted(*r.(*tracker.DeleteResult), want, marker)
	}
}

func (m *model) deleted(got, want tracker.DeleteResult, marker *mVersion) {
	m.t.Helper()
	if marker != nil && !marker.null {
		marker.id, want.VersionID = got.VersionID, got.VersionID
	}
	if got.VersionID != want.VersionID || got.Marker != want.Marker || !errors.Is(got.Err, want.Err) {
		m.t.Fatalf("step %d: deleted %+v, want %+v", m.n, got, want)
	}
}

func (m *model) removeMany() {
	_, b := m.anyBucket()
	c := catalog.DeleteMany{Bucket: b.id, First: m.rnd.IntN(1000)}
	var wants []tracker.DeleteResult
	var markers []*mVersion
	noop := false
	for range 1 + m.rnd.IntN(4) {
		key := m.anyKey()
		noop = noop || len(b.keys[key]) == 0
		// A marker made in this command has no id to be named by yet.
		if slices.ContainsFunc(b.keys[key], func(v *mVersion) bool { return v.id == "" }) {
			continue
		}
		e, want, marker := m.deletion(b, key)
		c.Entries, wants, markers = append(c.Entries, e), append(wants, want), append(markers, marker)
		noop = noop || want.Err != nil
	}
	got := m.effect(c, nil).([]tracker.DeleteResult)
	for i := range got {
		m.deleted(got[i], wants[i], markers[i])
	}
	if noop {
		m.past = m.past[:len(m.past)-1]
	}
}

func (m *model) versioning() {
	_, b := m.anyBucket()
	b.state = tracker.VersioningEnabled
	if m.rnd.IntN(2) == 0 {
		b.state = tracker.VersioningSuspended
	}
	m.effect(catalog.SetVersioning{Bucket: b.id, State: b.state}, nil)
	m.past = nil // later answers may name versions in another way
}

func (m *model) dropBucket() {
	name, b := m.anyBucket()
	for _, l := range b.keys {
		if len(l) > 0 {
			m.effect(catalog.DeleteBucket{Name: name}, tracker.ErrBucketNotEmpty)
			return
		}
	}
	m.effect(catalog.DeleteBucket{Name: name}, nil)
	delete(m.buckets, name)
	m.past = nil
	for id, u := range m.uploads {
		if u.bucket == name {
			delete(m.uploads, id)
		}
	}
}

// empty removes every version of a bucket, and then the bucket.
func (m *model) empty() {
	name, b := m.anyBucket()
	for key, list := range b.keys {
		for _, v := range list {
			m.effect(catalog.Delete{DeleteObject: &tracker.DeleteObject{Bucket: b.id, Key: key, Version: v.id}}, nil)
		}
		b.keys[key] = nil
	}
	m.compare()
	if m.rnd.IntN(2) == 0 {
		m.effect(catalog.DeleteBucket{Name: name}, nil)
		m.refused(catalog.DeleteBucket{Name: name}, tracker.ErrNoSuchBucket)
		delete(m.buckets, name)
		for id, u := range m.uploads {
			if u.bucket == name {
				delete(m.uploads, id)
			}
		}
	}
	m.past = nil
}

func (m *model) upload() {
	name, b := m.anyBucket()
	key := m.anyKey()
	tags := m.someTags()
	r := m.effect(catalog.CreateUpload{CreateUpload: &tracker.CreateUpload{Bucket: b.id, Key: key, Owner: "root", Meta: tracker.Meta{Class: "COLD",
		Headers: []tracker.Field{{Name: "a", Value: "b"}}, Tags: tags}}}, nil).(*tracker.Upload)
	m.uploads[r.Upload] = &mUpload{bucket: name, key: key, id: r.Upload, tags: tags, parts: map[int]*tracker.PutPart{}}
}

func (m *model) anyUpload() *mUpload {
	var ids []string
	for id := range m.uploads {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	sort.Strings(ids)
	return m.uploads[ids[m.rnd.IntN(len(ids))]]
}

func (m *model) ref(u *mUpload) tracker.UploadRef {
	return tracker.UploadRef{Bucket: m.buckets[u.bucket].id, Key: u.key, Upload: u.id}
}

func (m *model) part() {
	u := m.anyUpload()
	if u == nil {
		return
	}
	for range 1 + m.rnd.IntN(6) {
		r := &tracker.PutPart{UploadRef: m.ref(u), Part: tracker.Part{Number: 1 + m.rnd.IntN(12), MD5: [16]byte{15: byte(m.n)}}}
		r.ETag = fmt.Sprintf("%032x", r.MD5)
		for range m.rnd.IntN(4) {
			nb := m.blob(1 + int64(m.rnd.IntN(1000)))
			r.Blobs, r.Size = append(r.Blobs, nb), r.Size+nb.Length
		}
		m.effect(catalog.PutPart{PutPart: r}, nil)
		u.parts[r.Number] = r
	}
}

func (m *model) complete() {
	u := m.anyUpload()
	if u == nil || len(u.parts) == 0 {
		return
	}
	b := m.buckets[u.bucket]
	q := &tracker.CompleteUpload{UploadRef: m.ref(u), Size: -1}
	v := &mVersion{tags: u.tags}
	for n := range 13 {
		if p := u.parts[n]; p != nil && (m.rnd.IntN(4) > 0 || len(q.Parts) == 0) {
			q.Parts = append(q.Parts, tracker.CompletePart{Number: n, ETag: p.ETag})
			v.size += p.Size
			v.parts++
			for i := range p.Blobs {
				v.data += p.Blobs[i].ID.String()
			}
		}
	}
	var want error
	q.Conditions, want = m.conditions(b.current(u.key))
	cmd, done, err := catalog.PrepareComplete(m.log.Store, q)
	if err != nil || done != nil {
		m.t.Fatalf("step %d: prepare: %v %v", m.n, done, err)
	}
	r := m.effect(cmd, want)
	if want != nil {
		return
	}
	p := r.(*tracker.PutResult)
	v.etag = p.ETag
	m.added(b, u.key, v, p)
	delete(m.uploads, u.id)
	if _, done, err := catalog.PrepareComplete(m.log.Store, q); err != nil || !reflect.DeepEqual(done, p) {
		m.t.Fatalf("step %d: completed again: %+v %v, want %+v", m.n, done, err, p)
	}
	m.refused(catalog.Abort{AbortUpload: &tracker.AbortUpload{UploadRef: q.UploadRef}}, tracker.ErrNoSuchUpload)
}

func (m *model) abort() {
	if u := m.anyUpload(); u != nil {
		m.effect(catalog.Abort{AbortUpload: &tracker.AbortUpload{UploadRef: m.ref(u)}}, nil)
		delete(m.uploads, u.id)
	}
}

// again tries a command once more: the answer is the same and nothing changes.
func (m *model) again() {
	m.past = slices.DeleteFunc(m.past, func(a attempt) bool { return m.now-a.at > 5*60_000 })
	if len(m.past) == 0 {
		return
	}
	a := m.past[m.rnd.IntN(len(m.past))]
	catalog.Restamp(a.cmd, m.now, a.at+60_000)
	m.cmds = append(m.cmds, bytes.Clone(a.cmd))
	r, err := m.log.Apply(a.cmd)
	if err != nil || !reflect.DeepEqual(r[0], a.result) {
		m.t.Fatalf("step %d: %s again: %+v %v, want %+v", m.n, a.what, r, err, a.result)
	}
}

// garbage sweeps and drops what is over ten minutes old.
func (m *model) garbage() {
	for {
		rows, err := catalog.GarbageRows(m.log.Store, catalog.GarbageID{}, 100)
		if err != nil {
			m.t.Fatal(err)
		}
		if len(rows) == 0 || rows[0].At > m.now-600_000 {
			return
		}
		if rows[0].Swept() {
			m.must(catalog.Sweep{GarbageID: rows[0].GarbageID})
			continue
		}
		m.must(catalog.DropGarbage{UpTo: rows[0].GarbageID})
	}
}

func (m *model) move() {
	var ids []storage.BlobID
	if err := catalog.Blobs(m.log.Store, storage.IDRange{}, func(b *catalog.BlobState) bool { ids = append(ids, b.ID); return true }); err != nil {
		m.t.Fatal(err)
	}
	if len(ids) == 0 {
		return
	}
	b, _, err := catalog.Blob(m.log.Store, ids[m.rnd.IntN(len(ids))])
	if err != nil {
		m.t.Fatal(err)
	}
	old := b.Shards[1]
	c := catalog.SwitchShard{Blob: b.ID, Index: 1, Old: old, New: storage.Placement{Node: old.Node%7 + 1, Gen: old.Gen + 1}, Expiry: m.now + 1}
	var want error
	if b.Dying {
		want = tracker.ErrConflict
	}
	if m.effect(c, want); want == nil {
		m.past = m.past[:len(m.past)-1] // the map may change again
	}
}

func (m *model) tick() {
	m.now += int64(m.rnd.IntN(20_000))
	m.must(catalog.RaiseTime{To: m.now})
	if m.rnd.IntN(3) == 0 {
		m.must(catalog.RaiseFence{To: m.now - 1000})
	}
	m.must(catalog.TrimResults{})
	m.must(catalog.TrimOutcomes{})
}

func (m *model) compare() {
	m.t.Helper()
	for name, b := range m.buckets {
		var u tracker.Usage
		for key, list := range b.keys {
			for i, v := range list {
				u.Versions++
				u.Bytes += v.size
				m.compareVersion(b, key, i, v)
			}
			if o := b.current(key); o != nil {
				u.Objects++
				m.compareObject(b, key, "", o)
			}
		}
		for _, up := range m.uploads {
			if up.bucket == name {
				u.Uploads++
			}
		}
		if got, err := catalog.Usage(m.log.Store, b.id); err != nil || got != u {
			m.t.Fatalf("step %d: usage of %s %+v %v, want %+v", m.n, name, got, err, u)
		}
		m.compareVersions(b)
	}
	for _, line := range catalog.Check(m.log.Store) {
		m.t.Errorf("step %d: %s", m.n, line)
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}

func (m *model) compareVersion(b *mBucket, key string, i int, v *mVersion) {
	m.t.Helper()
	if !v.marker {
		m.compareObject(b, key, v.id, v)
		return
	}
	o, err := m.get(b.id, key, v.id)
	if !errors.Is(err, tracker.ErrDeleteMarker) || !o.Marker || o.Current != (i == 0) {
		m.t.Fatalf("step %d: marker %q %s: %+v %v", m.n, key, v.id, o, err)
	}
	if i == 0 {
		if o, err := m.get(b.id, key, ""); !errors.Is(err, tracker.ErrDeleteMarker) || o.ID != v.id {
			m.t.Fatalf("step %d: %q: %+v %v", m.n, key, o, err)
		}
	}
}

func (m *model) compareObject(b *mBucket, key, version string, v *mVersion) {
	m.t.Helper()
	o, err := m.get(b.id, key, version)
	if err != nil {
		m.t.Fatalf("step %d: get %q %q: %v", m.n, key, version, err)
	}
	data := string(o.Inline)
	ext := o.Extents
	if !o.AllExtents {
		ref := tracker.Ref{Bucket: b.id, Key: key, Seq: o.Seq}
		if ext, err = catalog.Extents(m.log.Store, ref, 0, 10000); err != nil {
			m.t.Fatal(err)
		}
		if len(ext) > 8 {
			from := ext[8+m.rnd.IntN(len(ext)-8)]
			tail, err := catalog.Extents(m.log.Store, ref, from.Offset, 3)
			if err != nil || len(tail) == 0 || tail[0].Offset != from.Offset || len(tail) > 3 {
				m.t.Fatalf("step %d: extents from %d: %+v %v", m.n, from.Offset, tail, err)
			}
		}
	}
	var at int64
	for _, e := range ext {
		data += e.Blob.ID.String()
		if e.Offset != at {
			m.t.Fatalf("step %d: extent at %d, want %d", m.n, e.Offset, at)
		}
		at += e.Length
	}
	if o.Seq != v.seq || o.ETag != v.etag || o.Size != v.size || data != v.data || o.Parts != v.parts || version != "" && o.ID != version {
		m.t.Fatalf("step %d: get %q %q: %+v\ndata %q\nwant %+v", m.n, key, version, o, data, v)
	}
	if !slices.Equal(o.Tags, v.tags) {
		m.t.Fatalf("step %d: tags of %q %q: %v, want %v", m.n, key, version, o.Tags, v.tags)
	}
	if v.parts > 0 {
		parts, err := catalog.Parts(m.log.Store, tracker.Ref{Bucket: b.id, Key: key, Seq: o.Seq}, 0, 1000)
		if err != nil || len(parts) != v.parts {
			m.t.Fatalf("step %d: %d parts, want %d: %v", m.n, len(parts), v.parts, err)
		}
	}
}

// compareVersions joins pages of a random size.
func (m *model) compareVersions(b *mBucket) {
	m.t.Helper()
	var want, got bytes.Buffer
	var keys []string
	for k := range b.keys {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		for i, v := range b.keys[k] {
			fmt.Fprintln(&want, []byte(k), v.id, v.marker, i == 0, v.size)
		}
	}
	q := &tracker.ListVersions{Bucket: b.id, Max: 1 + m.rnd.IntN(7)}
	for {
		p, err := catalog.ListVersions(m.log.Store, q)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, e := range p.Entries {
			fmt.Fprintln(&got, []byte(e.Key), e.ID, e.Marker, e.Current, e.Size)
		}
		if !p.Truncated {
			break
		}
		q.KeyAfter, q.VersionAfter, q.AfterPrefix = p.NextKey, p.NextVersion, p.NextPrefix
	}
	if got.String() != want.String() {
		m.t.Fatalf("step %d: versions\n%swant\n%s", m.n, got.String(), want.String())
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	m := &model{world: newWorld(t), rnd: rand.New(rand.NewPCG(s, 1)), buckets: map[string]*mBucket{}, uploads: map[string]*mUpload{}}
	m.must(catalog.RaiseTime{To: m.now})
	ops := []struct {
		weight int
		do     func()
	}{{30, m.put}, {15, m.remove}, {4, m.removeMany}, {10, m.setTags}, {2, m.versioning}, {1, m.dropBucket}, {1, m.empty}, {4, m.upload}, {8, m.part}, {4, m.complete},
		{1, m.abort}, {10, m.again}, {2, m.garbage}, {3, m.move}, {3, m.tick}}
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	for m.n = range *steps {
		at := m.rnd.IntN(total)
		for _, o := range ops {
			if at -= o.weight; at < 0 {
				o.do()
				break
			}
		}
		if m.n%50 == 0 || m.n < 50 {
			m.compare()
		}
	}
	m.compare()
	m.now += 24 * 3600_000
	m.must(catalog.RaiseTime{To: m.now})
	m.garbage()
	m.compare()
	m.sameInBatches()
}

// sameInBatches applies all commands again, many to an entry: the rows are the
// same but for those that the log's index names or orders (40, 50, 51).
func (m *model) sameInBatches() {
	other := newWorld(m.t)
	for cmds := m.cmds; len(cmds) > 0; {
		n := min(len(cmds), 1+m.rnd.IntN(60))
		if _, err := other.log.Apply(cmds[:n]...); err != nil {
			m.t.Fatal(err)
		}
		cmds = cmds[n:]
	}
	rows := func(w *world) (out []string) {
		for _, row := range strings.Split(w.dump(), "\n") {
			if !strings.HasPrefix(row, "40") && !strings.HasPrefix(row, "5") {
				out = append(out, row)
			}
		}
		return out
	}
	got, want := rows(other), rows(m.world)
	for i := range max(len(got), len(want)) {
		if at(got, i) != at(want, i) {
			m.t.Fatalf("row %d in batches\n got %s\nwant %s", i, at(got, i), at(want, i))
		}
	}
	other.fine()
}
