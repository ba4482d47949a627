package catalog

import (
	"bytes"
	"fmt"
	"slices"

	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// Check reads the whole catalog and returns what contradicts its rules:
// usage that is not the sum of its rows, an extent without a live blob, a live
// blob that nothing refers to, holders that disagree, a version out of order,
// rows that belong to nothing and that no garbage row will sweep. It holds
// references to all blobs in memory, so it is for tests and for fsck on
// catalogs that fit. r must be one state.
func Check(r kv.Reader) []string {
	c := &checker{r: r, buckets: map[tracker.BucketID]*bucketCheck{}, refs: map[storage.BlobID]map[holder]int64{},
		dying: map[storage.BlobID]bool{}, pieces: map[string]*pieceCheck{}, inlines: map[string]int64{},
		live: map[string]uint64{}, nulls: map[string]uint64{}, open: map[string]uploadID{}, sweeps: map[string]Garbage{}}
	for _, step := range []func() error{c.state, c.bucketRows, c.garbageRows, c.liveRows, c.oldRows, c.nullRows, c.pieceRows,
		c.inlineRows, c.uploadRows, c.partRows, c.blobRows, c.holderRows, c.resultRows, c.policyRows, c.totals} {
		if err := step(); err != nil {
			c.say("%v", err)
			return c.bad
		}
	}
	return c.bad
}

type checker struct {
	r       kv.Reader
	bad     []string
	s       State
	inline  int64
	buckets map[tracker.BucketID]*bucketCheck
	refs    map[storage.BlobID]map[holder]int64 // holder: how far into the blob
	dying   map[storage.BlobID]bool             // named by a garbage row
	pieces  map[string]*pieceCheck              // by B E(K) seq
	inlines map[string]int64                    // by B E(K) seq: size
	live    map[string]uint64                   // by B K: seq of row 10
	nulls   map[string]uint64                   // by B E(K): seq of the null version in row 11
	open    map[string]uploadID                 // by B E(K) id
	sweeps  map[string]Garbage                  // uploads to sweep, by B E(K) id
	shared  map[storage.BlobID]bool
}

type bucketCheck struct {
	core        bucketCore
	named       bool
	usage, have usageRow
}

// pieceCheck is what rows 13 of a version must hold.
type pieceCheck struct {
	h             holder
	size, reached int64
	parts, found  int
	pending       bool // the version went; a sweep will take them
	seen          bool
}

func (c *checker) say(format string, args ...any) {
	if len(c.bad) < 1000 {
		c.bad = append(c.bad, fmt.Sprintf(format, args...))
	}
}

func (c *checker) each(row byte, f func(k, v []byte) error) error {
	return eachRow(c.r, []byte{row}, func(k, v []byte) error {
		if err := f(k, v); err != nil {
			return fmt.Errorf("row %x: %w", k, err)
		}
		return nil
	})
}

func (c *checker) state() (err error) {
	c.s, err = ReadState(c.r)
	return err
}

func (c *checker) bucket(k []byte) *bucketCheck {
	id := tracker.BucketID(beUint64(k[1:]))
	b := c.buckets[id]
	if b == nil {
		c.say("row %x belongs to no bucket", k)
		b = new(bucketCheck)
		c.buckets[id] = b
	}
	return b
}

func beUint64(p []byte) (v uint64) {
	for _, x := range p[:8] {
		v = v<<8 | uint64(x)
	}
	return v
}

func (c *checker) bucketRows() error {
	err := c.each(rowBucket, func(k, v []byte) error {
		if string(k[9:]) != coreSection {
			return nil
		}
		b := new(bucketCheck)
		c.buckets[tracker.BucketID(beUint64(k[1:]))] = b
		return b.core.decode(v)
	})
	if err != nil {
		return err
	}
	err = c.each(rowName, func(k, v []byte) error {
		id, err := decodeNameRow(v)
		b := c.buckets[id]
		if b == nil || b.core.name != string(k[1:]) || b.core.state != bucketOpen {
			c.say("name %q names no open bucket", k[1:])
			return err
		}
		b.named = true
		return err
	})
	if err != nil {
		return err
	}
	for id, b := range c.buckets {
		if b.core.state == bucketOpen && !b.named {
			c.say("bucket %d %q has no name row", id, b.core.name)
		}
	}
	return c.each(rowUsage, func(k, v []byte) error { return c.bucket(k).usage.decode(v) })
}

func (c *checker) policyRows() error {
	groups, err := Groups(c.r)
	if err != nil {
		return err
	}
	policies, err := Policies(c.r)
	for _, p := range policies {
		if b := c.buckets[p.BucketID]; p.BucketID != 0 && (b == nil || b.core.state != bucketOpen) {
			c.say("policy for bucket %d, which is not open", p.BucketID)
		}
		if p.Kind == tracker.Pinned && !slices.ContainsFunc(groups, func(g tracker.Group) bool { return g.ID == p.GroupID }) {
			c.say("policy pins to group %d, which is not there", p.GroupID)
		}
	}
	return err
}

func (c *checker) garbageRows() error {
	return c.each(rowGarbage, func(k, v []byte) error {
		var g Garbage
		if err := g.decode(k, bytes.Clone(v)); err != nil {
			return err
		}
		if g.Seq > c.s.Seq {
			c.say("garbage %d is over the last sequence", g.Seq)
		}
		switch g.Kind {
		case GarbageBlob:
			if c.dying[g.Blob] {
				c.say("blob %s is twice garbage", g.Blob)
			}
			c.dying[g.Blob] = true
		case GarbageVersion:
			at := string(be64(keyOf(nil, 0, g.bucket, g.key), g.seq)[1:])
			c.pieces[at] = &pieceCheck{h: holder{g.bucket, g.holder}, pending: true}
		case GarbageUpload:
			c.sweeps[string(keyUpload(nil, 0, g.bucket, g.key, g.upload)[1:])] = g
		}
		return nil
	})
}

// version checks a row 10 or 11 and notes what it refers to.
func (c *checker) version(b *bucketCheck, id tracker.BucketID, key []byte, o *objectRow) {
	b.have.versions++
	b.have.bytes += o.size
	if o.seq > c.s.Seq {
		c.say("%q: seq %d is over the last sequence", key, o.seq)
	}
	h := holder{id, o.holder}
	var reached int64
	o.eachExtent(func(e *extent) {
		c.refer(e, h)
		reached += e.length
	})
	at := string(be64(keyOf(nil, 0, id, key), o.seq)[1:])
	if o.flags&flagInline != 0 {
		c.inlines[at] = o.size
		reached = o.size
	}
	if o.flags&flagPieces != 0 {
		c.pieces[at] = &pieceCheck{h: h, size: o.size, reached: reached, parts: o.parts}
	} else if reached != o.size || o.parts != 0 {
		c.say("%q: %d of %d bytes, %d parts", key, reached, o.size, o.parts)
	}
}

func (c *checker) refer(e *extent, h holder) {
	m := c.refs[e.id()]
	if m == nil {
		m = map[holder]int64{}
		c.refs[e.id()] = m
	}
	m[h] = max(m[h], e.offset+e.length)
}

func (c *checker) liveRows() error {
	return c.each(rowObject, func(k, v []byte) error {
		var o objectRow
		if err := o.decode(v); err != nil {
			return err
		}
		b := c.bucket(k)
		b.have.objects++
		if o.marker() {
			c.say("%q: a marker in row 10", k[9:])
		}
		c.live[string(k[1:])] = o.seq
		c.version(b, tracker.BucketID(beUint64(k[1:])), k[9:], &o)
		return nil
	})
}

func (c *checker) oldRows() error {
	var last []byte
	return c.each(rowVersion, func(k, v []byte) error {
		var o objectRow
		if err := o.decode(v); err != nil {
			return err
		}
		key, rest, ok := unescape(nil, k[9:])
		if !ok || len(rest) != 8 || ^beUint64(rest) != o.seq {
			return badRow("version key")
		}
		b := c.bucket(k)
		if b.core.versioning == tracker.Unversioned {
			c.say("%q: row 11 in a bucket that never versioned", key)
		}
		whole := k[1 : len(k)-8]
		live, has := c.live[string(append(bytes.Clone(k[1:9]), key...))]
		switch newest := !bytes.Equal(last, whole); {
		case has && live <= o.seq:
			c.say("%q: row 11 of %d is over row 10 of %d", key, o.seq, live)
		case !has && newest && !o.marker():
			c.say("%q: the newest version is live and not in row 10", key)
		}
		last = bytes.Clone(whole)
		if o.null() {
			if c.nulls[string(whole)] != 0 {
				c.say("%q: two null versions", key)
			}
			if has && c.liveIsNull(k[1:9], key) {
				c.say("%q: null versions in row 10 and 11", key)
			}
			c.nulls[string(whole)] = o.seq
		}
		c.version(b, tracker.BucketID(beUint64(k[1:])), key, &o)
		return nil
	})
}

func (c *checker) liveIsNull(b, key []byte) bool {
	var o objectRow
	v, ok, err := c.r.Get(append(append([]byte{rowObject}, b...), key...), nil)
	return err == nil && ok && o.decode(v) == nil && o.null()
}

func (c *checker) nullRows() error {
	err := c.each(rowNull, func(k, v []byte) error {
		if len(v) != 9 {
			return badRow("null version")
		}
		seq := dec{p: v[1:]}
		if n := seq.u64(); c.nulls[string(k[1:])] != n {
			c.say("row %x names null version %d, there is %d", k, n, c.nulls[string(k[1:])])
		}
		delete(c.nulls, string(k[1:]))
		return nil
	})
	for k := range c.nulls {
		c.say("null version of %x has no row 12", k)
	}
	return err
}

func (c *checker) pieceRows() error {
	err := c.each(rowPiece, func(k, v []byte) error {
		_, rest, ok := unescape(nil, k[9:])
		if !ok || len(rest) < 9 {
			return badRow("piece key")
		}
		p := c.pieces[string(k[1:len(k)-len(rest)+8])]
		if p == nil {
			c.say("row %x belongs to no version", k)
			return nil
		}
		p.seen = true
		switch rest[8] {
		case pieceExtents:
			var e extentPiece
			if err := e.decode(v); err != nil {
				return err
			}
			if !p.pending && e.start != p.reached {
				c.say("row %x starts at %d, not %d", k, e.start, p.reached)
			}
			p.reached = e.start
			e.eachExtent(func(x *extent) {
				c.refer(x, p.h)
				p.reached += x.length
			})
			if uint64(p.reached) != beUint64(rest[9:]) {
				c.say("row %x ends at %d", k, p.reached)
			}
		case pieceParts:
			var e partPiece
			if err := e.decode(v); err != nil {
				return err
			}
			p.found += e.count
			return e.each(func(int, *partBody) bool { return true })
		}
		return nil
	})
	for at, p := range c.pieces {
		if !p.pending && (!p.seen || p.reached != p.size || p.found != p.parts) {
			c.say("version %x: pieces hold %d of %d bytes, %d of %d parts", at, p.reached, p.size, p.found, p.parts)
		}
	}
	return err
}

func (c *checker) inlineRows() error {
	err := c.each(rowInline, func(k, v []byte) error {
		size, ok := c.inlines[string(k[1:])]
		if !ok || int64(len(v)-1) != size || v[0] != inlineRowVersion {
			c.say("row %x: %d inline bytes, version has %d (%v)", k, len(v)-1, size, ok)
		}
		delete(c.inlines, string(k[1:]))
		c.bucket(k).have.inline += int64(len(v) - 1)
		c.inline += int64(len(v) - 1)
		return nil
	})
	for k := range c.inlines {
		c.say("inline bytes of %x are missing", k)
	}
	return err
}

func (c *checker) uploadRows() error {
	err := c.each(rowUpload, func(k, v []byte) error {
		var u uploadRow
		var ref uploadRef
		if !ref.fromKey(k) {
			return badRow("upload key")
		}
		c.open[string(k[1:])] = ref.id
		c.bucket(k).have.uploads++
		return u.decode(v)
	})
	if err != nil {
		return err
	}
	states := 0
	err = c.each(rowOutcome, func(k, v []byte) error {
		var o outcomeRow
		if err := o.decode(v); err != nil {
			return err
		}
		_, open := c.open[string(k[1:])]
		if open != (o.state == uploadOpen) {
			c.say("upload %x: state %d, row 20 there: %v", k, o.state, open)
		}
		if open {
			states++
		}
		return nil
	})
	if states != len(c.open) {
		c.say("%d open uploads, %d states", len(c.open), states)
	}
	return err
}

func (c *checker) partRows() error {
	return c.each(rowPart, func(k, v []byte) error {
		var p partRow
		if err := p.decode(v); err != nil {
			return err
		}
		at := string(k[1 : len(k)-4])
		g, swept := c.sweeps[at]
		id, open := c.open[at]
		switch {
		case open:
		case !swept:
			c.say("part %x belongs to no upload", k)
			return nil
		case g.kept(partNumber(k)):
			return nil
		default:
			id = g.upload
		}
		h := holder{tracker.BucketID(beUint64(k[1:])), id.seq()}
		p.eachExtent(func(e *extent) { c.refer(e, h) })
		return nil
	})
}

func (c *checker) blobRows() error {
	c.shared = map[storage.BlobID]bool{}
	err := c.each(rowBlob, func(k, v []byte) error {
		var b blobRow
		if err := b.decode(v); err != nil {
			return err
		}
		id := storage.BlobID(k[1:])
		refs := c.refs[id]
		delete(c.refs, id)
		for h, end := range refs {
			if end > b.length {
				c.say("blob %s of %d bytes is read to %d by %v", id, b.length, end, h)
			}
		}
		if b.flags&blobDying != 0 {
			if !c.dying[id] || len(refs) > 0 {
				c.say("blob %s is dying: in the queue %v, %d holders", id, c.dying[id], len(refs))
			}
			delete(c.dying, id)
			return nil
		}
		if c.dying[id] {
			c.say("blob %s is garbage and lives", id)
		}
		if b.flags&blobShared != 0 {
			c.shared[id] = true
			c.refs[id] = refs // compared with the holders' rows
			return nil
		}
		if _, held := refs[b.owner]; !held || len(refs) != 1 {
			c.say("blob %s of %v is referred to by %v", id, b.owner, refs)
		}
		return nil
	})
	for id := range c.dying {
		if _, ok, _ := Blob(c.r, id); !ok {
			c.say("garbage blob %s has no row", id)
		}
	}
	return err
}

func (c *checker) holderRows() error {
	err := c.each(rowHolder, func(k, _ []byte) error {
		if len(k) != 33 {
			return badRow("holder key")
		}
		id, h := storage.BlobID(k[1:17]), holder{tracker.BucketID(beUint64(k[17:])), beUint64(k[25:])}
		if _, held := c.refs[id][h]; !held || !c.shared[id] {
			c.say("blob %s: holder %v holds nothing (shared %v)", id, h, c.shared[id])
		}
		delete(c.refs[id], h)
		return nil
	})
	for id, refs := range c.refs {
		if len(refs) > 0 || c.shared[id] && refs == nil {
			c.say("blob %s is not live, or has no rows of the holders %v", id, refs)
		}
	}
	return err
}

func (c *checker) resultRows() error {
	n := 0
	if err := c.each(rowResult, func(_, v []byte) error { n++; return new(resultRow).decode(v) }); err != nil {
		return err
	}
	err := c.each(rowTrim, func(k, v []byte) error {
		n--
		d := dec{p: v}
		d.version(1)
		d.u64()
		b := tracker.BucketID(d.u64())
		if d.bad || len(k) != 25 {
			return badRow("trim row")
		}
		_, ok, err := c.r.Get(keyResult(nil, b, d.p, tracker.RequestID(k[9:])), nil)
		if !ok {
			c.say("trim row %x trims nothing", k)
		}
		return err
	})
	if n != 0 {
		c.say("%d more results than trim rows", n)
	}
	return err
}

func (c *checker) totals() error {
	for id, b := range c.buckets {
		if b.usage != b.have {
			c.say("bucket %d: usage row %+v, rows %+v", id, b.usage, b.have)
		}
	}
	if c.inline != c.s.Inline {
		c.say("%d inline bytes, state says %d", c.inline, c.s.Inline)
	}
	return nil
}
