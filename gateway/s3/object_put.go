package s3

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"holdfast/gateway"
	"holdfast/tracker"
)

// putObject serves PutObject: one body, one commit.
func putObject(c *call) error {
	if c.small() {
		// The commit finds the bucket by its name.
		if err := c.putIn(&tracker.Bucket{}); err != nil {
			return c.inBucket(err)
		}
		return nil
	}
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	return c.putIn(b)
}

// small tells whether the body will go into the commit, so that nothing need
// be known of the bucket before.
func (c *call) small() bool {
	n := c.r.ContentLength
	return n >= 0 && c.header("X-Amz-Expected-Bucket-Owner") == "" && c.header("X-Amz-Storage-Class") == "" && n <= int64(c.inlineLimit(""))
}

// putIn stores the call's body as an object of b, whose ID may be 0.
func (c *call) putIn(b *tracker.Bucket) error {
	r, err := c.newPut(b)
	if err != nil {
		return err
	}
	ask, err := c.askedChecksum()
	if err != nil {
		return err
	}
	body, err := c.openBody(bodyOptions{max: gateway.MaxPut, ask: ask, etag: true, needLength: true})
	if err != nil {
		return err
	}
	defer body.close()
	res, err := c.putBody(r, body)
	if err != nil {
		return err
	}
	c.putHeaders(res, &r.Meta)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// newPut reads the headers of a write into a request without bytes.
func (c *call) newPut(b *tracker.Bucket) (*tracker.PutObject, error) {
	r := &tracker.PutObject{Bucket: b.ID, Name: c.bucket, Key: c.key, Conditions: c.writeConditions()}
	var err error
	if r.Headers, err = c.objectHeaders(); err != nil {
		return nil, err
	}
	if r.Tags, err = c.newTags(); err != nil {
		return nil, err
	}
	r.Class, err = c.storageClass()
	return r, err
}

// precheck judges the conditions of a write before its body is sent, and
// written to nodes, for nothing. It is a hint: the commit judges them again, and
// its word counts.
func (c *call) precheck(r *tracker.PutObject) error {
	if r.Conditions.Empty() {
		return nil
	}
	var obj *tracker.Object
	err := c.aside(func() (err error) {
		obj, err = c.s.deps.Catalog.GetObject(c.r.Context(), &tracker.GetObject{Bucket: r.Bucket, Key: r.Key})
		return err
	})
	named := func(tags []string) bool { return slices.Contains(tags, "*") || slices.Contains(tags, obj.ETag) }
	switch {
	case errors.Is(err, tracker.ErrNoSuchKey) || errors.Is(err, tracker.ErrDeleteMarker):
		if len(r.IfMatch) > 0 {
			return tracker.ErrNoSuchKey
		}
	case err == nil && (len(r.IfMatch) > 0 && !named(r.IfMatch) || named(r.IfNoneMatch)):
		return tracker.ErrPrecondition
	}
	return nil
}

// putBody stores a body and commits it as the version that r describes.
func (c *call) putBody(r *tracker.PutObject, body *body) (*tracker.PutResult, error) {
	inline := c.inlineLimit(r.Class)
	if body.length < 0 || body.length > int64(inline) {
		if r.Bucket == 0 {
			b, err := c.bucketInfo()
			if err != nil {
				return nil, err
			}
			r.Bucket = b.ID
		}
		if err := c.precheck(r); err != nil {
			return nil, err
		}
	}
	data, err := c.store(body, r.Bucket, r.Class, inline)
	if err != nil {
		return nil, err
	}
	defer data.release()
	r.Inline, r.Blobs = data.inline, data.blobs
	r.Size, r.ETag = body.size, body.etagHex()
	r.CRC64NVME, r.HasCRC64 = body.crc64, true
	r.Checksum = tracker.Checksum{Algorithm: body.ask.algorithm, Value: body.checksum}
	res, err := c.commitPut(r)
	r.Inline = nil
	if err != nil {
		c.discard(data, err)
		return nil, err
	}
	c.reportDamage(data.holes)
	return res, nil
}

// inlineLimit is the length up to which a body travels in the commit.
func (c *call) inlineLimit(class string) int {
	if class != "" || c.s.cfg.InlineLimit == 0 {
		return 0
	}
	if m, err := c.s.deps.Scheduler.Map(c.r.Context()); err == nil && m.InlineFull {
		return 0
	}
	return c.s.cfg.InlineLimit
}

// commitPut commits a version.
func (c *call) commitPut(r *tracker.PutObject) (res *tracker.PutResult, err error) {
	err = c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		res, err = c.s.deps.Catalog.PutObject(ctx, r)
		return err
	})
	return res, err
}

// putHeaders sets what S3 tells of an object that was just written.
func (c *call) putHeaders(res *tracker.PutResult, m *tracker.Meta) {
	w := &headerWriter{h: c.w.Header()}
	w.set("Etag", quoted(res.ETag))
	if name, value, kind := shownChecksum(m, 0); name != "" {
		w.set(name, value)
		w.set("X-Amz-Checksum-Type", kind)
	}
	if res.VersionID != "" {
		w.set("X-Amz-Version-Id", res.VersionID)
	}
	w.set("X-Amz-Object-Size", strconv.FormatInt(m.Size, 10))
	w.set("Content-Length", "0")
}
