package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"

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
	to := &target{call: c, body: b, PlaceRequest: tracker.PlaceRequest{Bucket: bucket, Class: class, Size: b.length}}
	switch {
	case b.length == 0:
		return &stored{}, b.readAll(nil)
	case b.length > maxHeld:
		return to.stream(b)
	case b.length < 0:
		return to.unknown(inlineLimit)
	}
	d := c.s.blobs
	s := &stored{path: d, buf: d.buffer(int(b.length))}
	if err := b.readAll(*s.buf); err != nil {
		s.release()
		return nil, err
	}
	if len(*s.buf) <= inlineLimit {
		s.inline = *s.buf
		return s, nil
	}
	defer s.release()
	return to.held(*s.buf)
}

// target is where a body that is no inline one goes.
type target struct {
	*call
	body *body
	tracker.PlaceRequest
}

// unknown stores a body whose length nobody announced.
func (t *target) unknown(inlineLimit int) (*stored, error) {
	d := t.s.blobs
	s := &stored{path: d, buf: d.buffer(inlineLimit + 1)}
	var err error
	if s.inline, err = t.body.readUpTo(*s.buf); err == nil && len(s.inline) <= inlineLimit {
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
	s, err := t.write(src)
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
		s, err := t.write(bytes.NewReader(data))
		if err == nil || try == heldTries || t.r.Context().Err() != nil || !errors.Is(err, s3err.ServiceUnavailable) {
			return s, err
		}
	}
}

// write writes src under a new grant.
func (t *target) write(src io.Reader) (*stored, error) {
	d, ctx := t.s.blobs, t.r.Context()
	grant, err := d.deps.Scheduler.Place(ctx, &t.PlaceRequest)
	if err != nil {
		return nil, fmt.Errorf("place: %w", err)
	}
	nb, holes, err := d.writer.Write(ctx, grant, d.deps.Nodes, src, t.Size)
	switch {
	case err == nil:
		return &stored{blobs: []tracker.NewBlob{nb}, holes: holes}, nil
	case fault.KindOf(err) == fault.Unavailable:
		return nil, fmt.Errorf("%w: %w", s3err.ServiceUnavailable, err)
	}
	return nil, err
}
