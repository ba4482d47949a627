package s3

import (
	"context"
	"fmt"
	"io"
	"sync"

	"holdfast/auth"
	"holdfast/gateway/blob"
	"holdfast/storage"
	"holdfast/tracker"
)

// extentPage is how many extents are read at once beyond those that came with
// the object.
const extentPage = 64

// objectReader reads a range of an object: inline bytes, or extents one after
// another, whose rows are read page by page. One goroutine at a time.
type objectReader struct {
	c      *call
	ctx    context.Context
	ref    tracker.Ref
	obj    *tracker.Object
	at     int64 // next byte of the object
	end    int64
	page   []tracker.Extent
	stream *blob.Stream // of the current extent; nil between two
	left   int64        // of stream
	damage struct {
		sync.Mutex
		list []storage.Damage
	}
}

// maxDamage bounds what one read reports.
const maxDamage = 64

// readObject returns a reader of the range, which must lie within the object.
// It must be closed.
func (c *call) readObject(b *tracker.Bucket, key string, obj *tracker.Object, r byteRange) *objectReader {
	o := &objectReader{c: c, ctx: c.r.Context(), ref: tracker.Ref{Bucket: b.ID, Key: key, Seq: obj.Seq}, obj: obj,
		at: r.off, end: r.off + r.n, page: obj.Extents}
	if !isInline(obj) {
		c.s.reads.enter(o, c.s.floor())
	}
	return o
}

// isInline reports whether the bytes came with the object.
func isInline(obj *tracker.Object) bool { return len(obj.Inline) > 0 && len(obj.Extents) == 0 }

// next opens the next extent. It is an error to call it at the end.
func (o *objectReader) next() error {
	for len(o.page) > 0 && o.page[0].Offset+o.page[0].Length <= o.at {
		o.page = o.page[1:]
	}
	if len(o.page) == 0 || o.page[0].Offset > o.at {
		page, err := o.c.s.deps.Catalog.Extents(o.ctx, o.ref, o.at, extentPage)
		if err != nil {
			return err
		}
		if len(page) == 0 || page[0].Offset > o.at || page[0].Offset+page[0].Length <= o.at {
			return fmt.Errorf("no extent at byte %d: %w", o.at, storage.ErrCorrupt)
		}
		o.page = page
	}
	e := &o.page[0]
	off := o.at - e.Offset
	o.left = min(e.Length-off, o.end-o.at)
	var err error
	o.stream, err = o.c.s.blobs.reader.Open(o.ctx, e.Blob, e.BlobOffset+off, o.left, o.options(e.Blob.ID, o.at))
	return err
}

// options are those of reading the blob that holds the object's byte at.
func (o *objectReader) options(id storage.BlobID, at int64) blob.Options {
	return blob.Options{
		Nodes: o.c.s.deps.Nodes,
		Rank:  o.c.s.blobs.rank(o.ctx),
		Refresh: func(ctx context.Context) (tracker.Blob, error) {
			page, err := o.c.s.deps.Catalog.Extents(ctx, o.ref, at, 1)
			switch {
			case err != nil:
				return tracker.Blob{}, err
			case len(page) == 0 || page[0].Blob.ID != id:
				return tracker.Blob{}, tracker.ErrNoSuchVersion
			}
			return page[0].Blob, nil
		},
		Damage: func(d storage.Damage) {
			o.damage.Lock()
			defer o.damage.Unlock()
			if len(o.damage.list) < maxDamage {
				o.damage.list = append(o.damage.list, d)
			}
		},
	}
}

// advance counts n bytes of the current extent as read, err being what the
// stream said. It returns nil when the extent goes on or ended as it should.
func (o *objectReader) advance(n int64, err error) error {
	o.at += n
	o.left -= n
	switch {
	case o.left == 0 && (err == nil || err == io.EOF):
		o.stream.Close()
		o.stream = nil
		return nil
	case err == io.EOF:
		return fmt.Errorf("extent ends %d bytes early: %w", o.left, storage.ErrCorrupt)
	}
	return err
}

// Read implements io.Reader.
func (o *objectReader) Read(p []byte) (int, error) {
	if o.at == o.end {
		return 0, io.EOF
	}
	if isInline(o.obj) {
		n := copy(p, o.obj.Inline[o.at:o.end])
		o.at += int64(n)
		return n, nil
	}
	if o.stream == nil {
		if err := o.next(); err != nil {
			return 0, err
		}
	}
	n, err := o.stream.Read(p)
	return n, o.advance(int64(n), err)
}

// WriteTo implements io.WriterTo: blob payloads go to w without a copy.
func (o *objectReader) WriteTo(w io.Writer) (total int64, err error) {
	if isInline(o.obj) {
		n, err := w.Write(o.obj.Inline[o.at:o.end])
		o.at += int64(n)
		return int64(n), err
	}
	for o.at < o.end {
		if o.stream == nil {
			if err := o.next(); err != nil {
				return total, err
			}
		}
		n, err := o.stream.WriteTo(w)
		total += n
		if err == nil {
			err = io.EOF
		}
		if err := o.advance(n, err); err != nil {
			return total, err
		}
	}
	return total, nil
}

// Finish implements source.
func (o *objectReader) Finish() error {
	if o.at != o.end {
		return auth.ErrBodyTooLong
	}
	return nil
}

// Close ends the read and reports the damage it met.
func (o *objectReader) Close() error {
	o.c.s.reads.leave(o)
	if o.stream != nil {
		o.stream.Close()
		o.stream = nil
	}
	o.damage.Lock()
	list := o.damage.list
	o.damage.list = nil
	o.damage.Unlock()
	o.c.reportDamage(list)
	return nil
}
