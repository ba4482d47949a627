package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"holdfast/gateway/blob"
	"holdfast/gateway/s3err"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// stored is a body's bytes, written and ready for a commit.
type stored struct {
	inline []byte
	blobs  []tracker.NewBlob
	holes  []storage.Damage
	path   *dataPath
	buf    *[]byte
}

// release gives the inline buffer back; the catalog keeps no reference to it.
func (s *stored) release() {
	if s.buf != nil {
		s.path.giveBack(s.buf)
		s.buf, s.inline = nil, nil
	}
}

// store takes a body to where its commit can refer to it: one of at most
// inlineLimit bytes into memory, any other into a blob. On nil the body is
// verified.
func (c *call) store(b *body, bucket tracker.BucketID, class string, inlineLimit int) (*stored, error) {
	to := &target{call: c, body: b, limit: inlineLimit, share: c.share(), PlaceRequest: tracker.PlaceRequest{Bucket: bucket, Class: class, Size: b.length}}
	defer to.share.release()
	d := c.s.blobs
	switch {
	case b.length == 0:
		return &stored{}, b.readAll(nil)
	case b.length < 0:
		return to.unknown()
	case b.length <= firstPiece:
		return to.whole()
	}
	first := d.buffer(firstPiece)
	defer d.giveBack(first)
	if err := b.begin(*first); err != nil {
		return nil, err
	}
	if b.length <= max(maxHeld, int64(inlineLimit)) {
		return to.whole()
	}
	return to.stream(b)
}

// share is the call's of the memory for writes, nothing yet.
func (c *call) share() *share {
	s := &share{b: c.s.blobs.writes}
	if c.body.ReadCloser != nil {
		s.from = &c.body
	}
	return s
}

// target is where a body goes.
type target struct {
	*call
	body  *body
	limit int // bytes; bodies at or under it are inline
	share *share
	tracker.PlaceRequest
}

// whole reads the body into memory and stores it.
func (t *target) whole() (*stored, error) {
	buf, err := t.body.hold(t.s.blobs, func(n int64) error { return t.share.Take(t.r.Context(), n) })
	if err != nil {
		return nil, err
	}
	s := &stored{path: t.s.blobs, buf: buf}
	if len(*buf) <= t.limit {
		s.inline = *buf
		return s, nil
	}
	defer s.release()
	return t.held(*buf)
}

// unknown stores a body whose length nobody announced: inline if it ends
// within the limit, else as a stream. It gets a larger buffer, up to the
// limit, whenever it has filled one.
func (t *target) unknown() (*stored, error) {
	d := t.s.blobs
	s := &stored{path: d, buf: d.buffer(min(firstPiece, t.limit+1))}
	var err error
	s.inline, err = t.body.readUpTo(*s.buf)
	for err == nil && t.body.err == nil && len(s.inline) == len(*s.buf) && len(s.inline) <= t.limit {
		n := len(s.inline)
		more := d.buffer(min(4*n, t.limit+1))
		copy(*more, s.inline)
		d.giveBack(s.buf)
		s.buf = more
		var rest []byte
		rest, err = t.body.readUpTo((*more)[n:])
		s.inline = (*more)[:n+len(rest)]
	}
	if err == nil && len(s.inline) <= t.limit {
		return s, nil
	}
	defer s.release()
	if err != nil {
		return nil, err
	}
	return t.stream(io.MultiReader(bytes.NewReader(s.inline), t.body))
}

// stream writes src, which reads the body, into a blob. The body is spent by
// that: where it fails, the client has to send it again.
func (t *target) stream(src io.Reader) (*stored, error) {
	s, err := t.write(src, t.share)
	if err != nil && t.body.err != nil && t.body.err != io.EOF {
		return nil, t.body.err // what the client did, rather than what it led to
	}
	return s, err
}

// heldTries bounds how often a body that is held is written under another
// grant.
const heldTries = 3

// held writes a body that is in memory, and again under another grant where
// nodes failed: they may have left since the first was made.
func (t *target) held(data []byte) (*stored, error) {
	for try := 1; ; try++ {
		s, err := t.write(bytes.NewReader(data), nil)
		if err == nil || try == heldTries || t.r.Context().Err() != nil || !errors.Is(err, s3err.ServiceUnavailable) {
			return s, err
		}
	}
}

// write writes src under a new grant, within m.
func (t *target) write(src io.Reader, m blob.Memory) (*stored, error) {
	d, ctx := t.s.blobs, t.r.Context()
	grant, err := d.deps.Scheduler.Place(ctx, &t.PlaceRequest)
	if err != nil {
		return nil, fmt.Errorf("place: %w", err)
	}
	nb, holes, err := d.writer.WriteWithin(ctx, m, grant, d.deps.Nodes, src, t.Size)
	switch {
	case err == nil:
		return &stored{blobs: []tracker.NewBlob{nb}, holes: holes}, nil
	case fault.KindOf(err) == fault.Unavailable:
		return nil, fmt.Errorf("%w: %w", s3err.ServiceUnavailable, err)
	}
	return nil, err
}
